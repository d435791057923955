import type { Counter, Gauge, Metrics } from '../../core/metrics.ts'

/** What a WebSocket transport counts. */
export interface WebSocketMetrics {
  readonly sent: Counter
  readonly received: Counter
  readonly sentBytes: Counter
  readonly receivedBytes: Counter
  /** Labelled by `reason`. */
  readonly dropped: Counter
  /** Labelled by `code`. */
  readonly refused: Counter
  readonly malformed: Counter
  readonly connections: Gauge
}

/** Registers the metrics of a transport. */
export function webSocketMetrics(metrics: Metrics): WebSocketMetrics {
  const counter = (name: string, help: string): Counter => metrics.counter(`keelson_transport_${name}`, help)
  return {
    sent: counter('sent_records_total', 'Messages and stream records packed into frames'),
    received: counter('received_records_total', 'Messages and stream records taken out of frames'),
    sentBytes: counter('sent_bytes_total', 'Bytes of frames handed to sockets'),
    receivedBytes: counter('received_bytes_total', 'Bytes of frames taken from sockets'),
    dropped: counter('dropped_messages_total', 'Messages that were dropped before they left, by reason'),
    refused: counter('refused_connections_total', 'Connections that were refused, by error code'),
    malformed: counter('malformed_frames_total', 'Frames that did not decode and ended their connection'),
    connections: metrics.gauge('keelson_transport_connections', 'Peers that are connected'),
  }
}
