import { randomBytes } from 'node:crypto'
import { abortable, type CallOptions, Cleanup, deferred, sleep, untilAborted } from '../core/async.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { checkCall } from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { RangeHost } from '../interfaces/range-host.ts'
import type { SchemaChunk, SchemaValidation } from '../interfaces/schema-host.ts'
import type { Channel, PeerIdentity, Transport } from '../interfaces/transport.ts'
import { MetadataClient, RangeDirectory, SessionHolder } from '../metadata/index.ts'
import type { Incarnation, NodeId, TableId } from '../model/ids.ts'
import { encodeJoinRequest, NodeReporter, NodeSession } from '../nodes/index.ts'
import { SchemaLeases, type SchemaPin } from '../schema/index.ts'
import { Rpc } from '../transport/rpc.ts'
import { AddressBook } from './address-book.ts'
import { Admin } from './admin.ts'
import { AgentState } from './agent-state.ts'
import { learnFounding } from './founding.ts'
import { type Gossip, openGossip } from './gossip.ts'
import { callLeader } from './leader-calls.ts'
import {
  checkAgentOptions,
  checkServices,
  type NodeAgentOptions,
  type NodeServices,
} from './node-agent-options.ts'
import { Reconciler } from './reconciler.ts'
import { decodeChunk, encodeChunkResult } from './schema-wire.ts'

/** Events of a {@link NodeAgent}. */
export type NodeAgentEvents = {
  /** The node has an epoch again, or none for now. The data plane goes on; only what needs an epoch stops. */
  session: (state: 'live' | 'suspended' | 'lost') => void
  /**
   * What the host reports is refused, since it cannot be (`INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, or `MALFORMED` by the leader): the
   * message names what. The leader goes by older reports until it is mended. Comes once a minute at most.
   */
  refused: (error: KeelsonError) => void
}

const retryMs = 250
const maximumRetryMs = 2_000

/**
 * A node's end of the control plane: it joins, holds the node's session, brings what is wanted to the host program and
 * what is observed back, holds schema leases and knows where everybody is. All of it is tried again for ever, and none of
 * it is needed for ranges that are there already: they go on while the control plane is away.
 */
export class NodeAgent implements AsyncDisposable, Listenable<NodeAgentEvents> {
  /** Name of this node. */
  readonly nodeId: NodeId
  /** The life of this node's data. */
  readonly incarnation: Incarnation
  /** The cluster's metadata, over the network. */
  readonly store: MetadataStore
  /** Everything that an operator does. */
  readonly admin: Admin
  /** The connections of this node. Host programs may open channels of their own on it. */
  readonly transport: Transport
  readonly #options: NodeAgentOptions
  readonly #events: Events<NodeAgentEvents>
  readonly #cleanup: Cleanup
  readonly #stop = new AbortController()
  readonly #book: AddressBook
  readonly #state: AgentState
  readonly #rpc: Rpc
  readonly #joined: Promise<void>
  readonly #work: Promise<unknown>[] = []
  #gossip: Gossip | undefined
  #session: NodeSession | undefined
  #leases: SchemaLeases | undefined
  #reporter: NodeReporter | undefined
  #closing: Promise<void> | undefined

