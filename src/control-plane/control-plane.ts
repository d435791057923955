import { type CallOptions, Cleanup, sleep } from '../core/async.ts'
import { utf8 } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { Events, type Listenable } from '../core/events.ts'
import { checkCall } from '../core/options.ts'
import type { MetadataStore, Transaction } from '../interfaces/metadata-store.ts'
import type { PeerIdentity } from '../interfaces/transport.ts'
import {
  type ControllerEpoch,
  MetadataServer,
  MetadataStateMachine,
  type PendingImport,
  pendingImport,
} from '../metadata/index.ts'
import { type ClusterId, type FoundingId, type NodeId } from '../model/ids.ts'
import { decodeJoinRequest } from '../nodes/index.ts'
import { type GroupStatus, type RaftGroup, RaftHost } from '../raft/index.ts'
import { checkSchemaChangeTuning } from '../schema/index.ts'
import { Rpc } from '../transport/rpc.ts'
import { AddressBook, isBootstrapQuestion } from './address-book.ts'
import { Admin } from './admin.ts'
import { type ControlPlaneOptions, checkPlaneOptions } from './control-plane-options.ts'
import { ensureFounding, learnFounding, storedFounding, storeFounding } from './founding.ts'
import { type Gossip, openGossip } from './gossip.ts'
import { ImportWatch, waitsForImport } from './import-watch.ts'
import { LeaderDuties } from './leader-duties.ts'
import { LeaderOffice } from './leader-office.ts'
import {
  type BeginParts,
  beginGroup,
  foundingOf,
  metadataGroupId,
  refuseLeftovers,
} from './metadata-group.ts'
import { placementMethod } from './placement-asker.ts'
import { checkServerSecret, decodeServerJoin, ServerAdmission } from './server-admission.ts'
import { encodeCluster, encodeServer, serverKey } from './server-roster.ts'

/** Events of a {@link ControlPlane}. */
export type ControlPlaneEvents = {
  /** This server began (its duties are given) or ceased to lead. */
  leadership: (duties: LeaderDuties | undefined) => void
  /** Something that this server tried was refused because a newer leader had taken over. */
  deposed: (error: KeelsonError) => void
}

/** What {@link ControlPlane.status} tells. */
export interface ControlPlaneStatus {
  /** This server. */
  readonly nodeId: NodeId
  /** The metadata group as this server's replica sees it. */
  readonly group: GroupStatus
  /** Epoch of this server's duties; undefined while it does not lead. */
  readonly epoch: number | undefined
  /** Tells this cluster from another one of the same id; undefined for a moment after a crash in the middle of the bootstrap. */
  readonly founding: FoundingId | undefined
  /**
   * The backup that the metadata waits for, or for the rest of which, as this server has it: until that is imported no leader has any
   * duties, and nodes do not join. Undefined when nothing is missing.
   */
  readonly pendingImport: PendingImport | undefined
  /** The control-plane servers that this one knows of, itself included. */
  readonly servers: readonly {
    /** Name of the server. */
    readonly nodeId: NodeId
    /** Where it is reached: `host:port`. */
    readonly addresses: readonly string[]
  }[]
  /** Nodes as the leader sees them; empty on other servers. */
  readonly nodes: readonly {
    /** Name of the node. */
    readonly nodeId: NodeId
    /** Where it is in its life: active, draining and so on, as `NodeState` names it. */
    readonly state: string
    /** Whether it holds its session, as `NodeLiveness` names it. */
    readonly liveness: string
    /** Replicas that it reported last. */
    readonly replicas: number
  }[]
  /** Ranges as the leader knows them; 0 on other servers. */
  readonly ranges: number
}

const retryMs = 200

