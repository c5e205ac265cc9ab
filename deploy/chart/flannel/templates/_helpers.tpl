{{/* The agent's image. */}}
{{- define "flannel.image" -}}
{{ .Values.flannel.image.repository }}:{{ .Values.flannel.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/*
The metadata of an object below "metadata:": dict "root" $ "name" NAME "namespaced" BOOL "labels" [DICT...] "annotations" [DICT...].
Of two values for one key the earlier counts. All objects bear k8s-app, as upstream's do.
*/}}
{{- define "flannel.metadata" -}}
name: {{ .name }}
{{- if .namespaced }}
namespace: {{ .root.Release.Namespace }}
{{- end }}
{{- $labels := dict "k8s-app" "flannel" }}
{{- range append .labels .root.Values.global.commonLabels }}
{{- $labels = merge $labels (. | default dict) }}
{{- end }}
labels:
  {{- toYaml $labels | nindent 2 }}
{{- $annotations := dict }}
{{- range append .annotations .root.Values.global.commonAnnotations }}
{{- $annotations = merge $annotations (. | default dict) }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
Which pods are the DaemonSet's. Kubernetes lets nobody change that of an existing one, and upstream's manifest and the
versions of its chart differ in it: what is there stays, so that a release can take any of them over.
*/}}
{{- define "flannel.selector" -}}
{{- $found := lookup "apps/v1" "DaemonSet" .Release.Namespace "kube-flannel-ds" | default dict -}}
{{- dig "spec" "selector" "matchLabels" (dict "app" "flannel" "k8s-app" "flannel") $found | toYaml -}}
{{- end -}}

{{/* The network configuration: lines in the order in which people read them. */}}
{{- define "flannel.netConf" -}}
{{- $f := .Values.flannel -}}
{{- $lines := list -}}
{{- if .Values.podCidr -}}
{{- $lines = append $lines (printf "\"Network\": %s" (toJson .Values.podCidr)) -}}
{{- else -}}
{{- $lines = append $lines "\"EnableIPv4\": false" -}}
{{- end -}}
{{- if .Values.podCidrv6 -}}
{{- $lines = concat $lines (list "\"EnableIPv6\": true" (printf "\"IPv6Network\": %s" (toJson .Values.podCidrv6))) -}}
{{- end -}}
{{- $lines = append $lines (printf "\"EnableNFTables\": %t" $f.enableNFTables) -}}
{{- range $key, $value := $f.netConf -}}
{{- $lines = append $lines (printf "%s: %s" (toJson $key) (toJson $value)) -}}
{{- end -}}
{{- $lines = append $lines (include "flannel.backend" . | trim | indent 2 | trim | printf "\"Backend\": %s") -}}
{
  {{ join ",\n  " $lines }}
}
{{- end -}}

{{/* The object Backend. What is not set is left out, so that the agent's default counts. */}}
{{- define "flannel.backend" -}}
{{- $f := .Values.flannel -}}
{{- $keys := dict
  "vxlan" (dict "Port" $f.backendPort "VNI" $f.vni "GBP" $f.GBP "DirectRouting" $f.directRouting "MTU" $f.mtu "MacPrefix" $f.macPrefix)
  "wireguard" (dict "ListenPort" $f.backendPort "ListenPortV6" $f.backendPortv6 "PSK" $f.psk "MTU" $f.mtu "Mode" $f.tunnelMode "PersistentKeepaliveInterval" $f.keepaliveInterval)
  "ipip" (dict "DirectRouting" $f.directRouting)
  "ipsec" (dict "PSK" $f.psk)
  "extension" (dict "MTU" $f.mtu)
  "udp" (dict "Port" $f.backendPort)
-}}
{{- $lines := list (printf "\"Type\": %s" (toJson $f.backend)) -}}
{{- range $key, $value := get $keys $f.backend | default dict -}}
{{- if $value -}}
{{- /* Numbers of values files are floats. */ -}}
{{- $lines = append $lines (printf "%s: %s" (toJson $key) (kindIs "float64" $value | ternary (toString ($value | int64)) (toJson $value))) -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := $f.backendOptions -}}
{{- $lines = append $lines (printf "%s: %s" (toJson $key) (kindIs "float64" $value | ternary (toString ($value | int64)) (toJson $value))) -}}
{{- end -}}
{
  {{ join ",\n  " $lines }}
}
{{- end -}}

{{/* What the container may do. The udp backend opens /dev/net/tun, which container runtimes give to privileged ones only. */}}
{{- define "flannel.securityContext" -}}
{{- if eq .Values.flannel.backend "udp" -}}
privileged: true
readOnlyRootFilesystem: true
{{- else -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  add: [NET_ADMIN, NET_RAW]
privileged: false
readOnlyRootFilesystem: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- end -}}

{{/* Where the pods of both DaemonSets run: on every Linux node, whatever state it is in, and on the host's network. */}}
{{- define "flannel.placement" -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: kubernetes.io/os
              operator: In
              values: [linux]
hostNetwork: true
{{- with .Values.flannel.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.flannel.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
serviceAccountName: flannel
{{- with .Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.flannel.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
