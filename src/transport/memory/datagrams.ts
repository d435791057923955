import { checkBytes, checkFunction } from '../../core/arguments.ts'
import { copyBytes } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkOptions, integerOption } from '../../core/options.ts'
import type { DatagramContext, DatagramFactory, DatagramSocket } from '../../interfaces/datagram.ts'
import { formatAddress, parseAddress } from '../addresses.ts'
import { checkDatagramContext } from '../context.ts'

/** What may be changed of {@link memoryDatagrams}. */
export interface MemoryDatagramsOptions {
  /** Largest packet in bytes. Default: 1,400. */
  readonly maximumPayloadBytes?: number
}

/** What {@link memoryDatagrams} uses where nothing is given. */
export const memoryDatagramsDefaults: Required<MemoryDatagramsOptions> = Object.freeze({
  maximumPayloadBytes: 1_400,
})

/**
 * Packets within one process: copied, delivered in a later turn, lost where a test says so. Addresses are `memory:1` and
 * so on.
 */
export class MemoryDatagrams {
  readonly #maximumPayloadBytes: number
  readonly #sockets = new Map<string, MemoryDatagramSocket>()
  #lastPort = 0
  #filter: (from: string, to: string) => boolean = () => true

  /** Use {@link memoryDatagrams}. @internal */
  constructor(maximumPayloadBytes: number) {
    this.#maximumPayloadBytes = maximumPayloadBytes
  }

  /** A socket of this network for each call of the factory. */
  socket(): DatagramFactory {
    return async (context) => {
      checkDatagramContext(context)
      if (this.#lastPort === 65_535)
        throw new KeelsonError('IO', 'this memory network has no port left; make another one')
      const address = formatAddress('memory', ++this.#lastPort)
      const socket = new MemoryDatagramSocket(context, address, this.#maximumPayloadBytes, {
        find: (to) => (this.#filter(address, to) ? this.#sockets.get(to) : undefined),
        closed: () => this.#sockets.delete(address),
      })
      this.#sockets.set(address, socket)
      return socket
    }
  }

  /** From now on only packets for which `passes` gives true arrive. */
  filter(passes: (from: string, to: string) => boolean): void {
    this.#filter = checkFunction(passes, 'the filter of packets')
  }
}

interface Hub {
  find(address: string): MemoryDatagramSocket | undefined
  closed(): void
}

class MemoryDatagramSocket implements DatagramSocket {
  readonly address: string
  readonly maximumPayloadBytes: number
  readonly #context: DatagramContext
  readonly #hub: Hub
  #handler: (from: string, bytes: Uint8Array) => void = () => {}
  #closed = false

  constructor(context: DatagramContext, address: string, maximumPayloadBytes: number, hub: Hub) {
    this.address = address
    this.maximumPayloadBytes = maximumPayloadBytes
    this.#context = context
    this.#hub = hub
  }

  send(address: string, bytes: Uint8Array): void {
    parseAddress(address)
    checkBytes(bytes, 'a packet')
    if (bytes.length > this.maximumPayloadBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a packet has at most ${this.maximumPayloadBytes} bytes, not ${bytes.length}; send less at a time`,
      )
    }
    if (this.#closed) return
    const copy = copyBytes(bytes)
    this.#context.env.timers.defer(() => this.#hub.find(address)?.deliver(this.address, copy))
  }

  onMessage(handler: (from: string, bytes: Uint8Array) => void): void {
    this.#handler = checkFunction(handler, 'the handler of packets')
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#hub.closed()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  deliver(from: string, bytes: Uint8Array): void {
    if (this.#closed) return
    try {
      this.#handler(from, bytes)
    } catch (error) {
      this.#context.env.logger.error({ error }, 'a packet handler threw')
    }
  }
}

/** Packets within one process, for tests and development clusters. */
export function memoryDatagrams(options: MemoryDatagramsOptions = {}): MemoryDatagrams {
  const checked = checkOptions<Required<MemoryDatagramsOptions>>('memoryDatagrams', options, {
    maximumPayloadBytes: integerOption({
      min: 1,
      max: 65_507,
      fallback: memoryDatagramsDefaults.maximumPayloadBytes,
    }),
  })
  return new MemoryDatagrams(checked.maximumPayloadBytes)
}
