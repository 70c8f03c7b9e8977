// What to put into clients so that they send here: [{id, title, text, notes}, …]. Pure. Each was tried against a running stack.

const PLACEHOLDER = "obs_…";

/** `origin` as the browser knows it, `host` without a port, `token` or null. */
export function snippets(origin, host, token) {
  const secret = token ?? PLACEHOLDER;
  return [
    {
      id: "collector",
      title: "OpenTelemetry Collector",
      notes:
        "Into the Collector's configuration; name the exporter in the pipelines you want to send. The newest versions call its kind otlp_http " +
        "and take this name as well. max_elapsed_time: 0s keeps what can't be taken now.",
      text: `exporters:
  otlphttp/obstack:
    endpoint: ${origin}/ingest/otlp
    headers:
      Authorization: "Bearer ${secret}"
    compression: gzip
    retry_on_failure:
      max_elapsed_time: 0s
service:
  pipelines:
    logs: {receivers: [otlp], exporters: [otlphttp/obstack]}
    metrics: {receivers: [otlp], exporters: [otlphttp/obstack]}
    traces: {receivers: [otlp], exporters: [otlphttp/obstack]}
`,
    },
    {
      id: "sdk",
      title: "OpenTelemetry SDK",
      notes: "Environment of the instrumented program; every SDK and agent reads these.",
      text: `export OTEL_SERVICE_NAME=my-service
export OTEL_EXPORTER_OTLP_ENDPOINT=${origin}/ingest/otlp
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS="x-obstack-auth-token=${secret}"
export OTEL_LOGS_EXPORTER=otlp OTEL_METRICS_EXPORTER=otlp OTEL_TRACES_EXPORTER=otlp
`,
    },
    {
      id: "grpc",
      title: "OTLP over gRPC",
      notes:
        "For the Collector, where whoever runs Obstack has opened a port for gRPC: on a laptop it is 8104, without TLS. " +
        "Elsewhere take the address you were given, and leave the tls line out.",
      text: `exporters:
  otlp/obstack:
    endpoint: ${host}:8104
    tls: {insecure: true}
    headers:
      authorization: "Bearer ${secret}"
`,
    },
    {
      id: "prometheus",
      title: "Prometheus",
      notes: "Into prometheus.yml. Exemplars and native histograms come along.",
      text: `remote_write:
  - url: ${origin}/ingest/prometheus/v1/write
    authorization:
      credentials: ${secret}
    send_exemplars: true
    send_native_histograms: true
    queue_config:
      retry_on_http_429: true
`,
    },
    {
      id: "curl",
      title: "curl",
      notes: "One log record by hand. 200 means that it is stored safely.",
      text: `curl -i ${origin}/ingest/otlp/v1/logs \\
  -H "Authorization: Bearer ${secret}" -H "Content-Type: application/json" \\
  -d '{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"hello"}}]},"scopeLogs":[{"logRecords":[{"severityNumber":9,"body":{"stringValue":"Hello from curl"}}]}]}]}'
`,
    },
  ];
}
