import { once } from 'node:events'
import { connect, type Server, type Socket } from 'node:net'
import { WebSocket } from 'ws'
import type { KeelsonError } from '../../../src/core/errors.ts'
import { parseAddress } from '../../../src/transport/addresses.ts'
import { FrameWriter } from '../../../src/transport/websocket/frame.ts'
import {
  decodeRefusal,
  decodeWelcome,
  encodeHello,
  type Hello,
  type Welcome,
} from '../../../src/transport/websocket/handshake.ts'

/** A hello that is let in. */
export function hello(changes: Partial<Hello> = {}): Hello {
  return {
    oldest: 1,
    newest: 1,
    clusterId: 'test',
    founding: undefined,
    identity: { nodeId: 'raw', incarnation: 1, role: 'node' },
    processId: 7,
    maximumFrameBytes: 4 * 1024 * 1024,
    wanted: undefined,
    attempt: 1,
    token: undefined,
    asking: false,
    ...changes,
  }
}

export interface Entered {
  readonly socket: WebSocket
  readonly welcome: Welcome
  /** Resolves with the code and the reason when the node closes the socket. */
  readonly closed: Promise<readonly [number, string]>
}

/** Knocks with any greeting. Gives the socket, or the refusal, or the HTTP status. */
export async function knock(
  address: string,
  greeting: string | undefined,
  options: { readonly headers?: Record<string, string>; readonly autoPong?: boolean } = {},
): Promise<Entered | KeelsonError | number> {
  const headers = { ...(greeting === undefined ? {} : { 'x-keelson-hello': greeting }), ...options.headers }
  const socket = new WebSocket(`ws://${address}/keelson`, {
    headers,
    perMessageDeflate: false,
    autoPong: options.autoPong ?? true,
  })
  socket.on('error', () => {})
  return new Promise((resolve, reject) => {
    let welcome: Welcome | undefined
    const closed = new Promise<readonly [number, string]>((done) =>
      socket.once('close', (code, reason) => done([code, reason.toString()])),
    )
    socket.once('upgrade', (response) => {
      welcome = decodeWelcome(response.headers['x-keelson-welcome'] as string)
    })
    socket.once('open', () => resolve({ socket, welcome: welcome as Welcome, closed }))
    socket.once('unexpected-response', (request, response) => {
      request.destroy()
      resolve(
        decodeRefusal(response.headers['x-keelson-refusal'] as string | undefined) ??
          (response.statusCode as number),
      )
    })
    socket.once('close', () => reject(new Error('closed without a word')))
  })
}

/** Enters as a peer: both of its connections, as a node expects them. */
export async function enter(
  address: string,
  changes: Partial<Hello> = {},
  options: { readonly bulk?: boolean; readonly autoPong?: boolean } = {},
): Promise<Entered & { readonly bulk: Entered | undefined }> {
  const control = await knock(address, encodeHello(hello(changes)), options)
  if (typeof control === 'number' || control instanceof Error)
    throw new Error(`not let in: ${String(control)}`)
  if (options.bulk === false) return { ...control, bulk: undefined }
  const bulk = await knock(address, encodeHello(hello({ ...changes, token: control.welcome.token })), options)
  if (typeof bulk === 'number' || bulk instanceof Error) throw new Error(`no bulk: ${String(bulk)}`)
  return { ...control, bulk }
}

/** A frame with messages, as a node would send it. */
export function frameOf(protocol: string, ...bodies: readonly Uint8Array[]): Uint8Array {
  const records = bodies.map((body) => ({ protocol, head: undefined, body }))
  return new FrameWriter().pack(records, 0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER).frame
}

/** A plain TCP connection. */
export async function plug(address: string): Promise<Socket> {
  const { host, port } = parseAddress(address)
  const socket = connect({ host, port })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Resolves when the other side has ended the connection. */
export async function hangUp(socket: Socket): Promise<string> {
  let said = ''
  socket.on('data', (data: Buffer) => {
    said += data.toString('latin1')
  })
  if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve))
  return said
}

/** Listens on a free port of the loopback interface; closes everything with the test. */
export async function listening(
  server: Server,
): Promise<AsyncDisposable & { readonly address: string; readonly sockets: Set<Socket> }> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    address: `127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    sockets,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
