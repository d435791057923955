import { join } from 'node:path'
import {
  type CallOptions,
  Cleanup,
  type Environment,
  KeelsonError,
  type Locality,
  NodeAgent,
  type ObservedReplica,
  type RangeHost,
  type RangeHostCall,
  type SchemaChunk,
  type SchemaHost,
  sleep,
  type WantedRange,
} from 'keelson'
import { DirectoryCache, RangeDirectory } from 'keelson/metadata'
import { type RaftGroup, RaftHost } from 'keelson/raft'
import { openLevel } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'
import { Rpc } from 'keelson/transport'
import { datagram } from 'keelson/transport/datagram'
import { webSocket } from 'keelson/transport/websocket'
import { NodeCalls } from './node-calls.ts'
import {
  channelName,
  exportRequest,
  exportResponse,
  factsResponse,
  forwardRequest,
  incrementRequest,
  pageRequest,
  pageResponse,
  rangeRequest,
  readRequest,
  readResponse,
  ruleOutRequest,
  sessionResponse,
  writeRequest,
} from './protocol.ts'
import { RangeDriver } from './range-driver.ts'
import type { RangeMachine } from './range-machine.ts'
import { RangeReplica } from './range-replica.ts'
import { ReplicaKeeper } from './replica-keeper.ts'
import { type IndexPlan, indexPlans } from './schema.ts'

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
/** A process that is this late was stopped, or its machine was. */
const stoodStillMs = 2_000

/**
 * A node of the database: a server that keeps replicas of ranges, each a Raft group whose rows live in classic-level, and
 * that does what the control plane wants of it.
 */
export class CityNode implements RangeHost, SchemaHost, AsyncDisposable {
  readonly agent: NodeAgent
  readonly #env: Environment
  readonly #rpc: Rpc
  readonly #cleanup: Cleanup
  readonly #onRefused: (what: string) => void
  readonly #keeper: ReplicaKeeper
  readonly #driver: RangeDriver
  readonly #calls: NodeCalls
  readonly #stop: AbortController

  static async open(options: CityNodeOptions, call: CallOptions = {}): Promise<CityNode> {
    const { env, clusterId, nodeId } = options
    const cleanup = new Cleanup()
    try {
      const database = await openLevel(join(options.directory, 'rows'), { logger: env.logger })
      cleanup.add(() => database.close())
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
      const directory = cleanup.use(new DirectoryCache({ env, directory: new RangeDirectory(agent.store) }))
      const stop = new AbortController()
      const { signal } = stop
      const keeper = await ReplicaKeeper.open({
        env,
        nodeId,
        rafts,
        database,
        signal,
        replicaOf: (group, machine) => node.#replicaOf(group, machine),
        changed: () => agent.reportSoon(),
      })
      const calls = new NodeCalls({ env, nodeId, rpc, keeper, directory, signal })
      const node: CityNode = new CityNode({ options, agent, rpc, keeper, calls, stop, cleanup })
      await keeper.openStored()
      node.#begin()
      agent.serve({ ranges: node, schema: node })
      return node
    } catch (error) {
      await cleanup.run()
      throw error
    }
  }

