import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import {
  checkOptions,
  functionOption,
  integerOption,
  type OptionCheck,
  objectOption,
  optional,
} from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { SchemaChunk, SchemaHost, SchemaValidation } from '../interfaces/schema-host.ts'
import { JobRunner, type JobType } from '../jobs/index.ts'
import { type ControllerEpoch, DirectoryCache, RangeDirectory } from '../metadata/index.ts'
import type { Load, RangeDescriptor } from '../model/descriptors.ts'
import type { NodeId, RangeId } from '../model/ids.ts'
import { ofOneTable, rangesOfTable } from '../model/table-span.ts'
import { NodeController, Nodes, type NodeView, type RangeObservation } from '../nodes/index.ts'
import {
  type BoundsJobTuning,
  createRanges,
  evacuationJob,
  MaintenanceView,
  type MoveRates,
  type MoverTuning,
  MoveThrottle,
  maintenanceJob,
  mergeJob,
  moveJob,
  moveRates,
  type NodeOperationPorts,
  type NodePressure,
  OverloadMonitor,
  type OverloadTuning,
  overloadTuning,
  PlacementController,
  type PlacementLimits,
  type PlacementNode,
  type PlacementPolicy,
  type PlacementRange,
  type PlacementTuning,
  placementLimits,
  placementPolicy,
  primaryChangeJob,
  type ReplicaSetPorts,
  RulesView,
  rollingRestartJob,
  SplitController,
  type SplitPolicy,
  setChangeJob,
  splitJob,
  splitPolicy,
  withStores,
} from '../placement/index.ts'
import { SchemaChangeJob, type SchemaChangeTuning } from '../schema/index.ts'
import type { Rpc } from '../transport/rpc.ts'
import { PlacementAnswers } from './placement-answers.ts'
import { RangeCreationJob } from './range-creation.ts'
import { decodeChunkResult, encodeChunk } from './schema-wire.ts'

/** How ranges are placed, and how moves are carried out. */
export interface PlacementOptions
  extends Partial<PlacementTuning>,
    Partial<Omit<MoverTuning, 'retryAfterMs'>> {
  /** Goals, constraints and how many replicas a range has, where they differ from `defaultPlacementPolicy`. */
  readonly policy?: Partial<PlacementPolicy>
  /** How much may move at a time, where it differs from `defaultPlacementLimits`. */
  readonly limits?: Partial<PlacementLimits>
  /** How fast replicas move, where it differs from `defaultMoveRates`. */
  readonly rates?: Partial<MoveRates>
  /** When a store is overloaded, where it differs from `defaultOverloadTuning`. */
  readonly overload?: Partial<OverloadTuning>
  /**
   * When ranges are split and merged, where it differs from `defaultSplitPolicy`. Only ranges whose hosts say where they lie
   * are, and never across two tables.
   */
  readonly splits?: Partial<Omit<SplitPolicy, 'mayMerge'>>
  /** Restarts a node's process, for rolling restarts. Default: a person or another program does it. */
  readonly restart?: NonNullable<NodeOperationPorts['restart']>
  /** How replica sets without a quorum of their own are changed. Default: nobody changes any. */
  readonly replicaSets?: Omit<ReplicaSetPorts, 'env' | 'store'>
}

/**
 * Checks how ranges are to be placed, when a server is opened and not when it first leads.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function checkPlacement(placement: unknown): PlacementOptions {
  const number = (min: number): OptionCheck<number | undefined> => optional(integerOption({ min }))
  return checkOptions<{ readonly [K in keyof PlacementOptions]-?: PlacementOptions[K] | undefined }>(
    'placement',
    placement,
    {
      policy: optional((value) => placementPolicy(value as Partial<PlacementPolicy>)),
      limits: optional((value) => placementLimits(value as Partial<PlacementLimits>)),
      rates: optional((value) => moveRates(value as Partial<MoveRates>)),
      overload: optional((value) => overloadTuning(value as Partial<OverloadTuning>)),
      splits: optional((value) => splitPolicy(value as Partial<SplitPolicy>)),
      restart: optional(functionOption<NonNullable<PlacementOptions['restart']>>()),
      replicaSets: optional(objectOption<NonNullable<PlacementOptions['replicaSets']>>(['host'])),
      intervalMs: number(1),
      deadAfterMs: number(0),
      retryAfterMs: number(0),
      dampingMs: number(0),
      pollIntervalMs: number(1),
      stepTimeoutMs: number(1),
      leaseTimeoutMs: number(1),
      jointTimeoutMs: number(1),
      roomTimeoutMs: number(0),
      catchUpTimeoutMs: number(1),
      tidyTimeoutMs: number(0),
      settleMs: number(0),
    },
  ) as PlacementOptions
}

/** What the leader's duties are made of. */
export interface LeaderDutiesParts {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** The metadata, through this server. */
  readonly store: MetadataStore
  /** The epoch that every write of these duties compares. */
  readonly epoch: ControllerEpoch
  /** How nodes are reached, for schema work on their ranges. */
  readonly rpc: Rpc
  /** Where replicas go and how they are moved. */
  readonly placement: PlacementOptions
  /** How schema changes are carried out. */
  readonly schemaTuning: SchemaChangeTuning
  /** Job types of the host program, run beside the library's own. */
  readonly jobTypes: readonly JobType<unknown>[]
}

