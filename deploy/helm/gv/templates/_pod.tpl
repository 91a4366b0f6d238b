{{/* What the three roles' Deployments have in common. */}}

{{/* dict root, role */}}
{{- define "gv.pod" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- $values := index $root.Values $role -}}
{{- $component := dict "root" $root "component" $role -}}
{{- $certificate := "" -}}
{{- if include "gv.hasTls" . -}}
{{- $certificate = $values.tls.secretName -}}
{{- end -}}
metadata:
  labels:
    {{- include "gv.labels" $component | nindent 4 }}
    gv/ops: "true"
    {{- with mergeOverwrite (dict) ($root.Values.podLabels | default dict) ($values.podLabels | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ $role }}
    checksum/config: {{ include "gv.toml" $root | sha256sum }}
    {{- if not $root.Values.secret.existingSecret }}
    checksum/secret: {{ include "gv.secretChecksum" . }}
    {{- end }}
    {{- with mergeOverwrite (dict) ($root.Values.podAnnotations | default dict) ($values.podAnnotations | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "gv.fullname" $root }}-{{ $role }}
  automountServiceAccountToken: false
  # Kubernetes' own GV_..._PORT variables of our Services are none of gv's.
  enableServiceLinks: false
  {{- include "gv.pullSecrets" $root | nindent 2 }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if not (kindIs "invalid" $values.hostUsers) }}
  hostUsers: {{ $values.hostUsers }}
  {{- end }}
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "gv.podSecurity" (dict "uid" 65532) | nindent 4 }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.topologySpread }}
  topologySpreadConstraints:
    {{- range . }}
    - topologyKey: {{ .topologyKey }}
      maxSkew: {{ .maxSkew | default 1 }}
      whenUnsatisfiable: {{ .whenUnsatisfiable | default "ScheduleAnyway" }}
      labelSelector:
        matchLabels:
          {{- include "gv.selector" $component | nindent 10 }}
      # Of one version: during a rollout the old ones are about to go.
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
  containers:
    - name: {{ $role }}
      image: {{ include "gv.image" $root | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [{{ $role }}]
      env:
        - name: GV_CONFIG
          value: /etc/gv/gv.toml
        {{- include "gv.secretEnv" (dict "root" $root "role" $role "secret" (include "gv.secretName" $root)) | nindent 8 }}
        {{- include "gv.tlsEnv" . | nindent 8 }}
        {{- with concat ($root.Values.extraEnv | default list) ($values.extraEnv | default list) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- if ne $role "worker" }}
        - name: http
          containerPort: {{ if eq $role "api" }}8080{{ else }}8000{{ end }}
        {{- end }}
        {{- if include "gv.hasTls" . }}
        - name: https
          containerPort: 8443
        {{- end }}
        - name: ops
          containerPort: 9090
      {{- range $name, $probe := $values.probes }}
      {{ $name }}Probe:
        exec:
          command: {{ concat (list "gv" "health" $role) (ternary (list "--ready") (list) (eq $probe.path "/readyz")) | toJson }}
        periodSeconds: {{ $probe.periodSeconds }}
        timeoutSeconds: {{ $probe.timeoutSeconds }}
        failureThreshold: {{ $probe.failureThreshold }}
      {{- end }}
      {{- with $values.preStopSeconds }}
      # Whoever still has this pod for an endpoint gets an answer while that is withdrawn.
      lifecycle:
        preStop:
          {{- if semverCompare ">=1.30.0-0" $root.Capabilities.KubeVersion.Version }}
          sleep:
            seconds: {{ . }}
          {{- else }}
          exec:
            command: [sleep, {{ . | quote }}]
          {{- end }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "gv.containerSecurity" . | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/gv
          readOnly: true
        - name: data
          mountPath: /var/lib/gv
        - name: tmp
          mountPath: /tmp
        {{- if $certificate }}
        # The whole folder: a single file of it would stay as it was when the Secret changes.
        - name: tls
          mountPath: /etc/gv-tls
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "gv.fullname" $root }}
    - name: data
      {{- with $values.dataVolume.storageClassName }}
      # A volume of the pod's own, made and removed with it.
      ephemeral:
        volumeClaimTemplate:
          metadata:
            labels:
              {{- include "gv.labels" $component | nindent 14 }}
          spec:
            accessModes: [ReadWriteOnce]
            storageClassName: {{ . }}
            resources:
              requests:
                storage: {{ $values.dataVolume.size }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ $values.dataVolume.size }}
      {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: {{ $values.tmpSize }}
    {{- with $certificate }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
