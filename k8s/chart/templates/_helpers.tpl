{{- define "k8s-agent.metadata" -}}
name: k8s-agent
namespace: {{ .Release.Namespace }}
labels:
  component: k8s-agent
  app.kubernetes.io/name: k8s-agent
  app.kubernetes.io/part-of: streamspace
{{- end }}

{{- define "k8s-agent.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- /* Lists and maps as JSON, which the agent accepts. */ -}}
{{- define "k8s-agent.settings" -}}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}

{{- /* Rejects values with which no pod could run: probes without a health server, and a termination before a DRAIN_TIMEOUT that is a single number. */ -}}
{{- define "k8s-agent.check" -}}
{{- $feature := eq .Values.probes "http" | ternary "probes: http requires" (.Values.monitoring.enabled | ternary "monitoring.enabled requires" "") -}}
{{- if and $feature (ne (.Values.settings.HEALTH_ADDR | default ":8080") ":8080") -}}
{{- fail (printf "Leave settings.HEALTH_ADDR at :8080, which %s" $feature) -}}
{{- end -}}
{{- $drain := get .Values.settings "DRAIN_TIMEOUT" | toString | default "25s" -}}
{{- if regexMatch "^[0-9]+[smh]?$" $drain -}}
{{- $amount := regexFind "^[0-9]+" $drain -}}
{{- $seconds := trimPrefix $amount $drain | get (dict "" 1 "s" 1 "m" 60 "h" 3600) | mul (atoi $amount) -}}
{{- if ge $seconds (int64 .Values.terminationGracePeriodSeconds) -}}
{{- fail (printf "Set terminationGracePeriodSeconds to more than settings.DRAIN_TIMEOUT, which is %s" $drain) -}}
{{- end -}}
{{- end -}}
{{- end }}