/** Time for one chunk of schema work on a node. */
const chunkTimeoutMs = 10_000

/**
 * Everything that exactly one server does: it follows the nodes, projects what the ranges report into the directory and
 * runs jobs. Its writes compare the epoch, so that one that was deposed without knowing changes nothing.
 */
export class LeaderDuties implements AsyncDisposable {
  /** The epoch under which this server leads. */
  readonly epoch: ControllerEpoch
  /** Who is there and alive, and what each node reports. */
  readonly nodes: NodeController
  /** The ranges in the store, as moves and reports change them. */
  readonly directory: RangeDirectory
  /** The ranges as this server last read them, for decisions that need no round trip. */
  readonly ranges: DirectoryCache
  /** The rules by which ranges are placed, as the store has them. */
  readonly rules: RulesView
  /** Plans and begins moves. */
  readonly placement: PlacementController
  /** Answers what is asked about placement from elsewhere. @internal */
  readonly answers: PlacementAnswers
  /** Which nodes are in maintenance. */
  readonly maintenance: MaintenanceView
  /** Lets moves begin, as fast as the nodes can bear it. */
  readonly throttle: MoveThrottle
  /** Which stores are overloaded, by what nodes report of their disks. */
  readonly overload: OverloadMonitor
  /** Decides on splits and merges, and begins them. */
  readonly splits: SplitController
  /** Runs the jobs of the cluster. */
  readonly runner: JobRunner
  /**
   * Resolves when a part of the duties stopped by itself, with the reason; never when they are closed. A server that
   * still leads takes them up anew: an earlier leader's epoch may have been written after its own.
   */
  readonly broken: Promise<KeelsonError>
  readonly #parts: LeaderDutiesParts
  readonly #stop = new AbortController()

