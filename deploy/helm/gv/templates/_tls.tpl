{{/*
Roles that speak TLS themselves. What that takes comes by the environment of the role, over gv.toml: the other
roles read the same file, and have neither the certificates nor the secrets that its keys ask for.
*/}}

{{/* dict root, role: yes, or nothing. */}}
{{- define "gv.hasTls" -}}
{{- if and (ne .role "worker") (ne .role "migrate") -}}
{{- if (index .root.Values .role).tls.enabled -}}
yes
{{- end -}}
{{- end -}}
{{- end -}}

{{/* dict root, role: yes where it gets certificates by itself, or nothing. */}}
{{- define "gv.hasAcme" -}}
{{- if and (include "gv.hasTls" .) (.root.Values.config.acme | default dict).enabled -}}
yes
{{- end -}}
{{- end -}}

{{/* dict root, role */}}
{{- define "gv.tlsEnv" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- if include "gv.hasTls" . -}}
{{- $tls := (index $root.Values $role).tls -}}
{{- $keys := dict "tls_listen" "0.0.0.0:8443" "https_redirect" $tls.redirectHttp "hsts_max_age_s" $tls.hstsMaxAgeSeconds -}}
{{- if $tls.secretName -}}
{{- $_ := set $keys "tls_cert" "/etc/gv-tls/tls.crt" -}}
{{- $_ := set $keys "tls_key" "/etc/gv-tls/tls.key" -}}
{{- end -}}
{{- with $tls.hosts -}}
{{- $_ := set $keys "hosts" . -}}
{{- end -}}
{{- $port := (index $root.Values $role).service.tlsPort -}}
{{- /* The edge's is config.edge.public_port, which the other roles make addresses of. */ -}}
{{- if and (eq $role "api") (ne (int $port) 443) -}}
{{- $_ := set $keys "public_port" $port -}}
{{- end -}}
{{- $sections := dict $role $keys -}}
{{- if include "gv.hasAcme" . -}}
{{- $_ := set $sections "acme" $root.Values.config.acme -}}
{{- end -}}
{{- range $section, $keys := $sections }}
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
- name: GV_{{ upper $section }}__{{ upper $key }}
  value: {{ include "gv.envValue" $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* As gv reads one from the environment. */}}
{{- define "gv.envValue" -}}
{{- if kindIs "slice" . -}}
{{ join "," . }}
{{- else if or (kindIs "float64" .) (kindIs "int64" .) (kindIs "int" .) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* What does not go together, a line each. */}}
{{- define "gv.tlsProblems" -}}
{{- $values := .Values -}}
{{- $acme := $values.config.acme | default dict -}}
{{- $roles := list -}}
{{- range $role := list "api" "edge" -}}
{{- if (index $values $role).tls.enabled -}}
{{- $roles = append $roles $role -}}
{{- if not (or (index $values $role).tls.secretName $acme.enabled) }}
{{ $role }}.tls.secretName: name a Secret of type kubernetes.io/tls, or switch config.acme.enabled on
{{- end }}
{{- if eq (int (index $values $role).service.port) (int (index $values $role).service.tlsPort) }}
{{ $role }}.service.tlsPort: is {{ $role }}.service.port as well: take another
{{- end }}
{{- end -}}
{{- end }}
{{- if and $values.edge.tls.enabled $values.edge.tls.redirectHttp (eq ($values.config.edge.public_scheme | default "https") "http") }}
edge.tls.redirectHttp: needs config.edge.public_scheme to be https
{{- end }}
{{- range $way := list "ingress" "gateway" }}
{{- if (index $values $way).enabled }}
{{- if eq (len $roles) 2 }}
{{ $way }}.enabled: leads nowhere beside api.tls.enabled and edge.tls.enabled, which have their Services: switch it off
{{- end }}
{{- if and $values.edge.tls.enabled (index $values $way).customDomains }}
{{ $way }}.customDomains: is not used beside edge.tls.enabled, where they come to the edges' Service: switch it off
{{- end }}
{{- end }}
{{- end }}
{{- if $acme.enabled }}
{{- if not $roles }}
config.acme.enabled: needs edge.tls.enabled or api.tls.enabled: where certificates are shown
{{- end }}
{{- if not $acme.terms_agreed }}
config.acme.terms_agreed: must be true: an authority gives nothing to who does not agree to its terms of service
{{- end }}
{{- if and (eq ($acme.on_demand | default "custom") "none") (not $acme.dns_provider) (not $values.api.tls.enabled) }}
config.acme.on_demand: is none, and config.acme.dns_provider is empty: nothing would be ordered
{{- end }}
{{- include "gv.acmeSecretProblems" . }}
{{- if $values.networkPolicy.enabled }}
{{- include "gv.acmeWayProblems" . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "gv.acmeSecretProblems" -}}
{{- $acme := .Values.config.acme -}}
{{- $given := .Values.secret.values -}}
{{- $existing := .Values.secret.existingSecret -}}
{{- if eq ($acme.dns_provider | default "") "rfc2136" }}
{{- range $key := list "dns_server" "dns_zone" "dns_key_name" }}
{{- if not (index $acme $key) }}
config.acme.{{ $key }}: set it, since config.acme.dns_provider is rfc2136
{{- end }}
{{- end }}
{{- if not (or $given.acmeDnsKey $existing) }}
secret.values.acmeDnsKey: set it, since config.acme.dns_provider is rfc2136
{{- end }}
{{- end }}
{{- if and (eq ($acme.dns_provider | default "") "exec") (not $acme.dns_exec) }}
config.acme.dns_exec: name a program, since config.acme.dns_provider is exec
{{- end }}
{{- if and $acme.eab_key_id (not (or $given.acmeEabKey $existing)) }}
secret.values.acmeEabKey: set it beside config.acme.eab_key_id
{{- end }}
{{- if and $given.acmeEabKey (not $acme.eab_key_id) }}
config.acme.eab_key_id: set it beside secret.values.acmeEabKey
{{- end }}
{{- end -}}

{{/* Ports that the configuration names, and that the policy would not let through. */}}
{{- define "gv.acmeWayProblems" -}}
{{- $acme := .Values.config.acme -}}
{{- $ways := list (list "authority" "directory" (regexFind "^https://[^/]*" ($acme.directory | default "")) 443) -}}
{{- if eq ($acme.dns_provider | default "") "rfc2136" -}}
{{- $ways = append $ways (list "dnsServer" "dns_server" ($acme.dns_server | default "") 53) -}}
{{- end -}}
{{- range $ways }}
{{- $port := regexFind ":[0-9]+$" (index . 2) | trimPrefix ":" | default (index . 3) | int }}
{{- $open := list }}
{{- range (index $.Values.networkPolicy.egress (index . 0)).ports }}
{{- $open = append $open (int .) }}
{{- end }}
{{- if not (has $port $open) }}
networkPolicy.egress.{{ index . 0 }}.ports: must have {{ $port }}, the port of config.acme.{{ index . 1 }}
{{- end }}
{{- end }}
{{- end -}}
