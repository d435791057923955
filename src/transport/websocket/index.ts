/**
 * The transport for real clusters: WebSockets, with TLS or on the loopback interface.
 *
 * @module
 */
export {
  type ListenAddress,
  type WebSocketLimits,
  type WebSocketOptions,
  webSocketDefaults,
} from './options.ts'
export { certificateNamesNode, type WebSocketTls } from './tls.ts'
export { webSocket } from './transport.ts'
