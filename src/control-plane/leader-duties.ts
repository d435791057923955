import type { Environment } from '../core/environment.ts'
import { KeelsonError, toKeelsonError } from '../core/errors.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { ObservedReplica } from '../interfaces/range-host.ts'
import type { SchemaChunk, SchemaHost, SchemaValidation } from '../interfaces/schema-host.ts'
import { JobRunner, type JobType } from '../jobs/index.ts'
import { type ControllerEpoch, DirectoryCache, RangeDirectory } from '../metadata/index.ts'
import type { NodeId, RangeId } from '../model/ids.ts'
import { NodeController } from '../nodes/index.ts'
import {
  allocate,
  type PlacementLimits,
  type PlacementNode,
  type PlacementPolicy,
  type PlacementRange,
} from '../placement/index.ts'
import { SchemaChangeJob, type SchemaChangeTuning } from '../schema/index.ts'
import type { Rpc } from '../transport/rpc.ts'
import { RangeCreationJob, type RangeCreationPorts } from './range-creation.ts'
import { decodeChunkResult, encodeChunk } from './schema-wire.ts'
import { rangesOfTable } from './tables.ts'

/** How ranges are placed. */
export interface PlacementOptions {
  readonly policy?: Partial<PlacementPolicy>
  readonly limits?: Partial<PlacementLimits>
  /** A node that is dead for so long has lost its replicas, and they are made anew elsewhere. Default: 60,000. */
  readonly deadAfterMs?: number
}

/** What the leader's duties are made of. */
export interface LeaderDutiesParts {
  readonly env: Environment
  readonly store: MetadataStore
  readonly epoch: ControllerEpoch
  readonly rpc: Rpc
  readonly placement: PlacementOptions
  readonly schemaTuning: SchemaChangeTuning
  /** Job types of the host program, run beside the library's own. */
  readonly jobTypes: readonly JobType<unknown>[]
  /** Called when a write of this leader was refused because there is a newer one. */
  readonly onDeposed: (error: KeelsonError) => void
}

/** Time for one chunk of schema work on a node. */
const chunkTimeoutMs = 10_000

/**
 * Everything that exactly one server does: it follows the nodes, projects what the ranges report into the directory and
 * runs jobs. Its writes compare the epoch, so that one that was deposed without knowing changes nothing.
 */
export class LeaderDuties implements AsyncDisposable {
  readonly epoch: ControllerEpoch
  readonly nodes: NodeController
  readonly directory: RangeDirectory
  readonly ranges: DirectoryCache
  readonly runner: JobRunner
  readonly #parts: LeaderDutiesParts
  readonly #stop = new AbortController()
  /** Ranges whose report is ahead of the directory. */
  readonly #ahead = new Map<RangeId, ObservedReplica>()
  #projecting: Promise<void> | undefined

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
      replicasOf: async (nodeId) => this.replicasOf(nodeId),
    })
    this.runner = JobRunner.start({
      env,
      store,
      epoch,
      signal,
      types: [
        new RangeCreationJob({
          store,
          allocate: (rangeIds, replicas) => this.#allocate(rangeIds, replicas),
          create: (ranges, bootstrap, jobSignal) =>
            this.directory.create(epoch, ranges, { bootstrap, signal: jobSignal }),
          exists: async (rangeId, jobSignal) =>
            (await this.directory.get(rangeId, { signal: jobSignal })) !== undefined,
          serves: (rangeId) => this.holderOf(rangeId) !== undefined,
        }),
        new SchemaChangeJob(
          {
            env,
            store,
            host: this.#schemaHost(),
            ranges: async (tableId, options) =>
              rangesOfTable(tableId, await this.directory.list(options)).map(({ rangeId }) => rangeId),
            isLive: (nodeId) => this.nodes.node(nodeId)?.liveness !== 'dead',
          },
          parts.schemaTuning,
        ),
        ...parts.jobTypes,
      ] as readonly JobType<unknown>[],
    })
    void this.#watchDeposal(this.runner.stopped)
  }

  async #watchDeposal(stopped: Promise<KeelsonError | undefined>): Promise<void> {
    const error = await stopped
    if (error?.code === 'STALE_EPOCH') this.#parts.onDeposed(error)
  }

  /** The nodes, as placement sees them. */
  placementNodes(): readonly PlacementNode[] {
    return this.nodes.nodes()
  }

  /** The ranges, as placement sees them. */
  placementRanges(): readonly PlacementRange[] {
    return this.ranges.ranges().map((descriptor): PlacementRange => {
      const holder = this.holderOf(descriptor.rangeId)
      const replica = descriptor.replicas.find(({ nodeId }) => nodeId === holder)
      return replica === undefined ? { descriptor } : { descriptor, leaseHolder: replica.replicaId }
    })
  }

  /** Replicas that a node holds by the directory. */
  replicasOf(nodeId: NodeId): number {
    let count = 0
    for (const range of this.ranges.ranges()) if (range.replicas.some((r) => r.nodeId === nodeId)) count++
    return count
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

  /** Takes a node's report: what a lease holder says of its range moves the directory on. */
  takeReport(bytes: Uint8Array): void {
    const report = this.nodes.takeReport(bytes)
    for (const replica of report.replicas) {
      if (!replica.leaseHolder) continue
      const known = this.ranges.byId(replica.rangeId)
      if (known === undefined || known.generation >= replica.generation) continue
      const waiting = this.#ahead.get(replica.rangeId)
      if (waiting === undefined || waiting.generation < replica.generation)
        this.#ahead.set(replica.rangeId, replica)
    }
    if (this.#ahead.size > 0 && this.#projecting === undefined) this.#projecting = this.#project()
  }

  async close(): Promise<void> {
    this.#stop.abort(new KeelsonError('CLOSED', 'this server does not lead any more'))
    await Promise.all([this.nodes.close(), this.runner.close(), this.ranges.close(), this.#projecting])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #project(): Promise<void> {
    const { signal } = this.#stop
    try {
      while (this.#ahead.size > 0 && !signal.aborted) {
        const [[rangeId, replica]] = this.#ahead as unknown as [[RangeId, ObservedReplica]]
        this.#ahead.delete(rangeId)
        const known = this.ranges.byId(rangeId)
        if (known === undefined) continue
        const { generation, replicas } = replica
        await this.directory.project(this.epoch, { ...known, generation, replicas }, { signal })
      }
    } catch (thrown) {
      const error = toKeelsonError(thrown)
      if (!signal.aborted)
        this.#parts.env.logger.warn(
          { error: error.toJSON() },
          'a report was not projected; the next one will be',
        )
    } finally {
      this.#projecting = undefined
    }
  }

  #allocate(rangeIds: readonly RangeId[], replicas: number): ReturnType<RangeCreationPorts['allocate']> {
    const { policy } = this.#parts.placement
    try {
      return allocate({
        nodes: this.placementNodes(),
        ranges: this.placementRanges(),
        rangeIds,
        policy: { ...policy, replicationFactor: replicas },
      }).map(({ nodes }) => nodes)
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'UNSUPPORTED')) throw error
      // More nodes may join: the job waits for them.
      throw new KeelsonError('OVERLOADED', error.message, { cause: error })
    }
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
