import { createServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createSecureServer, Server as SecureServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type PeerCertificate, TLSSocket } from 'node:tls'
import { type WebSocket, WebSocketServer } from 'ws'
import { deferred } from '../../core/async.ts'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { maxFragments } from './dial.ts'
import {
  decodeHello,
  encodeRefusal,
  encodeWelcome,
  greetingHeaders,
  type Hello,
  upgradePath,
  type Welcome,
} from './handshake.ts'
import type { WebSocketMetrics } from './metrics.ts'
import type { CheckedWebSocketOptions, ListenAddress } from './options.ts'
import { secureOptions, type WebSocketTls } from './tls.ts'

/** Somebody who has said hello and waits for an answer: exactly one of `welcome` and `refuse` is called. */
export interface Caller {
  readonly hello: Hello
  readonly certificate: PeerCertificate | undefined
  /** False when it did not wait any longer. */
  readonly waiting: boolean
  /** Lets it in. `opened` gets the socket within the same turn, unless the upgrade itself is malformed. */
  welcome(welcome: Welcome, opened: (socket: WebSocket) => void): void
  refuse(error: KeelsonError): void
}

/** How often renewed keys are asked for. */
const keyReloadMs = 60_000

/** Listens, and keeps everybody at the door until they have said who they are. */
export class Acceptor {
  readonly #env: Environment
  readonly #options: CheckedWebSocketOptions
  readonly #metrics: WebSocketMetrics
  readonly #onCaller: (caller: Caller) => void
  readonly #server: Server
  readonly #upgrader: WebSocketServer
  /** Timers of connections that have not been let in yet, by the address they come from. */
  readonly #pending = new Map<string, TimerHandle>()
  readonly #sockets = new Set<Socket>()
  #reloadTimer: TimerHandle | undefined

