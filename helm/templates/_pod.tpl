{{/* What all pods have in common, containers aside. Takes (list $ component). */}}
{{- define "shaddock.podSpec" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values (include "shaddock.key" .) -}}
serviceAccountName: {{ include "shaddock.serviceAccount" . }}
# Only who watches the cluster needs a token.
automountServiceAccountToken: {{ ne $component "web-server" }}
enableServiceLinks: false
# More than the drain and what comes before it: the kubelet must not win.
terminationGracePeriodSeconds: {{ add $values.drainSeconds 30 }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := $values.affinity }}
{{- if $root.Values.topologySpread.enabled }}
{{- /* Zones by affinity: nodes that lack the key of one constraint are ignored by all of them. */}}
{{- $own := dict "matchLabels" (fromYaml (include "shaddock.selectorLabels" .)) }}
{{- $zone := dict "topologyKey" "topology.kubernetes.io/zone" "labelSelector" $own }}
{{- $zones := list (dict "weight" 100 "podAffinityTerm" $zone) }}
{{- $spread := dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $zones) }}
{{- $affinity = merge (deepCopy $affinity) $spread }}
{{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $root.Values.topologySpread.enabled }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "shaddock.selectorLabels" (list $root $component) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}

{{/* The labels and annotations of the pods. */}}
{{- define "shaddock.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (include "shaddock.key" .) -}}
labels:
  {{- include "shaddock.selectorLabels" . | nindent 2 }}
  shaddock/metrics: "true"
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What all containers have in common, ports, environment and volumes aside. */}}
{{- define "shaddock.container" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index $root.Values (include "shaddock.key" .) -}}
name: {{ $component }}
image: {{ include "shaddock.image" (list $root.Values.image $root.Chart.AppVersion) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [{{ $component }}]
securityContext:
  {{- toYaml $root.Values.containerSecurityContext | nindent 2 }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
# The probes ask nothing remote: a database or an API server that is away must not
# take the pods out of their Services, or restart them.
startupProbe:
  httpGet: { path: /startupz, port: admin }
  periodSeconds: 1
  # A start waits until the database is there, and until the API server or the last
  # start says who the peers are.
  failureThreshold: {{ eq $component "web-server" | ternary 60 600 }}
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 2
  failureThreshold: 1
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  failureThreshold: 6
{{- end }}

{{/* Environment of every program. */}}
{{- define "shaddock.env" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (include "shaddock.key" .) -}}
- name: SHADDOCK_ADMIN_ADDR
  value: {{ include "shaddock.bind" (list $root 9090) | quote }}
- name: SHADDOCK_LOG
  value: {{ $root.Values.log | quote }}
- name: SHADDOCK_LOG_FORMAT
  value: json
{{- with $root.Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
- name: SHADDOCK_TRACE_RATIO
  value: {{ $root.Values.tracing.ratio | quote }}
{{- end }}
{{- if ne (index . 1) "chat" }}
# For some seconds after a pod was told to end, clients are still led to it.
- name: SHADDOCK_ACCEPT_GRACE
  value: 5s
{{- end }}
# Less than the pod's grace period, so that the process tells how it ended.
- name: SHADDOCK_SHUTDOWN_GRACE
  value: {{ printf "%ds" (add $values.drainSeconds 20) }}
{{- end }}

{{/* Environment of the programs that speak gRPC with each other. Takes (list $ component grpc-port). */}}
{{- define "shaddock.clusterEnv" -}}
{{- $root := index . 0 -}}
- name: POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: POD_UID
  valueFrom: { fieldRef: { fieldPath: metadata.uid } }
- name: POD_NAMESPACE
  valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
- name: HOST_IP
  valueFrom: { fieldRef: { fieldPath: status.hostIP } }
- name: NODE_NAME
  valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
- name: SHADDOCK_DISCOVERY
  value: kubernetes
- name: SHADDOCK_CHAT_SERVICE
  value: {{ include "shaddock.name" (list $root "chat-headless") }}
- name: SHADDOCK_CONNECTOR_SERVICE
  value: {{ include "shaddock.name" (list $root "connector-headless") }}
- name: SHADDOCK_STATE_DIR
  value: /state
- name: SHADDOCK_GRPC_ADDR
  value: {{ include "shaddock.bind" (list $root (index . 2)) | quote }}
- name: SHADDOCK_ADMIN_TOKEN_FILE
  value: /run/shaddock/tokens/admin-token
- name: SHADDOCK_CLUSTER_TOKEN_FILE
  value: /run/shaddock/tokens/cluster-token
{{- if $root.Values.tls.enabled }}
- name: SHADDOCK_GRPC_TLS_CERT
  value: /run/shaddock/grpc-tls/tls.crt
- name: SHADDOCK_GRPC_TLS_KEY
  value: /run/shaddock/grpc-tls/tls.key
- name: SHADDOCK_GRPC_TLS_CA
  value: /run/shaddock/grpc-tls/ca.crt
{{- end }}
{{- end }}

{{/* Environment of the programs that clients connect to. */}}
{{- define "shaddock.clientsEnv" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (include "shaddock.key" .) -}}
- name: SHADDOCK_PROFILE
  value: {{ $root.Values.protocol.profile }}
{{- with $values.connectionsMax }}
- name: SHADDOCK_CONNECTIONS_MAX
  value: {{ . | int | quote }}
{{- end }}
{{- with $root.Values.clients.trustedProxies }}
- name: SHADDOCK_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- else }}
{{- if or $root.Values.gateway.enabled $root.Values.ingress.enabled $root.Values.webServer.proxy.enabled }}
# Behind a proxy that is not trusted all clients have one address.
- name: SHADDOCK_ADDRESS_CONNECTIONS_MAX
  value: "1000000"
{{- end }}
{{- end }}
{{- with $root.Values.clients.allowedOrigins }}
- name: SHADDOCK_ALLOWED_ORIGINS
  value: {{ join "," . | quote }}
{{- end }}
{{- if $root.Values.clients.tlsSecret }}
- name: SHADDOCK_TLS_CERT
  value: /run/shaddock/clients-tls/tls.crt
- name: SHADDOCK_TLS_KEY
  value: /run/shaddock/clients-tls/tls.key
{{- end }}
{{- end }}

{{/* Where a program listens. Takes (list $ port). */}}
{{- define "shaddock.bind" -}}
{{- $address := (index . 0).Values.bindAddress -}}
{{- printf "%s:%v" (contains ":" $address | ternary (printf "[%s]" $address) $address) (index . 1) -}}
{{- end }}

{{/* Mounts that go with "shaddock.clusterEnv". */}}
{{- define "shaddock.clusterMounts" -}}
{{- $root := index . 0 -}}
- { name: state, mountPath: /state }
- { name: tokens, mountPath: /run/shaddock/tokens, readOnly: true }
{{- if $root.Values.tls.enabled }}
- { name: grpc-tls, mountPath: /run/shaddock/grpc-tls, readOnly: true }
{{- end }}
{{- end }}

{{- define "shaddock.clusterVolumes" -}}
{{- $root := index . 0 -}}
- name: state
  emptyDir: { sizeLimit: 16Mi }
- name: tokens
  secret: { secretName: {{ include "shaddock.tokensSecret" $root }}, defaultMode: 0440 }
{{- if $root.Values.tls.enabled }}
- name: grpc-tls
  secret: { secretName: {{ include "shaddock.tlsSecret" . | quote }}, defaultMode: 0440 }
{{- end }}
{{- end }}

{{/* Mounts that go with "shaddock.clientsEnv". */}}
{{- define "shaddock.clientsMounts" -}}
{{- if (index . 0).Values.clients.tlsSecret -}}
- { name: clients-tls, mountPath: /run/shaddock/clients-tls, readOnly: true }
{{- end -}}
{{- end }}

{{- define "shaddock.clientsVolumes" -}}
{{- with (index . 0).Values.clients.tlsSecret -}}
- name: clients-tls
  secret: { secretName: {{ . | quote }}, defaultMode: 0440 }
{{- end -}}
{{- end }}

{{/* The Service for clients. Takes (list $ component ports), ports being YAML. */}}
{{- define "shaddock.service" -}}
{{- $root := index . 0 -}}
{{- $values := (index $root.Values (include "shaddock.key" .)).service -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "shaddock.name" . }}
  labels:
    {{- include "shaddock.labels" . | nindent 4 }}
  {{- with $values.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $values.type }}
  {{- if ne $values.type "ClusterIP" }}
  externalTrafficPolicy: {{ $values.externalTrafficPolicy }}
  {{- end }}
  selector:
    {{- include "shaddock.selectorLabels" . | nindent 4 }}
  ports:
    {{- index . 2 | nindent 4 }}
{{- end }}

{{/* A Service that names all pods, for those who choose one themselves. Takes (list $ component port-name port). */}}
{{- define "shaddock.headless" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "shaddock.name" (list $root (printf "%s-headless" $component)) }}
  labels:
    {{- include "shaddock.labels" . | nindent 4 }}
spec:
  # Never publishNotReadyAddresses: then `ready` would mean nothing.
  clusterIP: None
  selector:
    {{- include "shaddock.selectorLabels" . | nindent 4 }}
  ports:
    - { name: grpc, port: {{ index . 2 }}, targetPort: grpc, appProtocol: kubernetes.io/h2c }
{{- end }}