  /** @internal Made by the server that leads. */
  constructor(parts: LeaderDutiesParts) {
    this.#parts = parts
    const { env, store, epoch } = parts
    const { signal } = this.#stop
    this.epoch = epoch
    this.directory = new RangeDirectory(store)
    this.ranges = new DirectoryCache({ env, directory: this.directory })
    this.nodes = NodeController.start({
      env,
      store,
      epoch,
      signal,
      // A directory that was not read yet knows of no replicas: nobody is drained by it.
      replicasOf: async (nodeId, call) => {
        await this.ranges.ready(call)
        return this.replicasOf(nodeId)
      },
    })
    const { policy, limits, rates, overload, splits, restart, replicaSets, ...tuning } = parts.placement
    this.maintenance = new MaintenanceView({ env, store, signal })
    this.throttle = new MoveThrottle(rates)
    this.overload = new OverloadMonitor(overload)
    const observed = (rangeId: RangeId): readonly RangeObservation[] => this.nodes.reports.observed(rangeId)
    const move = moveJob({
      env,
      epoch,
      observed,
      directory: this.directory,
      node: (nodeId) => {
        const node = this.nodes.node(nodeId)
        return node === undefined ? undefined : this.maintenance.over(node)
      },
      throttle: this.throttle,
      ...pick(tuning, [
        'pollIntervalMs',
        'stepTimeoutMs',
        'leaseTimeoutMs',
        'jointTimeoutMs',
        'catchUpTimeoutMs',
        'roomTimeoutMs',
        'tidyTimeoutMs',
        'settleMs',
      ]),
    })
    const boundsJobs = {
      env,
      epoch,
      observed,
      directory: this.directory,
      isLive: (nodeId: NodeId) => this.nodes.node(nodeId)?.liveness === 'live',
      ...pick(tuning as Partial<BoundsJobTuning>, [
        'pollIntervalMs',
        'stepTimeoutMs',
        'settleMs',
        'tidyTimeoutMs',
      ]),
    }
    const split = splitJob(boundsJobs)
    const merge = mergeJob(boundsJobs)
    this.splits = SplitController.start({
      env,
      store,
      epoch,
      signal,
      observed,
      split,
      merge,
      directory: this.directory,
      changed: this.nodes.reports.follow(),
      moving: () => this.placement.moving(),
      policy: { ...splits, mayMerge: ofOneTable },
      ...pick(tuning, ['intervalMs']),
    })
    this.rules = RulesView.start({
      env,
      store,
      epoch,
      signal,
      opened: policy?.rules,
      defaultVoters: placementPolicy(policy).replicationFactor,
    })
    this.placement = PlacementController.start({
      env,
      store,
      epoch,
      signal,
      move,
      observed,
      directory: this.directory,
      changed: this.nodes.reports.follow(),
      held: () => this.splits.held(),
      nodes: () => this.#placeable(),
      rules: () => this.rules.current(),
      ...(policy === undefined ? {} : { policy }),
      ...(limits === undefined ? {} : { limits }),
      ...pick(tuning, ['intervalMs', 'deadAfterMs', 'retryAfterMs', 'dampingMs']),
    })
    const { placement } = this
    this.answers = new PlacementAnswers({ env, epoch, placement, signal, rates: moveRates(rates) })
    const admission = new Nodes({ env, store, replicasOf: async (nodeId) => this.replicasOf(nodeId) })
    const operations: NodeOperationPorts = {
      env,
      store,
      epoch,
      observed,
      move,
      maintenance: this.maintenance,
      nodes: () => this.nodes.nodes(),
      rangesOn: (nodeIds) => this.ranges.rangesOn(nodeIds),
      drain: (nodeId, reason, call) => admission.drain(nodeId, reason, call),
      undrain: (nodeId, reason, call) => admission.undrain(nodeId, reason, call),
      plan: () => this.placement.plan(),
      ...(restart === undefined ? {} : { restart }),
    }
    this.runner = JobRunner.start({
      env,
      store,
      epoch,
      signal,
      types: [
        move,
        split,
        merge,
        maintenanceJob(operations),
        rollingRestartJob(operations),
        evacuationJob(operations),
        ...(replicaSets === undefined
          ? []
          : [setChangeJob({ ...replicaSets, env, store }), primaryChangeJob({ ...replicaSets, env, store })]),
        new RangeCreationJob({
          store,
          create: async (ranges, replicas, jobSignal) => {
            const nodes = this.#placeable()
            const known = (range: RangeDescriptor): PlacementRange => this.placement.view(range)
            const { book: rules } = await this.rules.latest({ signal: jobSignal })
            const ask = { directory: this.directory, epoch, nodes, ranges, known, rules, signal: jobSignal }
            await createRanges({ ...ask, policy: { ...policy, replicationFactor: replicas } })
          },
          list: async (jobSignal) => this.directory.list({ signal: jobSignal }),
          lookup: (key) => this.ranges.lookup(key),
          serves: (rangeId) => this.holderOf(rangeId) !== undefined,
        }),
        new SchemaChangeJob(
          {
            env,
            store,
            host: this.#schemaHost(),
            ranges: async (tableId, options) => rangesOfTable(tableId, await this.directory.list(options)),
            isLive: (nodeId) => this.nodes.node(nodeId)?.liveness !== 'dead',
          },
          parts.schemaTuning,
        ),
        ...parts.jobTypes,
      ] as readonly JobType<unknown>[],
    })
    this.broken = new Promise((resolve) => {
      for (const { stopped } of [
        this.nodes,
        this.rules,
        this.placement,
        this.splits,
        this.runner,
        this.maintenance,
      ]) {
        void stopped.then(
          (error) => error !== undefined && resolve(error),
          (thrown: unknown) => resolve(toKeelsonError(thrown)),
        )
      }
      this.ranges.on('lost', resolve)
    })
  }

