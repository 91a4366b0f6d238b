{{/* gv.toml from .Values.config, under what the chart itself decides. */}}

{{/* The sites' domain. */}}
{{- define "gv.domain" -}}
{{- .Values.config.domain | default "" -}}
{{- end -}}

{{- define "gv.toml" -}}
{{- $own := dict
  "api" (dict "listen" "0.0.0.0:8080")
  "edge" (dict "listen" "0.0.0.0:8000")
  "ops" (dict "listen" "0.0.0.0:9090" "withdraw_s" 0) -}}
{{- if .Values.services.seaweedfs.enabled -}}
{{- $url := printf "s3://gv-sites?endpoint=http://%s-seaweedfs:8333&region=us-east-1&path_style=true" (include "gv.fullname" .) -}}
{{- $_ := set $own "blobs" (dict "url" $url) -}}
{{- end -}}
{{- $config := mustMergeOverwrite (deepCopy .Values.config) $own -}}
# Made by Helm from the values below `config`. Secrets come by the environment, which goes over
# this file: each process gets those of its role alone.
domain = {{ toRawJson (include "gv.domain" .) }}
data_dir = "/var/lib/gv"
{{- /* `acme` asks for secrets that few roles have: gv.tlsEnv. */ -}}
{{- range $section, $keys := omit $config "domain" "acme" }}
{{- if $keys }}

[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "gv.tomlValue" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}

{{/* A text in JSON is one in TOML. A number in a values file is a float to Helm; gv's are whole. */}}
{{- define "gv.tomlValue" -}}
{{- if or (kindIs "float64" .) (kindIs "int64" .) (kindIs "int" .) -}}
{{ int64 . }}
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end -}}
