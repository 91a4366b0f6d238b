{{/* What the chart's own PostgreSQL, RabbitMQ, Redis and SeaweedFS have in common. */}}

{{/* dict root, service: its Service, headless or not, and who may reach it. */}}
{{- define "gv.serviceFront" -}}
{{- $component := dict "root" .root "component" .service -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "gv.metadata" $component | nindent 2 }}
spec:
  selector:
    {{- include "gv.selector" $component | nindent 4 }}
  ports:
    - name: main
      port: {{ include "gv.ownPort" .service }}
      targetPort: main
---
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "gv.metadata" $component | nindent 2 }}
automountServiceAccountToken: false
{{- if .root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "gv.metadata" $component | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "gv.selector" $component | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - protocol: TCP
          port: main
      from:
        {{- range .roles }}
        - podSelector:
            matchLabels:
              {{- include "gv.selector" (dict "root" $.root "component" .) | nindent 14 }}
        {{- end }}
        {{- with .from }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  # It calls nobody.
  egress: []
{{- end }}
{{- end -}}

{{/* dict root, service, uid: the head of its StatefulSet, up to the pod's containers. */}}
{{- define "gv.statefulHead" -}}
{{- $component := dict "root" .root "component" .service -}}
{{- $values := index .root.Values.services .service -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "gv.metadata" $component | nindent 2 }}
spec:
  serviceName: {{ include "gv.fullname" .root }}-{{ .service }}
  replicas: 1
  selector:
    matchLabels:
      {{- include "gv.selector" $component | nindent 6 }}
  {{- with $values.storage }}
  volumeClaimTemplates:
    - metadata:
        name: data
        labels:
          {{- include "gv.selector" $component | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .size }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "gv.labels" $component | nindent 8 }}
      annotations:
        checksum/secret: {{ get .root.Values._secrets.services .service | sha256sum }}
        {{- with .root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "gv.fullname" .root }}-{{ .service }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- include "gv.pullSecrets" .root | nindent 6 }}
      terminationGracePeriodSeconds: 60
      securityContext:
        {{- include "gv.podSecurity" (dict "uid" .uid) | nindent 8 }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{/* dict root, service: the head of its container. */}}
{{- define "gv.statefulContainer" -}}
{{- $values := index .root.Values.services .service -}}
name: {{ .service }}
image: {{ $values.image | quote }}
imagePullPolicy: IfNotPresent
ports:
  - name: main
    containerPort: {{ include "gv.ownPort" .service }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- include "gv.containerSecurity" . | nindent 2 }}
{{- end -}}

{{/* dict root, service, files: its Secret, with its password and its configuration. */}}
{{- define "gv.serviceSecret" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "gv.metadata" (dict "root" .root "component" .service) | nindent 2 }}
  annotations:
    # The volume remembers its password, and outlives an uninstall as well.
    helm.sh/resource-policy: keep
type: Opaque
stringData:
  password: {{ get .root.Values._secrets.services .service | quote }}
  {{- range $name, $text := .files }}
  {{ $name }}: |
    {{- $text | nindent 4 }}
  {{- end }}
{{- end -}}
