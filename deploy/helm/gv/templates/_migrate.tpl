{{/* hook, job or off. */}}
{{- define "gv.migrateMode" -}}
{{- if ne .Values.migrate.mode "auto" -}}
{{- .Values.migrate.mode -}}
{{- else if and .Values.services.postgresql.enabled .Release.IsInstall -}}
job
{{- else -}}
hook
{{- end -}}
{{- end -}}

{{/* Annotations of a hook, by its weight. What failed stays to be looked at. */}}
{{- define "gv.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
