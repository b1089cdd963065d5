{{/*
Name of one component's objects, at most 63 bytes. Takes (list $ "connector").
Plain by default, so that `kubectl scale deployment connector` works after
`helm install`. A namePrefix is what gets cut, never the component.
*/}}
{{- define "shaddock.name" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $space := sub 63 (len $component) | int -}}
{{- printf "%s%s" ($root.Values.namePrefix | trunc $space) $component -}}
{{- end }}

{{/* Labels that select one component's pods. Immutable once installed. */}}
{{- define "shaddock.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ index . 1 }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- end }}

{{/* Labels of one component's objects, but not of its pods: these would restart with every version of the chart. */}}
{{- define "shaddock.labels" -}}
{{- $root := index . 0 -}}
{{ include "shaddock.selectorLabels" . }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/part-of: shaddock
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* A component's key in the values. */}}
{{- define "shaddock.key" -}}
{{- index . 1 | replace "web-server" "webServer" -}}
{{- end }}

{{/* An image's reference. Takes (list registry-repository-tag-digest default-tag). */}}
{{- define "shaddock.image" -}}
{{- $image := index . 0 -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest -}}
{{- printf "@%s" $image.digest -}}
{{- else -}}
{{- printf ":%s" ($image.tag | default (index . 1)) -}}
{{- end -}}
{{- end }}

{{/*
The line `replicas:` of one component. What runs now wins, or server-side apply
would refuse the upgrade after a `kubectl scale`; unless replicaCount was changed
since, which an annotation remembers. Where the load decides, a first install says
nothing, but an upgrade does: a field that is taken back falls to 1.
*/}}
{{- define "shaddock.replicas" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (include "shaddock.key" .) -}}
{{- $live := lookup "apps/v1" "Deployment" $root.Release.Namespace (include "shaddock.name" .) | default dict -}}
{{- $now := dig "spec" "replicas" "" $live | toString -}}
{{- $before := dig "metadata" "annotations" "shaddock/replica-count" "" $live -}}
{{- $count := $values.replicaCount -}}
{{- if kindIs "invalid" $count -}}
{{- else if $values.autoscaling.enabled -}}
{{- with $now }}replicas: {{ . }}{{ end -}}
{{- else if and $root.Values.keepScaledReplicas (ne $now "") (or (eq $before "") (eq $before ($count | int | toString))) -}}
replicas: {{ $now }}
{{- else -}}
replicas: {{ $count | int }}
{{- end -}}
{{- end }}

{{/* The annotations of a Deployment: see "shaddock.replicas". */}}
{{- define "shaddock.deploymentAnnotations" -}}
{{- $root := index . 0 -}}
{{- $values := index $root.Values (include "shaddock.key" .) -}}
{{- if not (or (kindIs "invalid" $values.replicaCount) $values.autoscaling.enabled) -}}
annotations:
  shaddock/replica-count: {{ $values.replicaCount | int | quote }}
{{- end -}}
{{- end }}

{{- define "shaddock.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- (index $root.Values (include "shaddock.key" .)).serviceAccount.existing | default (include "shaddock.name" .) -}}
{{- end }}

{{/* The Secret with the tokens. */}}
{{- define "shaddock.tokensSecret" -}}
{{- .Values.auth.existingSecret | default (include "shaddock.name" (list . "shaddock-tokens")) -}}
{{- end }}

{{/* The Secret with one component's certificate. */}}
{{- define "shaddock.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- $root.Values.tls.existingSecret | default (printf "%s-tls" (include "shaddock.name" .)) -}}
{{- end }}

{{/* A Service's host name inside the cluster. */}}
{{- define "shaddock.host" -}}
{{- $root := index . 0 -}}
{{- printf "%s.%s.svc" (include "shaddock.name" .) $root.Release.Namespace -}}
{{- end }}

{{/* A value that is generated once, then kept: from the Secret that is there. Takes (list $ secret key). */}}
{{- define "shaddock.kept" -}}
{{- $root := index . 0 -}}
{{- $live := lookup "v1" "Secret" $root.Release.Namespace (index . 1) | default dict -}}
{{- dig "data" (index . 2) "" $live | default (randAlphaNum 40 | b64enc) -}}
{{- end }}

{{/* The port that clients are told: said, or the node's, or the Service's. Behind a Gateway or an Ingress with a name of its own: none, so that it is 443 or 80. */}}
{{- define "shaddock.advertisePort" -}}
{{- $connector := .Values.connector -}}
{{- if $connector.advertise.port -}}
{{- $connector.advertise.port | int -}}
{{- else if and (eq $connector.service.type "NodePort") $connector.service.nodePort -}}
{{- $connector.service.nodePort | int -}}
{{- else if not (and (eq $connector.advertise.mode "static") (or .Values.gateway.enabled .Values.ingress.enabled)) -}}
{{- $connector.service.port | int -}}
{{- end -}}
{{- end }}

{{/* HOST:PORT that a connector announces, with Kubernetes' `$(…)` for what differs from pod to pod. Takes .Values.connector. */}}
{{- define "shaddock.announced" -}}
{{- $pod := dict "podName" "POD_NAME" "podIP" "POD_IP" "hostIP" "HOST_IP" "nodeName" "NODE_NAME" -}}
{{- $text := "$(POD_IP):3050" -}}
{{- if eq .advertise.mode "perPod" -}}
{{- $text = .advertise.perPodTemplate | default (printf "$(HOST_IP):%d" (int .hostPort.port)) -}}
{{- range $name, $variable := $pod -}}
{{- $text = regexReplaceAll (printf `\{\{ *\.%s *\}\}` $name) $text (printf "$$(%s)" $variable) -}}
{{- end -}}
{{- end -}}
{{- $text -}}
{{- end }}

{{/* Pods of this release, for a NetworkPolicy. Takes (list $ components). */}}
{{- define "shaddock.peers" -}}
{{- $root := index . 0 -}}
- podSelector:
    matchLabels:
      app.kubernetes.io/instance: {{ $root.Release.Name }}
    matchExpressions:
      - { key: app.kubernetes.io/name, operator: In, values: [{{ join ", " (index . 1) }}] }
{{- end }}

{{/* Takes the seconds that a lower load has to last. */}}
{{- define "shaddock.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies: [{ type: Percent, value: 100, periodSeconds: 30 }]
scaleDown:
  stabilizationWindowSeconds: {{ . }}
  policies: [{ type: Pods, value: 1, periodSeconds: 300 }]
{{- end }}
