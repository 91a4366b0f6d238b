{{/*
Secrets, worked out once a rendering and kept below .Values._secrets, so that all objects agree on
what was drawn by lot. `lookup` finds those of the release that is installed; where Helm cannot look
into the cluster (helm template, Argo CD) each rendering draws new ones: give them as values there.

  keys      the environment's names and values, of the one Secret that gv reads
  services  password of each service of the chart's own
*/}}

{{- define "gv.secrets" -}}
{{- if not (hasKey .Values "_secrets") -}}
{{- $given := .Values.secret.values -}}
{{- $name := include "gv.fullname" . -}}
{{- $passwords := dict -}}
{{- range $service := list "postgresql" "rabbitmq" "redis" "seaweedfs" -}}
{{- if (index $.Values.services $service).enabled -}}
{{- $kept := dig "data" "password" "" (lookup "v1" "Secret" $.Release.Namespace (printf "%s-%s" $name $service)) | b64dec -}}
{{- $password := (index $.Values.services $service).password | default $kept | default (randAlphaNum 40) -}}
{{- $_ := set $passwords $service $password -}}
{{- end -}}
{{- end -}}

{{- $keys := dict -}}
{{- if .Values.services.postgresql.enabled -}}
{{- $_ := set $keys "GV_DATABASE__URL" (printf "postgres://gv:%s@%s-postgresql:5432/gv" $passwords.postgresql $name) -}}
{{- else -}}
{{- $_ := set $keys "GV_DATABASE__URL" $given.databaseUrl -}}
{{- end -}}
{{- if .Values.services.rabbitmq.enabled -}}
{{- $_ := set $keys "GV_QUEUE__URL" (printf "amqp://gv:%s@%s-rabbitmq:5672/%%2F" $passwords.rabbitmq $name) -}}
{{- else -}}
{{- $_ := set $keys "GV_QUEUE__URL" $given.queueUrl -}}
{{- end -}}
{{- if .Values.services.redis.enabled -}}
{{- $_ := set $keys "GV_CACHE__URL" (printf "redis://:%s@%s-redis:6379/0" $passwords.redis $name) -}}
{{- else -}}
{{- $_ := set $keys "GV_CACHE__URL" $given.cacheUrl -}}
{{- end -}}
{{- if .Values.services.seaweedfs.enabled -}}
{{- $_ := set $keys "GV_BLOBS__ACCESS_KEY" "gv" -}}
{{- $_ := set $keys "GV_BLOBS__SECRET_KEY" $passwords.seaweedfs -}}
{{- else -}}
{{- $_ := set $keys "GV_BLOBS__ACCESS_KEY" $given.blobsAccessKey -}}
{{- $_ := set $keys "GV_BLOBS__SECRET_KEY" $given.blobsSecretKey -}}
{{- end -}}

{{- $signing := join "," $given.signingKeys -}}
{{- if not $signing -}}
{{- $signing = dig "data" "GV_AUTH__SIGNING_KEYS" "" (lookup "v1" "Secret" .Release.Namespace $name) | b64dec -}}
{{- end -}}
{{- if not $signing -}}
{{- /* As `gv config keygen` makes them: an id, and 32 random bytes in base64url without padding. */ -}}
{{- $seed := randBytes 32 | replace "+" "-" | replace "/" "_" | trimSuffix "=" -}}
{{- $signing = printf "gvk1.%s.%s" (randAlphaNum 8) $seed -}}
{{- end -}}
{{- $_ := set $keys "GV_AUTH__SIGNING_KEYS" $signing -}}
{{- $sealing := join "," $given.secretKeys -}}
{{- if not $sealing -}}
{{- $sealing = dig "data" "GV_SECRETS__KEYS" "" (lookup "v1" "Secret" .Release.Namespace $name) | b64dec -}}
{{- end -}}
{{- if not $sealing -}}
{{- /* As `gv secrets keygen` makes them. */ -}}
{{- $seed := randBytes 32 | replace "+" "-" | replace "/" "_" | trimSuffix "=" -}}
{{- $sealing = printf "gvs1.%s.%s" (randAlphaNum 8) $seed -}}
{{- end -}}
{{- $_ := set $keys "GV_SECRETS__KEYS" $sealing -}}
{{- range $key, $value := dict "GV_ACME__DNS_KEY" $given.acmeDnsKey "GV_ACME__EAB_KEY" $given.acmeEabKey -}}
{{- if $value -}}
{{- $_ := set $keys $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set .Values "_secrets" (dict "keys" $keys "services" $passwords) -}}
{{- end -}}
{{- end -}}

{{/* The Secret that gv reads. */}}
{{- define "gv.secretName" -}}
{{- .Values.secret.existingSecret | default (include "gv.fullname" .) -}}
{{- end -}}

{{/* dict root, role: which keys of the Secret it may see. The table in the design, in environment variables. */}}
{{- define "gv.keysOf" -}}
{{- if eq .role "api" -}}
GV_DATABASE__URL GV_QUEUE__URL GV_CACHE__URL GV_BLOBS__ACCESS_KEY GV_BLOBS__SECRET_KEY GV_SECRETS__KEYS GV_AUTH__SIGNING_KEYS
{{- else if eq .role "worker" -}}
GV_DATABASE__URL GV_QUEUE__URL GV_CACHE__URL GV_BLOBS__ACCESS_KEY GV_BLOBS__SECRET_KEY GV_SECRETS__KEYS
{{- else if eq .role "edge" -}}
GV_CACHE__URL GV_BLOBS__ACCESS_KEY GV_BLOBS__SECRET_KEY
{{- else if eq .role "migrate" -}}
GV_DATABASE__URL
{{- end -}}
{{- if include "gv.hasAcme" . -}}
{{- $acme := .root.Values.config.acme -}}
{{- /* Certificates' private keys lie in storage, sealed. */ -}}
{{- if eq .role "edge" }} GV_SECRETS__KEYS{{ end -}}
{{- if eq ($acme.dns_provider | default "") "rfc2136" }} GV_ACME__DNS_KEY{{ end -}}
{{- if $acme.eab_key_id }} GV_ACME__EAB_KEY{{ end -}}
{{- end -}}
{{- end -}}

{{/* dict root, role, secret: its secrets as environment variables. */}}
{{- define "gv.secretEnv" -}}
{{- range $key := splitList " " (include "gv.keysOf" .) }}
- name: {{ $key }}
  valueFrom:
    secretKeyRef:
      name: {{ $.secret }}
      key: {{ $key }}
{{- end }}
{{- end -}}

{{/* dict root, role: changes when one of the role's own secrets does, so that its pods are replaced. */}}
{{- define "gv.secretChecksum" -}}
{{- include "gv.secrets" .root -}}
{{- $mine := dict -}}
{{- range $key := splitList " " (include "gv.keysOf" .) -}}
{{- $_ := set $mine $key (index $.root.Values._secrets.keys $key) -}}
{{- end -}}
{{- toJson $mine | sha256sum -}}
{{- end -}}
