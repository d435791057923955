import { type CallOptions, deadline, sleep } from '../core/async.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { type ErrorCode, KeelsonError } from '../core/errors.ts'
import type { KeyValue, MetadataStore } from '../interfaces/metadata-store.ts'
import type { PeerIdentity, Transport } from '../interfaces/transport.ts'
import { followKeys } from '../metadata/index.ts'
import type { NodeId } from '../model/ids.ts'
import { allNodes, decodeNodeRecord } from '../nodes/index.ts'
import type { Rpc } from '../transport/rpc.ts'
import { allServers, decodeCluster, decodeServer, type KnownCluster, ServerRoster } from './server-roster.ts'

/** Where a node was found last. */
export interface KnownNode {
  /** Whose addresses they are. */
  readonly nodeId: NodeId
  /** `host:port`, first choice first. */
  readonly addresses: readonly string[]
}

const dialTimeoutMs = 1_000
const dialRetryMs = 250
/** Time that others have after the first answer, where all answers are compared. */
const graceMs = 250
/** How often somebody is told whom a bootstrap waits for. */
const complainMs = 5_000

/** Bodies of the question who the servers are. */
const whoQuestion = new Uint8Array(0)
/** By a server that would begin the cluster: one counts that has a history and is not open yet. */
const bootstrapQuestion = Uint8Array.of(1)

/** Whether a question came from a server that is about to begin the cluster. */
export function isBootstrapQuestion(body: Uint8Array): boolean {
  return body.length > 0
}

/** What an {@link AddressBook} asks others through. */
export interface AddressBookPorts {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Dials the addresses. */
  readonly transport: Transport
  /** Calls whoever was reached. */
  readonly rpc: Rpc
}

interface Answer extends KnownCluster {
  readonly address: string
  readonly peer: PeerIdentity
}

