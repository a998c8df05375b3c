{{/*
What a chart includes where it writes its pod template; ../../example/templates/deployment.yaml uses all of it.

  sse-sidecar.container                      an item for `containers`, after the application's
  sse-sidecar.volume                         an item for `volumes`
  sse-sidecar.annotations                    annotations of the pod template: the configuration
  sse-sidecar.lifecycle                      the application's `lifecycle`, which holds it back during the drain
  sse-sidecar.terminationGracePeriodSeconds  at least what that needs; the chart's own value if that is longer
  sse-sidecar.port                           what the Service's `targetPort` has to be
*/}}

{{- define "sse-sidecar.container" -}}
{{- $values := index .Values "sse-sidecar" -}}
- name: sse-sidecar
  image: "{{ required "set sse-sidecar.image.repository, with its registry" $values.image.repository }}:{{ $values.image.tag }}"
  imagePullPolicy: {{ $values.image.pullPolicy }}
  env:
    - name: SSE_SIDECAR_LISTEN
      value: 0.0.0.0:{{ $values.port }}
    - name: SSE_SIDECAR_ADMIN
      value: 0.0.0.0:{{ $values.adminPort }}
  ports:
    - name: sse-sidecar
      containerPort: {{ $values.port }}
    - name: sse-admin
      containerPort: {{ $values.adminPort }}
  startupProbe:
    httpGet:
      path: /live
      port: {{ $values.adminPort }}
    periodSeconds: 1
    failureThreshold: 30
  livenessProbe:
    httpGet:
      path: /live
      port: {{ $values.adminPort }}
    periodSeconds: 10
    timeoutSeconds: 2
  readinessProbe:
    httpGet:
      path: /ready
      port: {{ $values.adminPort }}
    periodSeconds: 2
    failureThreshold: 3
  resources:
    {{- toYaml $values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
  volumeMounts:
    - name: sse-sidecar
      mountPath: /etc/sse-sidecar
      readOnly: true
{{- end }}

{{- define "sse-sidecar.volume" -}}
- name: sse-sidecar
  downwardAPI:
    items:
      - path: config.toml
        fieldRef:
          fieldPath: metadata.annotations['sse-sidecar/config']
{{- end }}

{{- define "sse-sidecar.annotations" -}}
sse-sidecar/config: |
  {{- include "sse-sidecar.config" . | nindent 2 }}
{{- end }}

{{- define "sse-sidecar.config" -}}
{{- $values := index .Values "sse-sidecar" -}}
{{- if regexMatch "(?m)^\\s*\\[(upstream|drain)\\]" $values.config -}}
{{- fail "sse-sidecar.config: [upstream] and [drain] come from sse-sidecar.upstream and sse-sidecar.drain; set those" -}}
{{- end -}}
{{- if regexMatch "(?m)^\\s*(\\[admin\\]|\\[\\[listener\\]\\])" $values.config -}}
{{- fail "sse-sidecar.config: ports come from sse-sidecar.port and sse-sidecar.adminPort; leave out [[listener]] and [admin]" -}}
{{- end -}}
[upstream]
url = {{ required "set sse-sidecar.upstream to the application's address in the pod, such as http://127.0.0.1:3000" $values.upstream | toJson }}

[drain]
delay = "{{ if eq (int $values.drain.delaySeconds) 0 }}off{{ else }}{{ $values.drain.delaySeconds }}s{{ end }}"
timeout = "{{ $values.drain.timeoutSeconds }}s"
{{- with $values.config }}

{{ . | trim }}
{{- end }}
{{- end }}

{{- define "sse-sidecar.lifecycle" -}}
{{- $drain := (index .Values "sse-sidecar").drain -}}
preStop:
  sleep:
    seconds: {{ add $drain.delaySeconds $drain.timeoutSeconds }}
{{- end }}

{{- define "sse-sidecar.terminationGracePeriodSeconds" -}}
{{- $drain := (index .Values "sse-sidecar").drain -}}
{{- max (add $drain.delaySeconds $drain.timeoutSeconds $drain.applicationSeconds) (.Values.terminationGracePeriodSeconds | default 0) -}}
{{- end }}

{{- define "sse-sidecar.port" -}}
{{- (index .Values "sse-sidecar").port -}}
{{- end }}
