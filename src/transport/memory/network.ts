import { booleanOption, checkOptions, integerOption } from '../../core/options.ts'
import type { Resolve, Transport, TransportContext, TransportFactory } from '../../interfaces/transport.ts'
import { checkName, type NodeId } from '../../model/ids.ts'
import { checkTransportContext } from '../context.ts'
import { MemoryTransport } from './transport.ts'

/** Limits of each transport of a {@link MemoryNetwork}. */
export interface MemoryNetworkOptions {
  /** Largest message or chunk in bytes. Default: 2 MiB. */
  readonly maximumMessageBytes?: number
  /** Messages on the way to one peer before `send` drops. Default: 10,000. */
  readonly maximumQueuedMessages?: number
  /** Bytes on the way to one peer before `send` drops. Default: 64 MiB. */
  readonly maximumQueuedBytes?: number
  /** Streams in each direction of one connection. Default: 64. */
  readonly maximumStreams?: number
  /** Bytes of one stream that its consumer has not taken yet. Default: 1 MiB. */
  readonly streamWindowBytes?: number
}

/** What {@link memoryNetwork} uses where nothing is given. */
export const memoryNetworkDefaults: Required<MemoryNetworkOptions> = Object.freeze({
  maximumMessageBytes: 2 * 1024 * 1024,
  maximumQueuedMessages: 10_000,
  maximumQueuedBytes: 64 * 1024 * 1024,
  maximumStreams: 64,
  streamWindowBytes: 1024 * 1024,
})

/** How a link is cut. */
export interface CutOptions {
  /**
   * True: connections stay up and everything on them vanishes, as behind a switch that died. False (default): they break,
   * and both sides learn of it.
   */
  readonly silent?: boolean
}

/**
 * A network within one process: for development clusters and tests. Messages are copied, and are delivered in a later
 * turn of the event loop, in order. Addresses are `memory:<number>`.
 */
export class MemoryNetwork {
  readonly #options: Required<MemoryNetworkOptions>
  readonly #byAddress = new Map<string, MemoryTransport>()
  readonly #byNode = new Map<NodeId, MemoryTransport>()
  readonly #cuts = new Map<string, 'broken' | 'silent'>()
  #lastAddress = 0

  /** Use {@link memoryNetwork}. @internal */
  constructor(options: Required<MemoryNetworkOptions>) {
    this.#options = options
  }

  /** A transport of this network for each call of the factory. */
  transport(): TransportFactory {
    return async (context: TransportContext): Promise<Transport> => {
      checkTransportContext(context)
      const address = context.self.role === 'node' ? `memory:${++this.#lastAddress}` : undefined
      const transport: MemoryTransport = new MemoryTransport(context, this.#options, address, {
        find: (at) => this.#byAddress.get(at),
        cut: (peer) => this.#cuts.get(pair(context.self.nodeId, peer)),
        closed: () => this.#remove(transport),
      })
      if (address !== undefined) {
        this.#byAddress.set(address, transport)
        this.#byNode.set(context.self.nodeId, transport)
      }
      return transport
    }
  }

  /** Where the node that opened a transport last under this id is found: for a context's `resolve`. */
  readonly resolve: Resolve = (nodeId) => this.#byNode.get(nodeId)?.addresses ?? []

  /** Cuts the link between two nodes, in both directions. */
  cut(a: NodeId, b: NodeId, options: CutOptions = {}): void {
    checkOptions('cut', options, { silent: booleanOption(false) })
    checkName(a, 'an end of a link')
    checkName(b, 'an end of a link')
    this.#cuts.set(pair(a, b), options.silent === true ? 'silent' : 'broken')
    if (options.silent === true) return
    for (const transport of this.#byAddress.values()) {
      if (transport.self.nodeId === a) transport.links.get(b)?.break()
      if (transport.self.nodeId === b) transport.links.get(a)?.break()
    }
  }

  /** Undoes {@link MemoryNetwork.cut}. Connections come back when something is sent. */
  heal(a: NodeId, b: NodeId): void {
    this.#cuts.delete(pair(a, b))
  }

  /** Undoes every cut. */
  healAll(): void {
    this.#cuts.clear()
  }

  #remove(transport: MemoryTransport): void {
    for (const address of transport.addresses) this.#byAddress.delete(address)
    if (this.#byNode.get(transport.self.nodeId) === transport) this.#byNode.delete(transport.self.nodeId)
  }
}

/** A network within one process. Options are limits; see {@link memoryNetworkDefaults}. */
export function memoryNetwork(options: MemoryNetworkOptions = {}): MemoryNetwork {
  const checked = checkOptions<Required<MemoryNetworkOptions>>('memoryNetwork', options, {
    maximumMessageBytes: integerOption({ min: 1, fallback: memoryNetworkDefaults.maximumMessageBytes }),
    maximumQueuedMessages: integerOption({ min: 1, fallback: memoryNetworkDefaults.maximumQueuedMessages }),
    maximumQueuedBytes: integerOption({ min: 1, fallback: memoryNetworkDefaults.maximumQueuedBytes }),
    maximumStreams: integerOption({ min: 1, fallback: memoryNetworkDefaults.maximumStreams }),
    streamWindowBytes: integerOption({ min: 64, fallback: memoryNetworkDefaults.streamWindowBytes }),
  })
  return new MemoryNetwork(checked)
}

function pair(a: NodeId, b: NodeId): string {
  return a < b ? `${a}\n${b}` : `${b}\n${a}`
}