/** One server of the control plane. Three or five of them keep the metadata of a cluster, and one of them leads. */
export class ControlPlane implements AsyncDisposable, Listenable<ControlPlaneEvents> {
  /** Name of this server. */
  readonly nodeId: NodeId
  /** The cluster that this server belongs to. */
  readonly clusterId: ClusterId
  /** The metadata, through this server. */
  readonly store: MetadataStore
  /** Everything that an operator does. */
  readonly admin: Admin
  /** This server's gossip: who is there, what they tell; undefined without `datagrams`. */
  readonly gossip: Gossip | undefined
  readonly #env: Environment
  readonly #events: Events<ControlPlaneEvents>
  readonly #parts: PlaneParts
  readonly #admission: ServerAdmission
  readonly #stop = new AbortController()
  readonly #work: Promise<unknown>
  readonly #imports: ImportWatch
  readonly #office: LeaderOffice
  #closing: Promise<void> | undefined

  /**
   * Opens a server: goes on from its directory, or begins as `cluster` says. Resolves when the server takes part in the
   * metadata group.
   *
   * @throws KeelsonError `INVALID_OPTION`, `ALREADY_BOOTSTRAPPED`, `CONFLICT` when two servers are to bootstrap,
   *   `UNAUTHORIZED`, `DIRECTORY_LOCKED`, `FOREIGN_CLUSTER`, `FOREIGN_NODE`, `FORMAT_VERSION`, `CORRUPTION`, `ABORTED`
   */
  static async open(options: ControlPlaneOptions, call: CallOptions = {}): Promise<ControlPlane> {
    const checked = checkPlaneOptions(options)
    checkCall('ControlPlane.open', call)
    const { env, clusterId, nodeId } = checked
    const cleanup = new Cleanup()
    try {
      const log = cleanup.use(await checked.log({ env, clusterId, nodeId }))
      const hasHistory = log.recovered().has(metadataGroupId)
      const founding = await storedFounding(checked.database)
      if (!hasHistory && checked.cluster.type === 'bootstrap') {
        await refuseLeftovers(checked.database, founding)
      }
      const book = new AddressBook()
      const self: PeerIdentity = { nodeId, incarnation: log.incarnation, role: 'node' }
      const transport = cleanup.use(
        await checked.transport({ env, clusterId, self, resolve: book.resolve, founding }),
      )
      book.roster.learn({ nodeId, incarnation: log.incarnation, addresses: transport.addresses })
      const rpc = cleanup.use(new Rpc({ env, channel: transport.channel('control', { traffic: 'control' }) }))
      const opened: { plane?: ControlPlane } = {}
      const plane = (): ControlPlane => {
        if (opened.plane !== undefined) return opened.plane
        throw new KeelsonError('NOT_LEADER', `${nodeId} is only starting; try again, or ask another server`)
      }
      // A server without a history knows of no cluster: it must not be taken for one by another that begins. One that
      // has a history and is only starting is of no use to those who look for a leader, but whoever would begin a
      // cluster must hear of it.
      rpc.handle('servers', async (peer, body) => {
        const begins = isBootstrapQuestion(body)
        if (begins && !hasHistory && opened.plane === undefined && options.cluster.type === 'bootstrap') {
          throw new KeelsonError(
            'CONFLICT',
            `${nodeId} and ${peer.nodeId} are both to bootstrap ${clusterId}; open one of them with join(…)`,
            { retryable: false },
          )
        }
        const counts = opened.plane !== undefined || (hasHistory && begins)
        return encodeCluster({ servers: counts ? book.roster.all() : [], founding: transport.founding })
      })
      rpc.handle('join-server', (peer, body, { signal }) => plane().#joinServer(peer, body, signal))
      rpc.handle('join-node', (_peer, body, { signal }) => plane().#joinNode(body, signal))
      rpc.handle(placementMethod, (_peer, body, { signal }) =>
        plane().#requireDuties().answers.answer(body, { signal }),
      )
      rpc.handle('report', async (_peer, body) => plane().#takeReport(body))
      const rafts = cleanup.use(
        await RaftHost.open({
          env,
          log,
          clusterId,
          nodeId,
          channel: transport.channel('raft', { traffic: 'control' }),
          ...(checked.raft === undefined ? {} : { raft: checked.raft }),
          ...(checked.limits === undefined ? {} : { limits: checked.limits }),
        }),
      )
      const machine = new MetadataStateMachine({ database: checked.database })
      const parts = { options: checked, self, book, transport, rpc, rafts }
      const group = await beginGroup(parts, machine, call)
      // From the next start on it is known before anybody is greeted.
      if (transport.founding !== undefined && transport.founding !== founding)
        await storeFounding(checked.database, transport.founding)
      const metadata = cleanup.use(
        await MetadataServer.open({
          env,
          group,
          machine,
          channel: transport.channel('metadata', { traffic: 'control' }),
        }),
      )
      const seeds = checked.cluster.type === 'join' ? checked.cluster.seeds : checked.cluster.others
      const { datagrams, database, gossip: settings } = checked
      const gossip =
        datagrams === undefined
          ? undefined
          : await openGossip({
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
      opened.plane = new ControlPlane({ ...parts, group, metadata, gossip, cleanup })
      return opened.plane
    } catch (error) {
      await cleanup.run()
      throw error
    }
  }

  private constructor(parts: PlaneParts) {
    const { options, group, metadata } = parts
    const { env, nodeId, clusterId } = options
    this.nodeId = nodeId
    this.clusterId = clusterId
    this.store = metadata.store
    this.#env = env
    this.#events = new Events(env.logger, ['leadership', 'deposed'])
    this.#parts = parts
    this.admin = new Admin(
      { env, store: this.store },
      { rpc: parts.rpc, roster: parts.book.roster, closed: this.#stop.signal },
    )
    this.#admission = new ServerAdmission(env, group)
    this.gossip = parts.gossip
    parts.gossip?.swim.on('change', ({ type, member }) => {
      // Gossip makes a node suspect at most: only its session decides whether it is alive.
      this.duties?.nodes.hint(member.nodeId, member.incarnation, type === 'suspected' || type === 'failed')
    })
    this.#imports = new ImportWatch(this.store, env.logger)
    this.#office = new LeaderOffice({
      env,
      nodeId,
      store: this.store,
      group,
      imports: this.#imports,
      retryMs,
      begin: (epoch) => this.#begin(epoch),
      lastWrite: () => this.#announcement(),
      changed: (duties) => this.#events.emit('leadership', duties),
      deposed: (error) => this.#events.emit('deposed', error),
    })
    this.#work = Promise.all([this.#followServers(), this.#office.run(this.#stop.signal)])
  }

  /** What this server does as leader; undefined while it is none. */
  get duties(): LeaderDuties | undefined {
    return this.#office.duties
  }

  /** Addresses at which this server is reached. */
  get addresses(): readonly string[] {
    return this.#parts.transport.addresses
  }

  /** The founding of the cluster; undefined for a moment after a crash in the middle of the bootstrap. */
  get founding(): FoundingId | undefined {
    return this.#parts.transport.founding
  }

  on<K extends keyof ControlPlaneEvents>(event: K, listener: ControlPlaneEvents[K]): () => void {
    return this.#events.on(event, listener)
  }

  /** What this server knows now. */
  status(): ControlPlaneStatus {
    const { duties } = this
    return {
      nodeId: this.nodeId,
      group: this.#parts.group.status(),
      epoch: duties?.epoch.number,
      founding: this.founding,
      pendingImport: this.#imports.pending,
      servers: this.#parts.book.roster.all(),
      nodes: (duties?.nodes.nodes() ?? []).map(({ descriptor, state, liveness }) => ({
        nodeId: descriptor.nodeId,
        state,
        liveness,
        replicas: duties?.replicasOf(descriptor.nodeId) ?? 0,
      })),
      ranges: duties?.ranges.ranges().length ?? 0,
    }
  }

  /** Hands leadership over if this server has it, and stops. Idempotent. */
  async close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'this server was closed; open it again'))
    await this.#work
    await this.#parts.cleanup.run()
    this.#events.removeAll()
  }

  async #joinServer(peer: PeerIdentity, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const request = decodeServerJoin(body)
    const { nodeId, incarnation } = request.server
    // Another life of a server takes the place of the one that is a member, so nobody asks for anybody else's.
    if (peer.nodeId !== nodeId || peer.incarnation !== incarnation) {
      throw new KeelsonError(
        'UNAUTHORIZED',
        `${peer.nodeId} asked to join as ${nodeId}; a server joins under its own name, in its present life`,
      )
    }
    const { options, book } = this.#parts
    checkServerSecret(options.cluster.secret, request.secret)
    this.#requireLeader()
    book.roster.learn(request.server)
    await this.#admission.admit(request.server, signal)
    return encodeCluster({ servers: book.roster.all(), founding: this.founding })
  }