  /**
   * Opens the node's transport and begins to join. Resolves at once when the node was a member before, since its ranges
   * must not wait for the control plane; the first time when the cluster has taken it in.
   *
   * @throws KeelsonError `INVALID_OPTION`, `UNAUTHORIZED`, `FOREIGN_CLUSTER`, `FOREIGN_NODE`, `FORMAT_VERSION`, `ABORTED`
   */
  static async join(options: NodeAgentOptions, call: CallOptions = {}): Promise<NodeAgent> {
    const checked = checkAgentOptions(options)
    checkCall('NodeAgent.join', call)
    const { env, clusterId, nodeId, incarnation } = checked
    const cleanup = new Cleanup()
    try {
      const state = await AgentState.open(
        checked.database,
        clusterId,
        nodeId,
        checked.secretBytes ?? randomBytes,
      )
      const book = new AddressBook()
      for (const server of state.servers) book.roster.learn(server)
      book.learnNodes(state.nodes)
      const self: PeerIdentity = { nodeId, incarnation, role: 'node' }
      const { founding } = state
      const transport = cleanup.use(
        await checked.transport({ env, clusterId, self, resolve: book.resolve, founding }),
      )
      const rpc = cleanup.use(new Rpc({ env, channel: transport.channel('control', { traffic: 'control' }) }))
      const store = cleanup.use(
        new MetadataClient({
          env,
          channel: transport.channel('metadata', { traffic: 'control' }),
          servers: () => book.roster.all().map((server) => server.nodeId),
        }),
      )
      const { datagrams, seeds, database, gossip: settings } = checked
      const gossip = async (): Promise<Gossip | undefined> => {
        if (datagrams === undefined) return undefined
        return openGossip({
          env,
          datagrams,
          options: settings,
          clusterId,
          transport,
          self,
          seeds,
          database,
          cleanup,
        })
      }
      const gossips = state.servers.length > 0 ? await gossip() : undefined
      const agent = new NodeAgent({ options: checked, cleanup, state, book, transport, rpc, store })
      agent.#gossip = gossips
      if (state.servers.length > 0) return agent
      try {
        await abortable(agent.#joined, call.signal)
        agent.#gossip = await gossip()
      } catch (error) {
        await agent.close()
        throw error
      }
      return agent
    } catch (error) {
      await cleanup.run()
      throw error
    }
  }

  private constructor(parts: {
    readonly options: NodeAgentOptions
    readonly cleanup: Cleanup
    readonly state: AgentState
    readonly book: AddressBook
    readonly transport: Transport
    readonly rpc: Rpc
    readonly store: MetadataStore
  }) {
    const { options } = parts
    this.nodeId = options.nodeId
    this.incarnation = options.incarnation
    this.store = parts.store
    this.transport = parts.transport
    this.admin = new Admin(
      { env: options.env, store: parts.store },
      { rpc: parts.rpc, roster: parts.book.roster, closed: this.#stop.signal },
    )
    this.#options = options
    this.#events = new Events(options.env.logger, ['session', 'refused'])
    this.#cleanup = parts.cleanup
    this.#state = parts.state
    this.#book = parts.book
    this.#rpc = parts.rpc
    this.#joined = this.#join()
    // Whoever waits for it sees the error; with nobody waiting it is logged.
    this.#joined.catch((error: unknown) => {
      if (!this.#stop.signal.aborted) options.env.logger.error({ error }, 'this node was not taken in')
    })
    this.#work.push(this.#holdSession(), this.#followAddresses(), this.#holdLeases())
  }

  /** A channel of the node's transport for the host's own protocols. */
  channel(protocol: string, options?: Parameters<Transport['channel']>[1]): Channel {
    return this.transport.channel(protocol, options)
  }

  on<K extends keyof NodeAgentEvents>(event: K, listener: NodeAgentEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** This node's gossip: who is there, what they tell; undefined without `datagrams`. */
  get gossip(): Gossip | undefined {
    return this.#gossip
  }

  /** Whether the node has an epoch and its deadline lies ahead. */
  get live(): boolean {
    return this.#session?.isLive() ?? false
  }

  /** The node's epoch; undefined while it has none. */
  get epoch(): number | undefined {
    return this.#session?.epoch
  }

  /** Schema versions for the host's work. */
  readonly schema: {
    /** @throws KeelsonError `STALE_SCHEMA`, `NOT_FOUND`; see {@link SchemaLeases.pin} */
    readonly pin: (tableId: TableId) => SchemaPin
    /** The newest version known here; holds nothing. */
    readonly byName: (name: string) => ReturnType<SchemaLeases['byName']>
  } = {
    pin: (tableId) => {
      if (this.#leases !== undefined) return this.#leases.pin(tableId)
      throw new KeelsonError('STALE_SCHEMA', 'this node has no schema leases yet; try again')
    },
    byName: (name) => this.#leases?.byName(name),
  }

  /**
   * Hands the host's ranges and schema to the control plane. Call it once, when the host is ready to be told what to do.
   *
   * @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT` the second time, `CLOSED`
   */
  serve(services: NodeServices): void {
    const checked = checkServices(services)
    if (this.#stop.signal.aborted) throw closed()
    if (this.#serving) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        'this agent serves a host already; open another agent for another one',
      )
    }
    this.#serving = true
    this.#work.push(this.#reconcile(checked.ranges), this.#report(checked))
    const { schema } = checked
    const handle = (
      method: string,
      act: (chunk: SchemaChunk, call: Required<CallOptions>) => Promise<SchemaValidation>,
    ): void => {
      this.#rpc.handle(`schema/${method}`, async (_peer, body, call) =>
        encodeChunkResult(await act(decodeChunk(body), call)),
      )
    }
    if (schema === undefined) return
    handle('barrier', async (chunk, call) => {
      await schema.barrier(chunk, call)
      return { resumeAt: undefined, rows: 0, missing: 0, orphans: 0 }
    })
    handle('backfill', async (chunk, call) => ({
      ...(await schema.backfill(chunk, call)),
      missing: 0,
      orphans: 0,
    }))
    handle('purge', async (chunk, call) => ({ ...(await schema.purge(chunk, call)), missing: 0, orphans: 0 }))
    handle('validate', (chunk, call) => schema.validate(chunk, call))
  }
  #serving = false

  /** Tells the leader of something new without waiting for the next report. */
  reportSoon(): void {
    this.#reporter?.reportSoon()
  }

  /** Ends the session and leaves. The ranges stay with the host. Idempotent. */
  async close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#stop.abort(closed())
    await Promise.allSettled([this.#joined, ...this.#work])
    await this.#cleanup.run()
    this.#events.removeAll()
  }

  /** Finds the servers, and has the cluster take the node in. */
  async #join(): Promise<void> {
    const { env, locality, capacity, labels, stores, token } = this.#options
    const signal = this.#stop.signal
    if (this.#book.roster.all().length === 0) {
      const ports = { env, transport: this.transport, rpc: this.#rpc }
      await this.#book.meet(ports, this.#options.seeds, Number.POSITIVE_INFINITY, { signal })
    }
    const request = encodeJoinRequest({
      descriptor: {
        nodeId: this.nodeId,
        incarnation: this.incarnation,
        addresses: this.transport.addresses,
        locality: locality ?? [],
        capacity: capacity ?? {},
        labels: labels ?? {},
        ...(stores === undefined ? {} : { stores }),
      },
      credential: this.#state.credential,
      ...(token === undefined ? {} : { token }),
    })
    await callLeader({ env, rpc: this.#rpc, roster: this.#book.roster }, 'join-node', request, {
      signal,
      idempotent: true,
    })
    const { store, transport } = this
    const founding = await learnFounding({ store, transport, logger: env.logger }, signal)
    if (founding !== this.#state.founding) await this.#state.belongTo(founding)
    // Last: by them the next start knows that the node was taken in.
    await this.#state.remember(this.#book.roster.all(), [])
  }

  /** Opens a session whenever there is none, for as long as the agent lives. */
  async #holdSession(): Promise<void> {
    const { env, session: tuning } = this.#options
    await this.#forever('no session of this node could be opened yet', async (signal) => {
      await this.#joined
      const session = await NodeSession.open(
        { env, store: this.store, nodeId: this.nodeId, incarnation: this.incarnation, ...tuning },
        { signal },
      )
      this.#session = session
      this.#events.emit('session', 'live')
      const offs = [
        session.on('suspended', () => this.#events.emit('session', 'suspended')),
        session.on('resumed', () => this.#events.emit('session', 'live')),
      ]
      await untilLost(session, signal)
      for (const off of offs) off()
      this.#session = undefined
      this.#events.emit('session', 'lost')
      await session.close()
    })
  }

  async #holdLeases(): Promise<void> {
    const { env, schemaLeaseMs } = this.#options
    await this.#forever('no schema leases could be taken yet', async (signal) => {
      await this.#joined
      const leases = await SchemaLeases.open(
        {
          env,
          store: this.store,
          nodeId: this.nodeId,
          openSession: async (call) => {
            const holder = await SessionHolder.open(
              { env, store: this.store, holder: `schema:${this.nodeId}`, ttlMs: schemaLeaseMs ?? 300_000 },
              call,
            )
            return {
              sessionId: holder.sessionId,
              isLive: () => holder.status() === 'valid',
              [Symbol.asyncDispose]: () => holder.close(),
            }
          },
        },
        { signal },
      )
      this.#leases = leases
      // The agent may have been closed while the leases were being opened.
      await untilAborted(signal)
      this.#leases = undefined
      await leases.close()
    })
  }

