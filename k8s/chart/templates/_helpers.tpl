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

{{- /* The agent reads lists and maps as JSON, too. */ -}}
{{- define "k8s-agent.settings" -}}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}