/** What is no trouble of the network: it says that this process must not go on. */
const decisive: readonly ErrorCode[] = [
  'FOREIGN_CLUSTER',
  'PROTOCOL_VERSION',
  'UNAUTHORIZED',
  'INVALID_OPTION',
  'CLOSED',
  'CONFLICT',
]

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
   * Dials addresses until a server answers, and learns all servers that it knows. A process that does not know its founding
   * asks all of them and compares what they say: it must not come to the wrong cluster by the order of its seeds.
   *
   * @param rounds how often to go through all addresses; infinite to wait for somebody
   * @returns whether anybody answered
   * @throws KeelsonError `FOREIGN_CLUSTER`, `PROTOCOL_VERSION`, `UNAUTHORIZED`, `INVALID_OPTION`, `CLOSED`, `ABORTED`
   */
  async meet(
    ports: AddressBookPorts,
    seeds: readonly string[],
    rounds: number,
    options: CallOptions = {},
  ): Promise<boolean> {
    const { env, transport } = ports
    for (let round = 0; round < rounds && seeds.length > 0; round++) {
      if (round > 0) await sleep(env.timers, dialRetryMs, options.signal)
      const known = transport.founding !== undefined
      const answers = known
        ? await this.#first(ports, seeds, options)
        : await this.#all(ports, seeds, options)
      if (answers.length === 0) continue
      const foundings = new Set(answers.flatMap(({ founding }) => founding ?? []))
      if (foundings.size > 1) {
        const list = answers.map(({ address, founding }) => `${address}: ${founding ?? 'unknown'}`).join(', ')
        throw new KeelsonError(
          'FOREIGN_CLUSTER',
          `these addresses belong to different clusters of one id (${list}): a server that had lost its disk was told to ` +
            'bootstrap a second time. Stop that one, clear its directory and open it with join(…)',
        )
      }
      for (const founding of foundings) transport.belongTo(founding)
      for (const { peer, address, servers } of answers) {
        this.roster.learn({ ...peer, addresses: [address] })
        for (const server of servers) if (server.nodeId !== transport.self.nodeId) this.roster.learn(server)
      }
      return true
    }
    return false
  }

  /**
   * Asks every other server whether there is a cluster already, and waits until each has said no.
   *
   * @throws KeelsonError `ALREADY_BOOTSTRAPPED` when one knows it; `CONFLICT` when another one is to begin it as well;
   *   `FOREIGN_CLUSTER`, `PROTOCOL_VERSION`, `UNAUTHORIZED`, `ABORTED`
   */
  async askBeforeBootstrap(
    ports: AddressBookPorts,
    others: readonly string[],
    options: CallOptions = {},
  ): Promise<void> {
    const { env, transport } = ports
    const { nodeId } = transport.self
    let complainAtMs = env.clock.monotonicMs() + complainMs
    for (;;) {
      const asked = await Promise.all(
        others.map(async (address) => {
          const answer = await this.#ask(ports, address, bootstrapQuestion, options)
          if (answer === undefined || answer === 'self') return answer === undefined ? [address] : []
          if (answer.servers.length === 0) return []
          const former = answer.servers.some((server) => server.nodeId === nodeId)
          throw new KeelsonError(
            'ALREADY_BOOTSTRAPPED',
            `${answer.peer.nodeId} at ${address} is a server of this cluster already. ${
              former ? `${nodeId} was one, too, and has lost its disk: open` : 'Open'
            } ${nodeId} with join(…)`,
            { details: { knownBy: answer.peer.nodeId } },
          )
        }),
      )
      // All in one round: who knew of none a while ago may have been taken in since.
      const silent = asked.flat()
      if (silent.length === 0) return
      if (env.clock.monotonicMs() >= complainAtMs) {
        complainAtMs += complainMs
        env.logger.warn(
          { silent },
          'the bootstrap waits until these servers say that they know of no cluster',
        )
      }
      await sleep(env.timers, dialRetryMs, options.signal)
    }
  }

  /** The first answer, in the order of the addresses. */
  async #first(
    ports: AddressBookPorts,
    seeds: readonly string[],
    options: CallOptions,
  ): Promise<readonly Answer[]> {
    for (const address of seeds) {
      const answer = await this.#ask(ports, address, whoQuestion, options)
      // A server that is only starting knows nobody.
      if (answer !== undefined && answer !== 'self' && answer.servers.length > 0) return [answer]
    }
    return []
  }

  /** All answers; those that come long after the first one are not waited for. */
  async #all(
    ports: AddressBookPorts,
    seeds: readonly string[],
    options: CallOptions,
  ): Promise<readonly Answer[]> {
    const { timers } = ports.env
    const late = new AbortController()
    const end = deadline(timers, dialTimeoutMs * 2, tooLate, late.signal, options.signal)
    let grace: TimerHandle | undefined
    try {
      const asked = seeds.map(async (address) => {
        const answer = await this.#ask(ports, address, whoQuestion, { signal: end.signal }).catch(
          (error: unknown) => {
            if (end.signal.aborted && options.signal?.aborted !== true) return undefined
            throw error
          },
        )
        if (answer === undefined || answer === 'self' || answer.servers.length === 0) return []
        grace ??= timers.schedule(graceMs, () => late.abort(tooLate()))
        return [answer]
      })
      return (await Promise.all(asked)).flat()
    } finally {
      grace?.cancel()
      end.release()
    }
  }

  /** Undefined when nobody answered. @throws KeelsonError what is decisive, `ABORTED` */
  async #ask(
    { env, transport, rpc }: AddressBookPorts,
    address: string,
    question: Uint8Array,
    options: CallOptions,
  ): Promise<Answer | 'self' | undefined> {
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
      if (peer.nodeId === transport.self.nodeId) return 'self'
      const answer = await rpc.call(peer.nodeId, 'servers', question, { signal: limit.signal })
      return { address, peer, ...decodeCluster(answer) }
    } catch (error) {
      if (options.signal?.aborted === true || !KeelsonError.is(error)) throw error
      if (error.details['ownAddress'] === true) return 'self'
      // A server of another founding is no reason to give up the servers of one's own; the transport has complained.
      if (decisive.includes(error.code) && error.details['peerFounding'] === undefined) throw error
      return undefined
    } finally {
      limit.release()
    }
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

function tooLate(): KeelsonError {
  return new KeelsonError('TIMEOUT', 'others have answered')
}
