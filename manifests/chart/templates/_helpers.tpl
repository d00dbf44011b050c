{{- define "layby.labels" -}}
app.kubernetes.io/name: layby
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Of a part: what its pods are selected by. */ -}}
{{- define "layby.selector" -}}
app.kubernetes.io/name: layby
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "layby.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "layby.adminTokenSecret" -}}
{{ .Values.edge.adminTokenSecret | default (printf "%s-admin" .Release.Name) }}
{{- end }}

{{- /* How Node is started: src/embedded/lean.ts. */ -}}
{{- define "layby.command" -}}
[/usr/bin/node, --max-semi-space-size=8, --max-old-space-size=256, /opt/layby/bin/layby.js]
{{- end }}

{{- /* Of every container but the one that owns the data directory. */ -}}
{{- define "layby.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "layby.podSecurity" -}}
runAsUser: 1337
runAsGroup: 1337
fsGroup: 1337
runAsNonRoot: true
seccompProfile: { type: RuntimeDefault }
{{- end }}