  private constructor(
    env: Environment,
    options: CheckedWebSocketOptions,
    metrics: WebSocketMetrics,
    onCaller: (caller: Caller) => void,
  ) {
    this.#env = env
    this.#options = options
    this.#metrics = metrics
    this.#onCaller = onCaller
    const tls = options.tls?.()
    const http = { maxHeaderSize: 16 * 1024, keepAlive: false, headersTimeout: options.handshakeTimeoutMs }
    this.#server =
      tls === undefined
        ? createServer(http)
        : createSecureServer({
            ...http,
            ...secureOptions(tls),
            requestCert: tls.ca !== undefined,
            rejectUnauthorized: tls.ca !== undefined,
          })
    if (tls !== undefined && this.#server instanceof SecureServer) this.#watchKeys(this.#server, tls)
    // Two sockets for each peer.
    this.#server.maxConnections = options.maximumConnections * 2 + options.maximumHandshakes
    this.#upgrader = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: options.maximumFrameBytes,
      maxFragments,
      skipUTF8Validation: true,
    })
    this.#server.on('connection', (socket: Socket) => this.#onConnection(socket))
    this.#server.on('request', (_request, response) => {
      response.writeHead(426, { connection: 'close', 'content-type': 'text/plain' })
      response.end('this is a keelson node; it speaks WebSocket with its peers\n')
    })
    this.#server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head))
    this.#server.on('clientError', (_error, socket) => socket.destroy())
    this.#server.on('error', (error) => env.logger.error({ error }, 'the listening socket failed'))
  }

  /** @throws KeelsonError `IO` when the address cannot be listened on, `INVALID_OPTION` for unusable keys */
  static async listen(
    env: Environment,
    options: CheckedWebSocketOptions,
    listen: ListenAddress,
    metrics: WebSocketMetrics,
    onCaller: (caller: Caller) => void,
  ): Promise<Acceptor> {
    let acceptor: Acceptor
    try {
      acceptor = new Acceptor(env, options, metrics, onCaller)
    } catch (cause) {
      throw new KeelsonError(
        'INVALID_OPTION',
        'webSocket: the keys or certificates of tls are not usable; give key and cert as PEM that belong together',
        {
          cause,
        },
      )
    }
    const opened = deferred<void>()
    const onError = (error: Error): void => {
      const message = `cannot listen on ${listen.host}:${listen.port}: ${error.message}; name another host or port`
      opened.reject(new KeelsonError('IO', message, { cause: error, outcome: 'none' }))
    }
    acceptor.#server.once('error', onError)
    acceptor.#server.listen({ host: listen.host, port: listen.port, backlog: 1024 }, () => {
      acceptor.#server.off('error', onError)
      opened.resolve()
    })
    await opened.promise
    return acceptor
  }

  /** The port that it listens on. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Stops listening and cuts off whoever is not let in yet. Sockets that were let in belong to their links. */
  async close(): Promise<void> {
    this.#reloadTimer?.cancel()
    const closed = deferred<void>()
    this.#server.close(() => closed.resolve())
    for (const timer of this.#pending.values()) timer.cancel()
    for (const socket of this.#sockets) if (this.#pending.has(nameOf(socket))) socket.destroy()
    this.#pending.clear()
    // A link whose other end does not close in time is cut off, so that the port is free when this resolves.
    const late = this.#env.timers.schedule(1_000, () => {
      for (const socket of this.#sockets) socket.destroy()
    })
    await closed.promise
    late.cancel()
  }

  /** Takes renewed keys for the connections to come. */
  #watchKeys(server: SecureServer, current: WebSocketTls): void {
    this.#reloadTimer = this.#env.timers.schedule(keyReloadMs, () => {
      let next = current
      try {
        next = this.#options.tls?.() ?? current
        if (next !== current) server.setSecureContext(secureOptions(next))
      } catch (error) {
        next = current
        this.#env.logger.error({ error }, 'renewed keys are not usable; the earlier ones stay in use')
      }
      this.#watchKeys(server, next)
    })
  }

  #onConnection(socket: Socket): void {
    if (this.#pending.size >= this.#options.maximumHandshakes) {
      this.#metrics.refused.add(1, { code: 'OVERLOADED' })
      socket.destroy()
      return
    }
    const name = nameOf(socket)
    this.#sockets.add(socket)
    socket.setNoDelay(true)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#settle(name)
    })
    const timer = this.#env.timers.schedule(this.#options.handshakeTimeoutMs, () => socket.destroy())
    this.#pending.set(name, timer)
  }

  #settle(name: string): void {
    this.#pending.get(name)?.cancel()
    this.#pending.delete(name)
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Without a listener an error of a socket that waits here would end the process.
    socket.on('error', () => socket.destroy())
    if (request.url !== upgradePath || request.headers.origin !== undefined) {
      // Browsers name their page's origin: a page must not reach a node on its visitor's machine.
      this.#metrics.refused.add(1, { code: 'UNAUTHORIZED' })
      socket.end('HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n')
      return
    }
    const refuse = (error: KeelsonError): void => {
      this.#metrics.refused.add(1, { code: error.code })
      socket.end(
        `HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n${greetingHeaders.refusal}: ${encodeRefusal(error)}\r\n\r\n`,
      )
    }
    try {
      const greeting = request.headers[greetingHeaders.hello]
      const hello = decodeHello(typeof greeting === 'string' ? greeting : undefined)
      this.#onCaller({
        hello,
        certificate: certificateOf(socket),
        get waiting() {
          return !socket.destroyed
        },
        welcome: (welcome, opened) => this.#letIn(request, socket, head, welcome, opened),
        refuse,
      })
    } catch (error) {
      refuse(toKeelsonError(error, 'MALFORMED'))
    }
  }

  #letIn(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    welcome: Welcome,
    opened: (socket: WebSocket) => void,
  ): void {
    this.#settle(nameOf(socket as Socket))
    const onHeaders = (headers: string[]): void => {
      headers.push(`${greetingHeaders.welcome}: ${encodeWelcome(welcome)}`)
    }
    this.#upgrader.once('headers', onHeaders)
    this.#upgrader.handleUpgrade(request, socket, head, opened)
    this.#upgrader.off('headers', onHeaders)
  }
}

function nameOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort}`
}

function certificateOf(socket: Duplex): PeerCertificate | undefined {
  if (!(socket instanceof TLSSocket)) return undefined
  const certificate = socket.getPeerCertificate()
  return Object.keys(certificate).length === 0 ? undefined : certificate
}
