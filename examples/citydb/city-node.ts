import { join } from 'node:path'
import {
  type CallOptions,
  Cleanup,
  decodePlain,
  type Environment,
  encodePlain,
  Fields,
  KeelsonError,
  type Locality,
  NodeAgent,
  type ObservedReplica,
  type RangeDescriptor,
  type RangeHost,
  type RangeHostCall,
  type SchemaChunk,
  type SchemaHost,
  sleep,
  utf8,
  type WantedRange,
} from 'keelson'
import { type RaftGroup, RaftHost } from 'keelson/raft'
import { type ByteLevel, LevelState, openLevel } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'
import { Rpc } from 'keelson/transport'
import { datagram } from 'keelson/transport/datagram'
import { webSocket } from 'keelson/transport/websocket'
import {
  channelName,
  type ForwardRequest,
  factsResponse,
  forwardRequest,
  incrementRequest,
  pageRequest,
  pageResponse,
  rangeRequest,
  readRequest,
  readResponse,
  sessionResponse,
  writeRequest,
} from './protocol.ts'
import { type RangeBounds, RangeMachine } from './range-machine.ts'
import { RangeReplica } from './range-replica.ts'
import { type IndexPlan, indexPlans, tableOf } from './schema.ts'

/** Options of {@link CityNode.open}. */
export interface CityNodeOptions {
  readonly env: Environment
  readonly clusterId: string
  readonly nodeId: string
  readonly directory: string
  readonly listen: { readonly host: string; readonly port: number }
  readonly seeds: readonly string[]
  readonly token?: string
  readonly locality: Locality
  /** Called when something of this node was refused because somebody newer had taken over. */
  readonly onRefused: (what: string) => void
}

const ledgerIntervalMs = 200
const driveIntervalMs = 250
const forwardRetryMs = 200
/** A process that is this late was stopped, or its machine was. */
const stoodStillMs = 2_000

/**
 * A node of the database: a server that keeps replicas of ranges, each a Raft group whose rows live in classic-level, and
 * that does what the control plane wants of it.
 */
export class CityNode implements RangeHost, SchemaHost, AsyncDisposable {
  readonly agent: NodeAgent
  readonly #env: Environment
  readonly #rafts: RaftHost
  readonly #database: ByteLevel
  readonly #bounds: LevelState
  readonly #rpc: Rpc
  readonly #cleanup: Cleanup
  readonly #onRefused: (what: string) => void
  readonly #replicas = new Map<number, RangeReplica>()
  readonly #wanted = new Map<number, WantedRange>()
  /** Ranges whose wanted change is being carried out. */
  readonly #driving = new Set<number>()
  readonly #stop = new AbortController()

  static async open(options: CityNodeOptions, call: CallOptions = {}): Promise<CityNode> {
    const { env, clusterId, nodeId } = options
    const cleanup = new Cleanup()
    try {
      const database = await openLevel(join(options.directory, 'rows'), { logger: env.logger })
      cleanup.add(() => database.close())
      const bounds = new LevelState(database, utf8('bounds/'))
      await bounds.open()
      // The log knows which life of this node's data this is, and the transport must speak for that life.
      const log = await segments(join(options.directory, 'raft'))({ env, clusterId, nodeId })
      const agent = cleanup.use(
        await NodeAgent.join(
          {
            env,
            clusterId,
            nodeId,
            incarnation: log.incarnation,
            seeds: options.seeds,
            ...(options.token === undefined ? {} : { token: options.token }),
            transport: webSocket({ listen: options.listen }),
            datagrams: datagram({ listen: options.listen }),
            database,
            locality: options.locality,
            session: { ttlMs: 3_000, renewIntervalMs: 500 },
            reportIntervalMs: 250,
          },
          call,
        ),
      )
      const rafts = cleanup.use(
        await RaftHost.open({
          env,
          log,
          clusterId,
          nodeId,
          channel: agent.channel('raft', { traffic: 'control' }),
        }),
      )
      const rpc = cleanup.use(new Rpc({ env, channel: agent.channel(channelName, { traffic: 'bulk' }) }))
      const node = new CityNode({ options, database, bounds, agent, rafts, rpc, cleanup })
      await node.#openStored()
      agent.serve({ ranges: node, schema: node })
      return node
    } catch (error) {
      await cleanup.run()
      throw error
    }
  }

