{{/*
Whether what gv may fill and take by its configuration has room in the pods' volumes and memory. A pod that outgrows
either is stopped, with all that it does.
*/}}

{{/* A quantity of Kubernetes in whole MiB, rounded down. */}}
{{- define "gv.mib" -}}
{{- $text := toString . -}}
{{- if kindIs "float64" . -}}
{{- $text = int64 . | toString -}}
{{- end -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- $powers := dict "" (list 1 0) "k" (list 1000 1) "M" (list 1000 2) "G" (list 1000 3) "T" (list 1000 4) "P" (list 1000 5) "Ki" (list 1024 1) "Mi" (list 1024 2) "Gi" (list 1024 3) "Ti" (list 1024 4) "Pi" (list 1024 5) -}}
{{- $bytes := trimSuffix $unit $text | float64 -}}
{{- if eq $unit "m" -}}
{{- $bytes = divf $bytes 1000 -}}
{{- else -}}
{{- $power := index $powers $unit -}}
{{- range until (index $power 1) -}}
{{- $bytes = mulf $bytes (index $power 0) -}}
{{- end -}}
{{- end -}}
{{ divf $bytes 1048576 | floor | int64 }}
{{- end -}}

{{/* dict mounts (of a role), path: yes where the path is on one of them, or nothing. */}}
{{- define "gv.isMounted" -}}
{{- $path := printf "%s/" (trimSuffix "/" .path) -}}
{{- range .mounts -}}
{{- if hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) $path -}}
yes
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What does not fit, a line each. What is not among the values is as in config/gv.toml. */}}
{{- define "gv.sizeProblems" -}}
{{- include "gv.workerProblems" . -}}
{{- include "gv.edgeProblems" . -}}
{{- end -}}

{{- define "gv.workerProblems" -}}
{{- $worker := .Values.worker -}}
{{- $config := .Values.config -}}
{{- $builds := dig "worker" "concurrency" 2 $config | int64 -}}
{{- $work := dig "limits" "workspace_mb" 10240 $config | int64 -}}
{{- $source := dig "source" "max_mb" 1024 $config | int64 -}}
{{- $caches := dig "worker" "caches_mb" 10240 $config | int64 -}}
{{- $tools := dig "worker" "tools_mb" 4096 $config | int64 -}}
{{- /* Folders of the data volume, unless they have volumes of their own. */ -}}
{{- $sum := 0 -}}
{{- $parts := list -}}
{{- range list
  (list "caches" $caches (printf "config.worker.caches_mb %d" $caches))
  (list "tools" $tools (printf "config.worker.tools_mb %d" $tools))
  (list "work" (mul $builds (add $work $source)) (printf "config.worker.concurrency %d x (config.limits.workspace_mb %d + config.source.max_mb %d)" $builds $work $source)) -}}
{{- if not (include "gv.isMounted" (dict "mounts" $worker.extraVolumeMounts "path" (printf "/var/lib/gv/%s" (index . 0)))) -}}
{{- $sum = add $sum (index . 1) -}}
{{- $parts = append $parts (index . 2) -}}
{{- end -}}
{{- end -}}
{{- if lt (include "gv.mib" $worker.dataVolume.size | int64) (int64 $sum) }}
worker.dataVolume.size: {{ $worker.dataVolume.size }} is less than the {{ $sum }} MiB that a worker may fill ({{ join " + " $parts }}): give it more, or lower those
{{- end }}
{{- $memory := dig "limits" "build_memory_mb" 4096 $config | int64 -}}
{{- $needs := add 512 (mul $builds $memory) -}}
{{- with dig "limits" "memory" "" ($worker.resources | default dict) -}}
{{- if lt (include "gv.mib" . | int64) (int64 $needs) }}
worker.resources.limits.memory: {{ . }} is less than the {{ $needs }} MiB that a worker may take (config.worker.concurrency {{ $builds }} x config.limits.build_memory_mb {{ $memory }}, and 512 of its own): give it more, or lower those
{{- end }}
{{- end }}
{{- end -}}

{{- define "gv.edgeProblems" -}}
{{- $edge := .Values.edge -}}
{{- $config := .Values.config -}}
{{- with dig "edge" "disk_dir" "" $config -}}
{{- if include "gv.isMounted" (dict "mounts" $edge.extraVolumeMounts "path" .) -}}
{{- else if hasPrefix "/var/lib/gv/" . -}}
{{- $disk := dig "edge" "disk_mb" 10240 $config | int64 -}}
{{- $memory := dig "edge" "memory_mb" 256 $config | int64 -}}
{{- if lt (include "gv.mib" $edge.dataVolume.size | int64) (int64 (add $disk $memory)) }}
edge.dataVolume.size: {{ $edge.dataVolume.size }} is less than the {{ add $disk $memory }} MiB that an edge may fill below config.edge.disk_dir (config.edge.disk_mb {{ $disk }} + config.edge.memory_mb {{ $memory }}): give it more, or lower those
{{- end }}
{{- else }}
config.edge.disk_dir: {{ . }} is on no volume with room: name a folder below /var/lib/gv (and its size in edge.dataVolume.size), or one of edge.extraVolumeMounts
{{- end }}
{{- end }}
{{- end -}}
