{{/* Where the shards keep messages. */}}
{{- define "shaddock.storeEnv" -}}
{{- $store := .Values.store -}}
{{- if eq $store.kind "memory" -}}
- name: SHADDOCK_STORE
  value: memory
{{- else if eq $store.kind "bundled" -}}
- name: SHADDOCK_STORE
  value: postgres://shaddock@{{ include "shaddock.host" (list . "shaddock-postgres") }}:5432/shaddock
- name: SHADDOCK_STORE_PASSWORD_FILE
  value: /run/shaddock/store/password
{{- else -}}
- name: SHADDOCK_STORE
  valueFrom:
    secretKeyRef:
      name: {{ $store.external.existingSecret | quote }}
      key: {{ $store.external.urlKey | quote }}
{{- if $store.external.passwordKey }}
- name: SHADDOCK_STORE_PASSWORD_FILE
  value: /run/shaddock/store/password
{{- end }}
{{- if $store.external.caKey }}
- name: SHADDOCK_STORE_CA
  value: /run/shaddock/store/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/* The volume with the database's password and authority, if there is anything in it. */}}
{{- define "shaddock.storeVolume" -}}
{{- $external := .Values.store.external -}}
{{- if eq .Values.store.kind "bundled" -}}
- name: store
  secret:
    secretName: {{ include "shaddock.name" (list . "shaddock-postgres") }}
    defaultMode: 0440
    items:
      - { key: password, path: password }
{{- else if and (eq .Values.store.kind "external") (or $external.passwordKey $external.caKey) -}}
- name: store
  secret:
    secretName: {{ $external.existingSecret | quote }}
    defaultMode: 0440
    items:
      {{- with $external.passwordKey }}
      - { key: {{ . | quote }}, path: password }
      {{- end }}
      {{- with $external.caKey }}
      - { key: {{ . | quote }}, path: ca.crt }
      {{- end }}
{{- end }}
{{- end }}