  async #joinNode(body: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    // The backup may hold its record, and the tokens.
    requireComplete(await pendingImport(this.store, { signal }))
    const { record } = await this.admin.nodes.join(decodeJoinRequest(body), { signal })
    return utf8(record.descriptor.nodeId)
  }

  #takeReport(body: Uint8Array): Uint8Array {
    this.#requireDuties().takeReport(body)
    return new Uint8Array(0)
  }

  #requireLeader(): void {
    const { group } = this.#parts
    if (group.token() !== undefined) return
    const leader = group.status().leader?.nodeId
    throw new KeelsonError(
      'NOT_LEADER',
      `${this.nodeId} does not lead the control plane; ask the server that does`,
      {
        details: leader === undefined ? {} : { leaderNodeId: leader },
      },
    )
  }

  #requireDuties(): LeaderDuties {
    this.#requireLeader()
    if (this.duties !== undefined) return this.duties
    requireComplete(this.#imports.pending)
    throw new KeelsonError(
      'OVERLOADED',
      `${this.nodeId} has just become leader and is not ready yet; try again`,
    )
  }

  /** Everything that a leader does, from now on. */
  #begin(epoch: ControllerEpoch): LeaderDuties {
    const { options, rpc } = this.#parts
    void this.#ensureFounding(epoch)
    return new LeaderDuties({
      env: this.#env,
      store: this.store,
      epoch,
      rpc,
      placement: options.placement ?? {},
      schemaTuning: checkSchemaChangeTuning(options.schema),
      jobTypes: options.jobs ?? [],
    })
  }

  /** Nobody waits for it; where it fails, the next leader does it. */
  async #ensureFounding(epoch: ControllerEpoch): Promise<void> {
    const { options, self } = this.#parts
    const { signal } = this.#stop
    try {
      await ensureFounding(this.store, epoch, this.founding, foundingOf(options.cluster, self), signal)
    } catch (error) {
      if (!signal.aborted)
        this.#env.logger.debug({ error }, 'the founding of the cluster was not written down')
    }
  }

  async #learnFounding(signal: AbortSignal): Promise<void> {
    const { options, transport } = this.#parts
    if (transport.founding !== undefined) return
    const ports = { store: this.store, transport, logger: this.#env.logger }
    await storeFounding(options.database, await learnFounding(ports, signal))
  }

  /** Says where this server is. */
  #announcement(): Transaction {
    const { self, transport } = this.#parts
    const value = encodeServer({ ...self, addresses: transport.addresses })
    return { then: [{ type: 'put', key: serverKey(this.nodeId), value }] }
  }

  /** Says where this server is, and learns where the others are. */
  async #followServers(): Promise<void> {
    const { book } = this.#parts
    const signal = this.#stop.signal
    const announce = async (): Promise<void> => {
      while (!signal.aborted) {
        try {
          await this.store.txn(this.#announcement(), { signal })
          return
        } catch {
          // Without a leader nobody can be told; there will be one.
          await sleep(this.#env.timers, retryMs, signal).catch(() => {})
        }
      }
    }
    try {
      await Promise.all([
        announce(),
        this.#learnFounding(signal),
        this.#imports.run(signal),
        book.followServers(this.store, signal),
        book.followNodes(this.store, signal),
      ])
    } catch (error) {
      if (!signal.aborted) this.#env.logger.error({ error }, 'addresses are not followed any more')
    }
  }
}

/** Nobody who asks for something of the cluster is served, or refused for good, by what a part of the metadata says. */
function requireComplete(pending: PendingImport | undefined): void {
  if (pending !== undefined) throw new KeelsonError('OVERLOADED', waitsForImport(pending))
}

interface PlaneParts extends BeginParts {
  readonly group: RaftGroup
  readonly metadata: MetadataServer
  readonly gossip: Gossip | undefined
  readonly cleanup: Cleanup
}