  private constructor(parts: {
    readonly options: CityNodeOptions
    readonly agent: NodeAgent
    readonly rpc: Rpc
    readonly keeper: ReplicaKeeper
    readonly calls: NodeCalls
    readonly stop: AbortController
    readonly cleanup: Cleanup
  }) {
    const { options, agent, keeper, calls, stop } = parts
    this.#env = options.env
    this.#onRefused = options.onRefused
    this.agent = agent
    this.#rpc = parts.rpc
    this.#keeper = keeper
    this.#calls = calls
    this.#stop = stop
    this.#cleanup = parts.cleanup
    this.#driver = new RangeDriver({
      env: options.env,
      keeper,
      calls,
      signal: stop.signal,
      changed: () => agent.reportSoon(),
    })
    this.#answerClients()
  }

  /** Looks after the ranges from here on, again and again. */
  #begin(): void {
    const { replicas, wanted } = this.#keeper
    const loops = Promise.all([
      this.#every(ledgerIntervalMs, async (lateMs) => {
        const stoodStill = lateMs > stoodStillMs
        // Not awaited: a range whose leader is sought holds up neither the others nor the next round.
        for (const replica of replicas.values()) void this.#flush(replica, stoodStill)
      }),
      this.#every(driveIntervalMs, async () => {
        this.#keeper.lookAgain()
        for (const rangeId of wanted.keys()) this.#drive(rangeId)
        for (const replica of replicas.values()) this.#driver.lookAfter(replica)
      }),
    ])
    this.#cleanup.add(async () => {
      this.#stop.abort(new KeelsonError('CLOSED', 'this node was closed'))
      await loops
    })
  }

  /** A replica of a group that was opened here. */
  #replicaOf(group: RaftGroup, machine: RangeMachine): RangeReplica {
    group.on('token', () => {
      this.agent.reportSoon()
      this.#drive(group.groupId)
    })
    group.on('configuration', () => this.agent.reportSoon())
    return new RangeReplica(group, machine, {
      env: this.#env,
      pin: (tableId) => this.agent.schema.pin(tableId),
      forward: (request, leader) => this.#calls.forward(request, leader),
      refused: (rangeId, sequence, what) =>
        this.#onRefused(`${what} of range ${rangeId} under lease sequence ${sequence}`),
    })
  }

  #drive(rangeId: number): void {
    this.#driver.drive(rangeId).catch((error: unknown) => {
      this.#env.logger.error({ error, rangeId }, 'what is wanted of a range cannot be done')
    })
  }

  /** Ranges whose lease this node holds. */
  leases(): readonly number[] {
    return [...this.#keeper.replicas.values()]
      .filter(({ group }) => group.token() !== undefined)
      .map(({ rangeId }) => rangeId)
  }

  async reconcile(wanted: readonly WantedRange[], call: RangeHostCall): Promise<void> {
    await this.#keeper.reconcile(wanted, call.signal)
    for (const { rangeId } of wanted) this.#drive(rangeId)
  }

  observe(): readonly ObservedReplica[] {
    const observed: ObservedReplica[] = []
    for (const replica of this.#keeper.replicas.values()) {
      const { rangeId, group, writesServed, machine } = replica
      const status = group.status()
      const { bounds, splitOff, frozen, bytes } = machine.layout
      if (status.appliedConfiguration === undefined || status.replicaId === 0) continue
      const caughtUp = [...status.progress]
        .filter(([, progress]) => progress.caughtUp)
        .map(([replicaId]) => replicaId)
      observed.push({
        rangeId,
        replicaId: status.replicaId,
        generation: replica.generation,
        replicas: status.appliedConfiguration.replicas,
        leaseHolder: replica.serves,
        sequence: status.sequence,
        caughtUp: [status.replicaId, ...caughtUp],
        load: { writes: writesServed, bytes, requests: replica.requestsPerSecond() },
        swaps: true,
        ...(bounds === undefined ? {} : { bounds }),
        ...(splitOff === undefined ? {} : { splitOff: splitOff.rangeId }),
        ...(frozen === undefined
          ? {}
          : { frozen: { into: frozen.into, intoGeneration: frozen.intoGeneration } }),
        ...(replica.serves ? { splitKeys: replica.splitKeys() } : {}),
      })
    }
    return observed
  }

  async barrier(chunk: SchemaChunk, options: CallOptions): Promise<void> {
    await this.#holder(chunk.rangeId).schema.barrier(chunk, options)
  }

  async backfill(chunk: SchemaChunk, options: CallOptions): ReturnType<SchemaHost['backfill']> {
    return this.#holder(chunk.rangeId).schema.backfill(chunk, options)
  }

  async validate(chunk: SchemaChunk, options: CallOptions): ReturnType<SchemaHost['validate']> {
    return this.#holder(chunk.rangeId).schema.validate(chunk, options)
  }

  async purge(chunk: SchemaChunk, options: CallOptions): ReturnType<SchemaHost['purge']> {
    return this.#holder(chunk.rangeId).schema.purge(chunk, options)
  }

  async close(): Promise<void> {
    await this.#cleanup.run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #holder(rangeId: number): RangeReplica {
    const replica = this.#keeper.replicas.get(rangeId)
    if (replica?.serves === true) return replica
    const leader = replica?.group.status().leader?.nodeId
    throw new KeelsonError('NOT_LEADER', `this node does not hold the lease of range ${rangeId}`, {
      details: leader === undefined ? {} : { leaderNodeId: leader },
    })
  }

  #answerClients(): void {
    const handle: Rpc['handle'] = (method, act) =>
      this.#rpc.handle(method, async (...call) => {
        try {
          return await act(...call)
        } catch (error) {
          throw this.#stop.signal.aborted ? error : forClients(error)
        }
      })
    const empty = new Uint8Array(0)
    handle('session', async (_peer, body) => {
      const { rangeId, key } = readRequest.decode(body)
      return sessionResponse.encode(await this.#holder(rangeId).openSession(key))
    })
    // The work goes on when a client gives up: its latches are held until the outcome is known.
    handle('write', async (_peer, body) => {
      const request = writeRequest.decode(body)
      await this.#holder(request.rangeId).write(request)
      return empty
    })
    handle('increment', async (_peer, body) => {
      const request = incrementRequest.decode(body)
      await this.#holder(request.rangeId).increment(request)
      return empty
    })
    handle('forward', async (_peer, body) => {
      const request = forwardRequest.decode(body)
      await this.#holder(request.rangeId).takeForwarded(request)
      return empty
    })
    handle('read', async (_peer, body, call) => {
      const { rangeId, key } = readRequest.decode(body)
      return readResponse.encode(await this.#holder(rangeId).read(key, call))
    })
    handle('page', async (_peer, body, call) => {
      const request = pageRequest.decode(body)
      const replica = this.#holder(request.rangeId)
      if (request.index === '') return pageResponse.encode(await replica.page(request, undefined, call))
      // Held until the page is read, or the index could be dropped meanwhile.
      using pin = this.agent.schema.pin(replica.tableId)
      const index = { plan: readableIndex(pin.table, request.index), version: pin.table.version }
      return pageResponse.encode(await replica.page(request, index, call))
    })
    handle('export', async (_peer, body, call) => {
      const { rangeId, generation, resumeAt } = exportRequest.decode(body)
      return exportResponse.encode(await this.#holder(rangeId).export(generation, resumeAt, call))
    })
    handle('ruleOut', async (_peer, body) => {
      const { rangeId, generation, rightRangeId } = ruleOutRequest.decode(body)
      const ruledOut = await this.#driver.ruleOut(this.#holder(rangeId), rightRangeId, generation)
      return ruledOut ? Uint8Array.of(1) : empty
    })
    handle('facts', async (_peer, body, call) =>
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
}

/** The replica has gone while it was asked, moved away or merged: its range is somewhere. */
function forClients(error: unknown): unknown {
  if (!KeelsonError.hasCode(error, 'CLOSED')) return error
  const message = 'this node holds the range no more; ask those that the directory names'
  return new KeelsonError('OUTCOME_UNKNOWN', message, { cause: error })
}

function readableIndex(table: SchemaChunk['table'], name: string): IndexPlan {
  const element = table.elements.find((other) => other.type === 'index' && other.name === name)
  const plan = indexPlans(table).find(({ indexId }) => indexId === element?.elementId)
  if (plan?.state === 'public') return plan
  throw new KeelsonError('NOT_FOUND', `there is no public index ${name}`)
}
