import { type CallOptions, deadline, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { KeyValue, MetadataStore } from '../interfaces/metadata-store.ts'
import type { Transport } from '../interfaces/transport.ts'
import { followKeys } from '../metadata/index.ts'
import type { NodeId } from '../model/ids.ts'
import { allNodes, decodeNodeRecord } from '../nodes/index.ts'
import type { Rpc } from '../transport/rpc.ts'
import { allServers, decodeServer, decodeServers, ServerRoster } from './server-roster.ts'

/** Where a node was found last. */
export interface KnownNode {
  /** Whose addresses they are. */
  readonly nodeId: NodeId
  /** `host:port`, first choice first. */
  readonly addresses: readonly string[]
}

const dialTimeoutMs = 1_000
const dialRetryMs = 250
/** What no second attempt changes. */
const hopeless = ['FOREIGN_CLUSTER', 'PROTOCOL_VERSION', 'UNAUTHORIZED', 'INVALID_OPTION', 'CLOSED'] as const

/** Where everybody is, as far as this process knows: what a transport resolves names with. */
export class AddressBook {
  /** The control-plane servers, which are kept apart from other nodes: they are always known. */
  readonly roster: ServerRoster = new ServerRoster()
  readonly #nodes = new Map<NodeId, readonly string[]>()

  /** Takes in where nodes are. */
  learnNodes(nodes: readonly KnownNode[]): void {
    for (const { nodeId, addresses } of nodes) this.#nodes.set(nodeId, addresses)
  }

  /** Addresses of a server or node, first choice first; empty when unknown. */
  readonly resolve: (peer: NodeId) => readonly string[] = (peer) => {
    const server = this.roster.addressesOf(peer)
    return server.length > 0 ? server : (this.#nodes.get(peer) ?? [])
  }

  /**
   * Dials addresses in turn until a server answers, and learns all servers that it knows.
   *
   * @param rounds how often to go through all addresses; infinite to wait for somebody
   * @param options.starting a server counts that has a history and is not open yet
   * @returns whether anybody answered
   * @throws KeelsonError `FOREIGN_CLUSTER`, `PROTOCOL_VERSION`, `UNAUTHORIZED`, `INVALID_OPTION`, `CLOSED`, `ABORTED`
   */
  async meet(
    ports: { readonly env: Environment; readonly transport: Transport; readonly rpc: Rpc },
    seeds: readonly string[],
    rounds: number,
    options: CallOptions & { readonly starting?: boolean } = {},
  ): Promise<boolean> {
    const question = new Uint8Array(options.starting === true ? 1 : 0)
    const { env, transport, rpc } = ports
    for (let round = 0; round < rounds && seeds.length > 0; round++) {
      if (round > 0) await sleep(env.timers, dialRetryMs, options.signal)
      for (const address of seeds) {
        const limit = deadline(
          env.timers,
          dialTimeoutMs,
          () =>
            new KeelsonError(
              'UNREACHABLE',
              `${address} did not answer in time; see that it runs and can be reached`,
            ),
          options.signal,
        )
        try {
          const peer = await transport.dial(address, { signal: limit.signal })
          if (peer.nodeId === transport.self.nodeId) continue
          const answer = await rpc.call(peer.nodeId, 'servers', question, { signal: limit.signal })
          const servers = decodeServers(answer)
          // A server that is only starting knows nobody.
          if (servers.length === 0) continue
          this.roster.learn({ ...peer, addresses: [address] })
          for (const server of servers) if (server.nodeId !== transport.self.nodeId) this.roster.learn(server)
          return true
        } catch (error) {
          if (options.signal?.aborted === true) throw error
          if (KeelsonError.hasCode(error, ...hopeless)) throw error
        } finally {
          limit.release()
        }
      }
    }
    return false
  }

  /** Keeps up with what the store says of servers, until the signal is aborted. */
  async followServers(
    store: MetadataStore,
    signal: AbortSignal,
    learned?: () => Promise<void>,
  ): Promise<void> {
    for await (const step of followKeys(store, allServers, { signal, consistency: 'local' })) {
      for (const server of readable(step, decodeServer)) this.roster.learn(server)
      await learned?.()
    }
  }

  /** Keeps up with what the store says of nodes, until the signal is aborted. */
  async followNodes(
    store: MetadataStore,
    signal: AbortSignal,
    learned?: (nodes: readonly KnownNode[]) => Promise<void>,
  ): Promise<void> {
    for await (const step of followKeys(store, allNodes, { signal, consistency: 'local' })) {
      const nodes = readable(step, (value) => decodeNodeRecord(value).descriptor)
      this.learnNodes(nodes)
      await learned?.(nodes)
    }
  }
}

/**
 * What decodes of a step. Addresses are hints: one that cannot be read, of a newer release or written by hand, is no
 * reason to follow the others no longer.
 */
function readable<T>(step: Parameters<typeof entriesOf>[0], decode: (value: Uint8Array) => T): readonly T[] {
  return entriesOf(step).flatMap(({ value }) => {
    try {
      return [decode(value)]
    } catch {
      return []
    }
  })
}

/** The entries that a step of following put; deletions are left out, since old addresses harm nobody. */
function entriesOf(
  step:
    | { readonly type: 'snapshot'; readonly entries: readonly KeyValue[] }
    | {
        readonly type: 'changes'
        readonly events: readonly { readonly type: string; readonly entry: KeyValue }[]
      },
): readonly KeyValue[] {
  if (step.type === 'snapshot') return step.entries
  return step.events.filter(({ type }) => type === 'put').map(({ entry }) => entry)
}