  private constructor(parts: {
    readonly options: CityNodeOptions
    readonly database: ByteLevel
    readonly bounds: LevelState
    readonly agent: NodeAgent
    readonly rafts: RaftHost
    readonly rpc: Rpc
    readonly cleanup: Cleanup
  }) {
    this.#env = parts.options.env
    this.#database = parts.database
    this.#bounds = parts.bounds
    this.agent = parts.agent
    this.#rafts = parts.rafts
    this.#rpc = parts.rpc
    this.#cleanup = parts.cleanup
    this.#onRefused = parts.options.onRefused
    this.#answerClients()
    const loops = Promise.all([
      this.#every(ledgerIntervalMs, async (lateMs) => {
        const stoodStill = lateMs > stoodStillMs
        // Not awaited: a range whose leader is sought holds up neither the others nor the next round.
        for (const replica of this.#replicas.values()) void this.#flush(replica, stoodStill)
      }),
      this.#every(driveIntervalMs, async () => {
        for (const rangeId of this.#wanted.keys()) void this.#drive(rangeId)
      }),
    ])
    this.#cleanup.add(async () => {
      this.#stop.abort(new KeelsonError('CLOSED', 'this node was closed'))
      await loops
    })
  }

  /** Ranges whose lease this node holds. */
  leases(): readonly number[] {
    return [...this.#replicas.values()]
      .filter(({ group }) => group.token() !== undefined)
      .map(({ rangeId }) => rangeId)
  }

  async reconcile(wanted: readonly WantedRange[], call: RangeHostCall): Promise<void> {
    this.#wanted.clear()
    for (const range of wanted) this.#wanted.set(range.rangeId, range)
    await Promise.all(wanted.map((range) => this.#makeSo(range, call.signal)))
  }

  observe(): readonly ObservedReplica[] {
    const observed: ObservedReplica[] = []
    for (const { rangeId, group, writesServed } of this.#replicas.values()) {
      const status = group.status()
      if (status.configuration === undefined || status.replicaId === 0) continue
      const caughtUp = [...status.progress]
        .filter(([, progress]) => progress.caughtUp)
        .map(([replicaId]) => replicaId)
      observed.push({
        rangeId,
        replicaId: status.replicaId,
        generation: status.configuration.generation,
        replicas: status.configuration.replicas,
        leaseHolder: group.token() !== undefined,
        sequence: status.sequence,
        caughtUp: [status.replicaId, ...caughtUp],
        load: { writes: writesServed },
        swaps: true,
      })
    }
    return observed
  }

  async barrier(chunk: SchemaChunk, options: CallOptions): Promise<void> {
    await this.#holder(chunk.rangeId).barrier(chunk, options)
  }

  async backfill(chunk: SchemaChunk, options: CallOptions): ReturnType<SchemaHost['backfill']> {
    return this.#holder(chunk.rangeId).backfill(chunk, options)
  }

  async validate(chunk: SchemaChunk, options: CallOptions): ReturnType<SchemaHost['validate']> {
    return this.#holder(chunk.rangeId).validate(chunk, options)
  }

  async purge(chunk: SchemaChunk, options: CallOptions): ReturnType<SchemaHost['purge']> {
    return this.#holder(chunk.rangeId).purge(chunk, options)
  }

  async close(): Promise<void> {
    await this.#cleanup.run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Opens what the disk holds: ranges that are there serve before the control plane is heard of. */
  async #openStored(): Promise<void> {
    for (const [rangeId, { destroyed }] of this.#rafts.stored()) {
      const bounds = await this.#loadBounds(rangeId)
      if (!destroyed && bounds !== undefined)
        await this.#open(rangeId, bounds, (setup) => this.#rafts.openGroup(rangeId, setup))
    }
  }

  async #makeSo(wanted: WantedRange, signal: AbortSignal): Promise<void> {
    const { rangeId, descriptor } = wanted
    if (signal.aborted) return
    if (!wanted.member) {
      await this.#drop(rangeId, descriptor)
      return
    }
    if (!this.#replicas.has(rangeId)) {
      await this.#saveBounds(rangeId, descriptor)
      const stored = this.#rafts.stored().get(rangeId)
      if (stored !== undefined && !stored.destroyed) {
        await this.#open(rangeId, descriptor, (setup) => this.#rafts.openGroup(rangeId, setup))
      } else if (wanted.bootstrap && stored === undefined) {
        const { replicas } = descriptor
        await this.#open(rangeId, descriptor, (setup) =>
          this.#rafts.bootstrap(rangeId, { ...setup, replicas }),
        )
      } else {
        await this.#open(rangeId, descriptor, (setup) => this.#rafts.awaitGroup(rangeId, setup))
      }
    }
    void this.#drive(rangeId)
  }

  async #open(
    rangeId: number,
    bounds: RangeBounds,
    begin: (setup: { stateMachine: RangeMachine }) => Promise<RaftGroup>,
  ): Promise<void> {
    if (this.#replicas.has(rangeId)) return
    const machine = new RangeMachine(this.#database, rangeId, bounds)
    const group = await begin({ stateMachine: machine })
    const replica = new RangeReplica(tableOf(bounds), group, machine, {
      pin: (tableId) => this.agent.schema.pin(tableId),
      forward: (request, leader) => this.#forward(request, leader),
      refused: (refusedRange, sequence, what) =>
        this.#onRefused(`${what} of range ${refusedRange} under lease sequence ${sequence}`),
    })
    this.#replicas.set(rangeId, replica)
    group.on('token', () => {
      this.agent.reportSoon()
      void this.#drive(rangeId)
    })
    group.on('configuration', () => this.agent.reportSoon())
  }

  /**
   * Hands a proposal to whoever leads its range by now: the leader that the replica knows, or, when it was left behind,
   * the range's members as the control plane names them.
   */
  async #forward(request: ForwardRequest, leader: string | undefined): Promise<void> {
    const members = this.#wanted.get(request.rangeId)?.descriptor.replicas.map(({ nodeId }) => nodeId) ?? []
    const targets = new Set([leader, ...members].filter((nodeId) => nodeId !== undefined))
    targets.delete(this.agent.nodeId)
    for (const target of targets) {
      try {
        await this.#rpc.call(target, 'forward', forwardRequest.encode(request), { timeoutMs: 2_000 })
        return
      } catch (error) {
        if (!KeelsonError.hasCode(error, 'NOT_LEADER', 'UNREACHABLE', 'OUTCOME_UNKNOWN')) throw error
      }
    }
    await sleep(this.#env.timers, forwardRetryMs, this.#stop.signal)
    throw new KeelsonError('NOT_LEADER', `the leader of range ${request.rangeId} was not found`)
  }

  /** Carries out the change that is wanted of a range, when this node leads it and nothing newer has happened. */
  async #drive(rangeId: number): Promise<void> {
    const replica = this.#replicas.get(rangeId)
    const change = this.#wanted.get(rangeId)?.change
    if (replica === undefined || change === undefined || this.#driving.has(rangeId)) return
    const { group } = replica
    if (group.token() === undefined) return
    if (group.status().latestConfiguration?.generation !== change.generation) return
    this.#driving.add(rangeId)
    const { signal } = this.#stop
    try {
      if (change.type === 'transferLease') {
        if (change.replicaId !== group.status().replicaId)
          await group.transferLeadership(change.replicaId, { signal })
      } else if (change.type === 'swap') {
        const { promote, remove } = change
        await group.changeMembership(
          [
            { type: 'promote', replicaId: promote },
            { type: 'remove', replicaId: remove },
          ],
          { expectedGeneration: change.generation, signal },
        )
      } else if (change.type === 'addLearner' || change.type === 'promote' || change.type === 'remove') {
        await group.changeMembership(change, { expectedGeneration: change.generation, signal })
      }
    } catch (error) {
      // Refused or lost: what is wanted is looked at again soon, against what is then true. A wrong call stays wrong.
      if (!KeelsonError.is(error) || error.code === 'INVALID_OPTION') throw error
    } finally {
      this.#driving.delete(rangeId)
      this.agent.reportSoon()
    }
  }

  /** Removes a replica that the range's own log has let go: the directory shows what that log committed. */
  async #drop(rangeId: number, descriptor: RangeDescriptor): Promise<void> {
    const replica = this.#replicas.get(rangeId)
    if (replica === undefined) return
    const { configuration, replicaId } = replica.group.status()
    const stillMember = descriptor.replicas.some((other) => other.replicaId === replicaId)
    if (stillMember || descriptor.generation < (configuration?.generation ?? 0)) return
    this.#replicas.delete(rangeId)
    await this.#rafts.destroyGroup(rangeId)
  }

  #holder(rangeId: number): RangeReplica {
    const replica = this.#replicas.get(rangeId)
    if (replica !== undefined && replica.group.token() !== undefined) return replica
    const leader = replica?.group.status().leader?.nodeId
    throw new KeelsonError('NOT_LEADER', `this node does not hold the lease of range ${rangeId}`, {
      details: leader === undefined ? {} : { leaderNodeId: leader },
    })
  }

  #answerClients(): void {
    const empty = new Uint8Array(0)
    this.#rpc.handle('session', async (_peer, body) =>
      sessionResponse.encode(await this.#holder(rangeRequest.decode(body)).group.openSession()),
    )
    // The work goes on when a client gives up: its latches are held until the outcome is known.
    this.#rpc.handle('write', async (_peer, body) => {
      const request = writeRequest.decode(body)
      await this.#holder(request.rangeId).write(request)
      return empty
    })
    this.#rpc.handle('increment', async (_peer, body) => {
      const request = incrementRequest.decode(body)
      await this.#holder(request.rangeId).increment(request)
      return empty
    })
    this.#rpc.handle('forward', async (_peer, body) => {
      const request = forwardRequest.decode(body)
      await this.#holder(request.rangeId).takeForwarded(request)
      return empty
    })
    this.#rpc.handle('read', async (_peer, body, call) => {
      const { rangeId, key } = readRequest.decode(body)
      return readResponse.encode(await this.#holder(rangeId).read(key, call))
    })
    this.#rpc.handle('page', async (_peer, body, call) => {
      const request = pageRequest.decode(body)
      const replica = this.#holder(request.rangeId)
      if (request.index === '') return pageResponse.encode(await replica.page(request, undefined, call))
      // Held until the page is read, or the index could be dropped meanwhile.
      using pin = this.agent.schema.pin(replica.tableId)
      const index = { plan: readableIndex(pin.table, request.index), version: pin.table.version }
      return pageResponse.encode(await replica.page(request, index, call))
    })
    this.#rpc.handle('facts', async (_peer, body, call) =>
      factsResponse.encode(await this.#holder(rangeRequest.decode(body)).facts(call)),
    )
  }

  async #flush(replica: RangeReplica, anyway: boolean): Promise<void> {
    try {
      await replica.flushLedger(anyway)
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#env.logger.error({ error }, 'a ledger was not flushed')
    }
  }

  async #every(intervalMs: number, act: (lateMs: number) => Promise<void>): Promise<void> {
    const { clock, timers } = this.#env
    while (!this.#stop.signal.aborted) {
      const dueMs = clock.monotonicMs() + intervalMs
      await sleep(timers, intervalMs, this.#stop.signal).catch(() => {})
      if (this.#stop.signal.aborted) return
      try {
        await act(clock.monotonicMs() - dueMs)
      } catch (error) {
        this.#env.logger.error({ error }, 'a step of this node failed and is done again')
      }
    }
  }

  async #saveBounds(rangeId: number, bounds: RangeBounds): Promise<void> {
    const batch = this.#bounds.batch()
    batch.put(utf8(String(rangeId)), encodePlain([1, bounds.start, bounds.end ?? null]))
    await this.#bounds.commit(batch, [])
    await this.#bounds.flush()
  }

  async #loadBounds(rangeId: number): Promise<RangeBounds | undefined> {
    const stored = await this.#bounds.get(utf8(String(rangeId)))
    if (stored === undefined) return undefined
    const fields = new Fields(decodePlain(stored, 'the bounds of a range'), 'the bounds of a range')
    fields.oneOf('version', [1])
    return { start: fields.bytes('start').slice(), end: fields.optional((f) => f.bytes('end'))?.slice() }
  }
}

function readableIndex(table: SchemaChunk['table'], name: string): IndexPlan {
  const element = table.elements.find((other) => other.type === 'index' && other.name === name)
  const plan = indexPlans(table).find(({ indexId }) => indexId === element?.elementId)
  if (plan?.state === 'public') return plan
  throw new KeelsonError('NOT_FOUND', `there is no public index ${name}`)
}