  /** Replicas that a node holds by the directory. */
  replicasOf(nodeId: NodeId): number {
    return this.ranges.rangesOn([nodeId]).length
  }

  /** The node that says it holds a range's lease; of several the one with the highest sequence. */
  holderOf(rangeId: RangeId): NodeId | undefined {
    let best: { nodeId: NodeId; sequence: number } | undefined
    for (const { nodeId, replica } of this.nodes.reports.observed(rangeId)) {
      if (!replica.leaseHolder || (best !== undefined && best.sequence >= replica.sequence)) continue
      best = { nodeId, sequence: replica.sequence }
    }
    return best?.nodeId
  }

  /** Takes a node's report. @throws KeelsonError `MALFORMED`, `UNAUTHORIZED`, `EPOCH_ENDED` */
  takeReport(bytes: Uint8Array): void {
    const { nodeId, load, stores = [] } = this.nodes.takeReport(bytes)
    const nowMs = this.#parts.env.clock.monotonicMs()
    this.#takePressure(nodeId, '', load, nowMs)
    for (const store of stores) this.#takePressure(nodeId, store.storeId, store.load, nowMs)
    this.overload.keep(nodeId, new Set(['', ...stores.map(({ storeId }) => storeId)]))
  }

  /** What a node says of the disk of one of its stores, or of itself. */
  #takePressure(nodeId: NodeId, storeId: string, load: Load, nowMs: number): void {
    const pressure = pressureOf(load)
    this.throttle.pressure(nodeId, pressure, nowMs)
    const before = this.overload.level(nodeId, storeId)
    if (!this.overload.observe(nodeId, storeId, pressure, nowMs)) return
    const level = this.overload.level(nodeId, storeId)
    this.#parts.env.logger.info({ nodeId, storeId, before, level }, 'how hard-pressed a store is has changed')
  }

  /** A node as the planner is to see it. */
  #placementView(node: NodeView): PlacementNode {
    // What it reported before it died says nothing of how it will be when it is back.
    if (node.liveness === 'dead') this.overload.forget(node.descriptor.nodeId)
    const reports = this.nodes.reports.stores(node.descriptor.nodeId)
    return this.overload.over(withStores(this.maintenance.over(node), reports))
  }

  /** Stops all duties and waits until none of them is under way. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'this server does not lead any more; another one goes on'))
    await Promise.all([
      this.splits.close(),
      this.placement.close(),
      this.rules.close(),
      this.runner.close(),
      this.maintenance.close(),
      this.nodes.close(),
      this.ranges.close(),
    ])
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** The nodes as placement sees them. */
  #placeable(): readonly PlacementNode[] {
    return this.nodes.nodes().map((node) => this.#placementView(node))
  }

  #schemaHost(): SchemaHost {
    const call = async (
      method: string,
      chunk: SchemaChunk,
      signal: AbortSignal | undefined,
    ): Promise<SchemaValidation> => {
      const holder = this.holderOf(chunk.rangeId)
      if (holder === undefined) {
        throw new KeelsonError('NOT_LEADER', `nobody reports to hold the lease of range ${chunk.rangeId}`)
      }
      const answer = await this.#parts.rpc.call(holder, `schema/${method}`, encodeChunk(chunk), {
        timeoutMs: chunkTimeoutMs,
        ...(signal === undefined ? {} : { signal }),
      })
      return decodeChunkResult(answer)
    }
    return {
      barrier: async (chunk, { signal }) => void (await call('barrier', chunk, signal)),
      backfill: (chunk, { signal }) => call('backfill', chunk, signal),
      validate: (chunk, { signal }) => call('validate', chunk, signal),
      purge: (chunk, { signal }) => call('purge', chunk, signal),
    }
  }
}

/** What a load says of a disk. */
function pressureOf({ ioOverload, diskLatencyMs }: Load): NodePressure {
  return {
    ...(ioOverload === undefined ? {} : { ioOverload }),
    ...(diskLatencyMs === undefined ? {} : { diskLatencyMs }),
  }
}

/** Some members of an object; those that are not given stay away. */
function pick<T extends object, K extends keyof T>(from: T, names: readonly K[]): Pick<T, K> {
  const picked: Partial<Pick<T, K>> = {}
  for (const name of names) if (from[name] !== undefined) picked[name] = from[name]
  return picked as Pick<T, K>
}