  /** Learns where servers and nodes are, and remembers it for the next start. */
  async #followAddresses(): Promise<void> {
    await this.#forever('addresses are not followed for now', async (signal) => {
      await this.#joined
      await Promise.all([
        this.#book.followServers(this.store, signal, () => this.#state.remember(this.#book.roster.all(), [])),
        this.#book.followNodes(this.store, signal, (nodes) => this.#state.remember([], nodes)),
      ])
    })
  }

  /** Brings the whole of what is wanted to the host, again after each change. */
  async #reconcile(ranges: RangeHost): Promise<void> {
    const { env } = this.#options
    const directory = new RangeDirectory(this.store)
    const { signal: closing } = this.#stop
    const reconciler = new Reconciler(env, ranges, closing, () => this.reportSoon())
    await this.#forever('what is wanted of this node is not known for now', async (signal) => {
      await this.#joined
      for await (const wanted of directory.watchWanted(this.nodeId, { signal })) reconciler.want(wanted)
    })
    await reconciler.idle()
  }

  async #report(services: NodeServices): Promise<void> {
    const { env, reportIntervalMs, capacity } = this.#options
    const signal = this.#stop.signal
    while (!signal.aborted) {
      const session = this.#session
      if (session === undefined) {
        await sleep(env.timers, retryMs, signal).catch(() => {})
        continue
      }
      const reporter = NodeReporter.start({
        env,
        session,
        observe: () => services.ranges.observe(),
        load: services.load ?? (() => ({})),
        capacity: () => capacity ?? {},
        ...(services.stores === undefined ? {} : { stores: services.stores }),
        send: async (report, call) => {
          await callLeader({ env, rpc: this.#rpc, roster: this.#book.roster }, 'report', report, {
            ...call,
            idempotent: true,
          })
        },
        refused: (error) => this.#events.emit('refused', error),
        intervalMs: reportIntervalMs ?? 500,
      })
      this.#reporter = reporter
      await untilLost(session, signal)
      this.#reporter = undefined
      await reporter.close()
    }
  }

  /** Does something that should go on for as long as the agent lives, again after each failure. */
  async #forever(trouble: string, act: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const { env } = this.#options
    const signal = this.#stop.signal
    let delayMs = retryMs
    while (!signal.aborted) {
      try {
        await act(signal)
        delayMs = retryMs
      } catch (thrown) {
        if (signal.aborted) return
        env.logger.warn({ error: toKeelsonError(thrown).toJSON() }, trouble)
      }
      await sleep(env.timers, delayMs * (0.5 + env.random.float() / 2), signal).catch(() => {})
      delayMs = Math.min(delayMs * 2, maximumRetryMs)
    }
  }
}

/** Resolves when the session is lost or the signal is aborted, also before this call, and leaves no listener behind. */
async function untilLost(session: NodeSession, signal: AbortSignal): Promise<void> {
  if (session.isLost) return
  const lost = deferred<void>()
  const off = session.on('lost', () => lost.resolve())
  await abortable(lost.promise, signal).catch(() => {})
  off()
}

function closed(): KeelsonError {
  return new KeelsonError('CLOSED', 'the agent was closed; join again')
}
