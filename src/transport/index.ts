/**
 * Remote calls over any transport: one answer, or a stream of items with flow control. The adapters have entries of their own: `keelson/transport/memory`, `/websocket`,
 * `/datagram`.
 *
 * @module
 */
export * from './rpc.ts'
