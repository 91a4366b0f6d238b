{{/*
Who may speak to whom: the design's table as rules.

  api      database, queue, blobs, cache
  worker   database, queue, blobs, cache, and the public network (git hosts; its builds)
  edge     blobs, cache
  edge, api  where they get certificates: the authority, and a DNS server
  migrate  database
*/}}

{{- define "gv.speaksTo" -}}
{{- if eq . "edge" -}}
cache blobs
{{- else if eq . "migrate" -}}
database
{{- else -}}
database queue cache blobs
{{- end -}}
{{- end -}}

{{/* Of a service: which chart brings it along, and its port there. */}}
{{- define "gv.ownService" -}}
{{- if eq . "database" -}}
postgresql
{{- else if eq . "queue" -}}
rabbitmq
{{- else if eq . "cache" -}}
redis
{{- else -}}
seaweedfs
{{- end -}}
{{- end -}}

{{/* The public network, at the ports given: no private, link-local (metadata) or cluster address. */}}
{{- define "gv.publicNetwork" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- range concat .root.Values.networkPolicy.egress.public.except .root.Values.networkPolicy.egress.public.clusterCidrs }}
          {{- if not (contains ":" .) }}
          - {{ . }}
          {{- end }}
          {{- end }}
    - ipBlock:
        cidr: ::/0
        except:
          {{- range concat .root.Values.networkPolicy.egress.public.except .root.Values.networkPolicy.egress.public.clusterCidrs }}
          {{- if contains ":" . }}
          - {{ . }}
          {{- end }}
          {{- end }}
  ports:
    {{- include "gv.tcp" .ports | nindent 4 }}
{{- end -}}

{{- define "gv.tcp" -}}
{{- range . }}
- protocol: TCP
  port: {{ . }}
{{- end }}
{{- end -}}

{{/* dict root, role */}}
{{- define "gv.egress" -}}
{{- $root := .root -}}
{{- $policy := $root.Values.networkPolicy -}}
# names
- to:
    {{- toYaml $policy.dns.to | nindent 4 }}
  ports:
    {{- range $policy.dns.ports }}
    - protocol: UDP
      port: {{ . }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
{{- range $service := splitList " " (include "gv.speaksTo" .role) }}
{{- $own := include "gv.ownService" $service }}
{{- $peers := index $policy.egress $service }}
# {{ $service }}
{{- if (index $root.Values.services $own).enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "gv.selector" (dict "root" $root "component" $own) | nindent 10 }}
  ports:
    {{- include "gv.tcp" (list (include "gv.ownPort" $own)) | nindent 4 }}
{{- else if $peers.to }}
- to:
    {{- toYaml $peers.to | nindent 4 }}
  ports:
    {{- include "gv.tcp" $peers.ports | nindent 4 }}
{{- else if eq $service "blobs" }}
{{ include "gv.publicNetwork" (dict "root" $root "ports" $peers.ports) }}
{{- end }}
{{- end }}
{{- if eq .role "worker" }}
# git hosts, and what builds fetch
{{ include "gv.publicNetwork" (dict "root" $root "ports" $policy.egress.public.ports) }}
{{- end }}
{{- if include "gv.hasAcme" . }}
{{- $ways := list "authority" }}
{{- if eq ($root.Values.config.acme.dns_provider | default "") "rfc2136" }}
{{- $ways = append $ways "dnsServer" }}
{{- end }}
{{- range $ways }}
{{- $peers := index $policy.egress . }}
# {{ . }}
{{- if $peers.to }}
- to:
    {{- toYaml $peers.to | nindent 4 }}
  ports:
    {{- include "gv.tcp" $peers.ports | nindent 4 }}
{{- else }}
{{ include "gv.publicNetwork" (dict "root" $root "ports" $peers.ports) }}
{{- end }}
{{- end }}
{{- end }}
{{- with index $policy.extraEgress .role }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gv.ownPort" -}}
{{- get (dict "postgresql" 5432 "rabbitmq" 5672 "redis" 6379 "seaweedfs" 8333) . -}}
{{- end -}}
