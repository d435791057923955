/**
 * Remote calls over any transport. The adapters have entries of their own: `keelson/transport/memory`, `/websocket`,
 * `/datagram`.
 *
 * @module
 */
export * from './rpc.ts'
