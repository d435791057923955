import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { connect as connectSecure, type PeerCertificate, TLSSocket } from 'node:tls'
import { WebSocket } from 'ws'
import type { TimerHandle } from '../../core/clock.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { formatAddress, isLoopback, parseAddress } from '../addresses.ts'
import {
  decodeRefusal,
  decodeWelcome,
  encodeHello,
  greetingHeaders,
  type Hello,
  upgradePath,
  type Welcome,
} from './handshake.ts'
import type { CheckedWebSocketOptions } from './options.ts'
import { secureOptions } from './tls.ts'

/** A dial that succeeded. */
export interface Dialled {
  readonly socket: WebSocket
  readonly welcome: Welcome
  readonly certificate: PeerCertificate | undefined
}

/**
 * One attempt to connect to one address. It calls `settled` exactly once, in the same turn in which the socket opens, so
 * that nothing that arrives on it can be missed; after {@link Dial.abort} it never does.
 */
export class Dial {
  readonly address: string
  readonly hello: Hello
  /** True once the network connection stands: the peer has seen the greeting, or is about to. */
  greeted = false
  readonly #settled: (result: Dialled | KeelsonError) => void
  readonly #timer: TimerHandle
  #socket: WebSocket | undefined
  #raw: Socket | undefined
  #welcome: Welcome | KeelsonError | undefined
  #over = false

  /** @throws KeelsonError `INVALID_ARGUMENT`, `INVALID_OPTION` when plaintext is not allowed or the keys are of no use */
  constructor(
    env: Environment,
    options: CheckedWebSocketOptions,
    address: string,
    hello: Hello,
    settled: (result: Dialled | KeelsonError) => void,
  ) {
    this.address = address
    this.hello = hello
    this.#settled = settled
    const { host, port } = parseAddress(address)
    if (options.tls === undefined && !options.insecure && !isLoopback(host)) {
      throw new KeelsonError(
        'INVALID_OPTION',
        `dialling ${address} without tls would carry everything in plaintext; give tls, or set insecure: true`,
      )
    }
    this.#timer = env.timers.schedule(options.handshakeTimeoutMs, () =>
      this.#fail(`no answer within ${options.handshakeTimeoutMs} ms`),
    )
    try {
      this.#start(options, host, port)
    } catch (cause) {
      this.abort()
      throw new KeelsonError('INVALID_OPTION', `${address} cannot be dialled: ${(cause as Error).message}`, {
        cause,
      })
    }
  }

  /** Gives up, silently. */
  abort(): void {
    if (this.#over) return
    this.#finish()
    this.#socket?.terminate()
  }

  #start(options: CheckedWebSocketOptions, host: string, port: number): void {
    const scheme = options.tls === undefined ? 'ws' : 'wss'
    const socket = new WebSocket(`${scheme}://${formatAddress(host, port)}${upgradePath}`, {
      perMessageDeflate: false,
      followRedirects: false,
      maxPayload: options.maximumFrameBytes,
      maxFragments,
      skipUTF8Validation: true,
      // A mask keeps browsers from confusing proxies between them and a server. There is no browser here, and unmasking
      // would cost more than everything else that is done with a byte.
      generateMask: () => {},
      headers: { [greetingHeaders.hello]: encodeHello(this.hello) },
      createConnection: () => this.#connect(options, host, port),
    })
    this.#socket = socket
    // Stays: a socket that was given up may still report its end.
    socket.on('error', (error) => this.#fail(error.message, error))
    socket.on('close', () => this.#fail('the connection was closed'))
    socket.on('unexpected-response', (request, response) => {
      const refusal = decodeRefusal(header(response.headers, greetingHeaders.refusal))
      request.destroy()
      if (refusal !== undefined) this.#end(refusal)
      else this.#fail(`HTTP status ${response.statusCode}: this is no keelson node`)
    })
    socket.on('upgrade', (response) => {
      try {
        this.#welcome = decodeWelcome(header(response.headers, greetingHeaders.welcome))
      } catch (error) {
        this.#welcome = error as KeelsonError
      }
    })
    socket.on('open', () => this.#opened(socket))
  }

  #connect(options: CheckedWebSocketOptions, host: string, port: number): Socket {
    const onConnected = (): void => {
      this.greeted = true
    }
    const { tls, verifyPeer } = options
    if (tls === undefined) this.#raw = connectPlain({ host, port }, onConnected)
    else {
      this.#raw = connectSecure(
        {
          host,
          port,
          ...secureOptions(tls()),
          ...(isIP(host) === 0 ? { servername: host } : {}),
          ...(verifyPeer === undefined ? {} : { checkServerIdentity: () => undefined }),
        },
        onConnected,
      )
    }
    return this.#raw
  }

  #opened(socket: WebSocket): void {
    if (this.#over) return
    const welcome = this.#welcome
    if (welcome instanceof KeelsonError || welcome === undefined) {
      this.#end(welcome ?? new KeelsonError('MALFORMED', 'the peer did not say who it is'))
      return
    }
    this.#finish()
    const certificate = this.#raw instanceof TLSSocket ? this.#raw.getPeerCertificate() : undefined
    this.#settled({ socket, welcome, certificate })
  }

  #fail(problem: string, cause?: unknown): void {
    this.#end(new KeelsonError('UNREACHABLE', `${this.address} cannot be reached: ${problem}`, { cause }))
  }

  #end(error: KeelsonError): void {
    if (this.#over) return
    this.#finish()
    this.#socket?.terminate()
    this.#settled(error)
  }

  #finish(): void {
    this.#over = true
    this.#timer.cancel()
  }
}

/** We never send fragments, so a peer that sends many of them is not one of ours. */
export const maxFragments = 64

function header(headers: Record<string, string | string[] | undefined>, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : undefined
}
