{{- define "kinora.labels" -}}
app.kubernetes.io/name: kinora
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The environment of every process. */}}
{{- define "kinora.environment" -}}
envFrom:
  - configMapRef: { name: {{ .Release.Name }}-settings }
  - secretRef: { name: {{ .Values.existingSecret }} }
{{- end }}

{{/* Prometheus is to ask each pod, at the port given. Other settings are other pods: they are read once. */}}
{{- define "kinora.annotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
checksum/settings: {{ .root.Values.settings | toJson | sha256sum | quote }}
{{- end }}

{{/* No process needs a privilege, or to write anywhere but to its scratch volume and /tmp. */}}
{{- define "kinora.podSecurity" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "kinora.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}
