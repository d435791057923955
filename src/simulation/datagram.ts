import { checkBytes, checkFunction } from '../core/arguments.ts'
import { copyBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkOptions, integerOption, showValue } from '../core/options.ts'
import type { DatagramFactory, DatagramSocket } from '../interfaces/datagram.ts'
import { MessageNetwork } from './message-network.ts'
import type { NetworkConditions } from './network-conditions.ts'
import type { SimulatedProcess } from './process.ts'
import type { Scheduler } from './scheduler.ts'

/** Options of {@link SimulatedDatagrams.factory}. */
export interface SimulatedDatagramOptions {
  /**
   * Port of the address `<process>:<port>`.
   *
   * @defaultValue 7946
   */
  readonly port?: number
  /** @defaultValue 1,400 */
  readonly maximumPayloadBytes?: number
}

interface Packet {
  readonly fromPort: number
  readonly toPort: number
  readonly bytes: Uint8Array
}

/** The `DatagramSocket` port over a simulated network. An address is `<process name>:<port>`. */
export class SimulatedDatagrams {
  readonly #messages: MessageNetwork<Packet>
  readonly #sockets = new Map<string, (from: string, bytes: Uint8Array) => void>()
  readonly #attached = new Set<string>()

  /** A network of its own on links that other networks may share. */
  constructor(scheduler: Scheduler, conditions: NetworkConditions) {
    this.#messages = new MessageNetwork(scheduler, conditions, (packet) => ({
      ...packet,
      bytes: copyBytes(packet.bytes),
    }))
  }

  /** An adapter for the present life of a process. */
  factory(process: SimulatedProcess, options: SimulatedDatagramOptions = {}): DatagramFactory {
    const { port, maximumPayloadBytes } = checkOptions<Required<SimulatedDatagramOptions>>(
      'SimulatedDatagrams',
      options,
      {
        port: integerOption({ min: 1, max: 65_535, fallback: 7946 }),
        maximumPayloadBytes: integerOption({ min: 1, max: 65_507, fallback: 1_400 }),
      },
    )
    return async () => this.#open(process, port, maximumPayloadBytes)
  }

  #open(process: SimulatedProcess, port: number, maximumPayloadBytes: number): DatagramSocket {
    const { life } = process
    const address = `${process.name}:${port}`
    if (this.#sockets.has(address))
      throw new KeelsonError('IO', `the address ${address} is in use; name another port`)
    let handler: ((from: string, bytes: Uint8Array) => void) | undefined
    let closed = false
    const onPacket = (from: string, bytes: Uint8Array): void => handler?.(from, bytes)
    this.#sockets.set(address, onPacket)
    if (!this.#attached.has(process.name)) {
      this.#attached.add(process.name)
      this.#messages.attach(process, (from, packet) => {
        this.#sockets.get(`${process.name}:${packet.toPort}`)?.(`${from}:${packet.fromPort}`, packet.bytes)
      })
    }
    const close = (): void => {
      if (closed) return
      closed = true
      stopListening()
      this.#sockets.delete(address)
    }
    const stopListening = process.onCrash(close)
    return {
      address,
      maximumPayloadBytes,
      send: (to, bytes) => {
        checkBytes(bytes, 'a packet')
        if (bytes.length > maximumPayloadBytes) {
          throw new KeelsonError(
            'LIMIT_EXCEEDED',
            `a packet carries at most ${maximumPayloadBytes} bytes, not ${bytes.length}; send less at a time`,
          )
        }
        const target = /^(.+):(\d{1,5})$/.exec(String(to))
        if (target === null) {
          throw new KeelsonError('INVALID_ARGUMENT', `${showValue(to)} is no address; give host:port`)
        }
        if (closed || process.life !== life) return
        this.#messages.send(process.name, target[1] as string, {
          fromPort: port,
          toPort: Number(target[2]),
          bytes,
        })
      },
      onMessage: (next) => {
        handler = checkFunction(next, 'the handler of packets')
      },
      close: async () => close(),
      [Symbol.asyncDispose]: async () => close(),
    }
  }
}
