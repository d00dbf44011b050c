{{- /* What the names of all objects begin with: the release, unless another name is wanted. */ -}}
{{- define "layby.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if and .Values.nameOverride (not (contains .Values.nameOverride .Release.Name)) }}
{{- printf "%s-%s" .Release.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- .Release.Name }}
{{- end }}
{{- end }}

{{- define "layby.name" -}}
{{ .Values.nameOverride | default "layby" }}
{{- end }}

{{- define "layby.labels" -}}
app.kubernetes.io/name: {{ include "layby.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Of a part: what its pods are selected by. */ -}}
{{- define "layby.selector" -}}
app.kubernetes.io/name: {{ include "layby.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- /* Of the pods of a part: .own are its podLabels. */ -}}
{{- define "layby.podLabels" -}}
{{ include "layby.selector" . }}
{{- with merge (dict) (.own | default dict) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* A digest is what it says; a tag may be moved. */ -}}
{{- define "layby.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- /* Of a part whose nodeSelector is .own. */ -}}
{{- define "layby.nodeSelector" -}}
{{ toYaml (merge (dict "kubernetes.io/os" "linux") (.own | default dict)) }}
{{- end }}

{{- /* Whether the labels of a node (.labels) have all of .selector. */ -}}
{{- define "layby.selects" -}}
{{- $all := true }}
{{- range $key, $value := .selector }}
{{- if ne (get $.labels $key) $value }}{{ $all = false }}{{ end }}
{{- end }}
{{- if $all }}yes{{ end }}
{{- end }}

{{- /* An upgrade that takes the edge pod from nodes which have it is a mistake more often than not: what they have stored would wait. */ -}}
{{- define "layby.keepsNodes" -}}
{{- $pod := dig "spec" "template" "spec" dict (lookup "apps/v1" "DaemonSet" .Release.Namespace .name) }}
{{- $new := include "layby.nodeSelector" (dict "own" .Values.edge.nodeSelector) | fromYaml }}
{{- $lost := list }}
{{- with $pod.nodeSelector }}
{{- $old := . }}
{{- range (lookup "v1" "Node" "" "").items }}
{{- $labels := .metadata.labels }}
{{- if and (include "layby.selects" (dict "selector" $old "labels" $labels)) (not (include "layby.selects" (dict "selector" $new "labels" $labels))) }}
{{- $lost = append $lost .metadata.name }}
{{- end }}
{{- end }}
{{- end }}
{{- if $lost }}
{{- fail (printf "edge.nodeSelector: these nodes have an edge pod and would lose it: %s. Label them as %s, or take the labels off that they have" (join ", " $lost) (toJson $new)) }}
{{- end }}
{{- end }}

{{- /* Of a part whose affinity is .own, and only on nodes that the images are for: each of its terms is enough alone, so each has to say so. */ -}}
{{- define "layby.affinity" -}}
{{- $affinity := deepCopy (.own | default dict) }}
{{- with .root.Values.images.architectures }}
{{- $here := dict "key" "kubernetes.io/arch" "operator" "In" "values" . }}
{{- $node := get $affinity "nodeAffinity" | default dict }}
{{- $required := get $node "requiredDuringSchedulingIgnoredDuringExecution" | default dict }}
{{- $terms := list }}
{{- range get $required "nodeSelectorTerms" | default (list dict) }}
{{- $terms = append $terms (merge (dict "matchExpressions" (append (.matchExpressions | default list) $here)) .) }}
{{- end }}
{{- $_ := set $required "nodeSelectorTerms" $terms }}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" $required }}
{{- $_ := set $affinity "nodeAffinity" $node }}
{{- end }}
{{- toYaml $affinity }}
{{- end }}

{{- define "layby.edgeAccount" -}}
{{ .Values.edge.serviceAccount.name | default (printf "%s-edge" (include "layby.fullname" .)) }}
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

{{- /* A size or a rate whose form the schema knows. As src/policy/units.ts it refuses less than a byte, and more than its numbers are exact to. */ -}}
{{- define "layby.amount" -}}
{{- $unit := regexFind "[A-Za-z/]+$" .text }}
{{- $units := dict "bit" 0.125 "kbit" 125.0 "Kbit" 125.0 "Mbit" 125e3 "Gbit" 125e6 "B" 1.0 "kB" 1e3 "KB" 1e3 "MB" 1e6 "GB" 1e9 "TB" 1e12 }}
{{- $units = merge $units (dict "KiB" 1024.0 "MiB" 1048576.0 "GiB" 1073741824.0 "TiB" 1099511627776.0) }}
{{- $bytes := mulf (trimSuffix $unit .text | float64) (get $units (trimSuffix "/s" $unit)) }}
{{- if lt $bytes 0.5 }}{{ fail (printf "%s: %q is too small" .name .text) }}{{ end }}
{{- if gt $bytes 9007199254740991.0 }}{{ fail (printf "%s: %q is too large" .name .text) }}{{ end }}
{{- .text }}
{{- end }}
