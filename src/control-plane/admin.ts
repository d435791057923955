import { checkFunction, checkMembers, checkObject, checkText } from '../core/arguments.ts'
import { type CallOptions, throwIfAborted } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type { MetadataStore } from '../interfaces/metadata-store.ts'
import type { TableDescriptor } from '../interfaces/schema-host.ts'
import { isFinished, type Job, Jobs } from '../jobs/index.ts'
import { RangeDirectory } from '../metadata/index.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import type { TableId } from '../model/ids.ts'
import { tableSpan } from '../model/table-span.ts'
import { Nodes } from '../nodes/index.ts'
import { NodeOperations, type PlacementRule, PlacementRules, ReplicaSets } from '../placement/index.ts'
import {
  checkSchemaChange,
  initialChangeState,
  type NewTable,
  SchemaCatalog,
  type SchemaChange,
  schemaChangeForm,
} from '../schema/index.ts'
import { PlacementAsker, type PlacementAskerPorts } from './placement-asker.ts'
import { checkCreation, checkReplicas, type RangeCreation, rangeCreationForm } from './range-creation.ts'

/**
 * What operators and host programs ask of a cluster. Everything goes through the metadata store, so it works from any
 * server, from any node and from a client; long work is a job, which whoever leads carries out. Only questions about placement
 * go to the leader itself.
 */
export class Admin {
  /** Join tokens, the list of nodes, drain and decommission. */
  readonly nodes: Nodes
  /** Long work: what runs, what ran, and its pause, resume and cancellation. */
  readonly jobs: Jobs
  /** Maintenance, rolling restarts and the evacuation of racks and zones. */
  readonly operations: NodeOperations
  /** Replica sets without a quorum of their own: their members and their primaries. */
  readonly replicaSets: ReplicaSets
  /** The tables and their descriptors. */
  readonly catalog: SchemaCatalog
  /** The rules by which ranges are placed. */
  readonly rules: PlacementRules
  /** The ranges and where their replicas are. */
  readonly directory: RangeDirectory
  /** Asks the leader why ranges and nodes are as they are, what is planned, and what would come of a change. */
  readonly placement: PlacementAsker

  /** Works through any store of the cluster: a server's, a node's or a client's. */
  constructor(
    options: { readonly env: Environment; readonly store: MetadataStore },
    /** @internal How the leader is asked; only the store is reached without it. */
    leader?: Omit<PlacementAskerPorts, 'env'>,
  ) {
    checkMembers(options, 'the options of an Admin', ['env', 'store'])
    this.placement = new PlacementAsker(leader === undefined ? undefined : { env: options.env, ...leader })
    this.directory = new RangeDirectory(options.store)
    this.nodes = new Nodes({
      ...options,
      replicasOf: async (nodeId, call) =>
        (await this.directory.list(call)).filter((range) => range.replicas.some((r) => r.nodeId === nodeId))
          .length,
    })
    this.jobs = new Jobs(options)
    this.operations = new NodeOperations(options)
    this.replicaSets = new ReplicaSets(options)
    this.catalog = new SchemaCatalog(options)
    this.rules = new PlacementRules(options)
  }

  /**
   * Creates a table with its ranges and waits until they are served.
   *
   * @param options `splitKeys` makes keys of rows, ascending, each of which begins a range; `replicas` is how many voters each
   *   range has from now on, by a rule of the table that says so (`replicas-of-table-` and its id)
   * @throws KeelsonError `INVALID_ARGUMENT`, `CONFLICT`, `INVALID_OPTION` when that rule contradicts one that there is, with both
   *   of them named in `rule` and `otherRule`; and what the job failed with
   */
  async createTable(
    table: NewTable,
    options: CallOptions & {
      readonly splitKeys?: (table: TableDescriptor) => readonly Uint8Array[]
      readonly replicas: number
    },
  ): Promise<TableDescriptor> {
    checkCall('createTable', options, ['splitKeys', 'replicas'])
    const { splitKeys, replicas, ...call } = options
    if (splitKeys !== undefined) checkFunction(splitKeys, 'splitKeys')
    checkReplicas(replicas)
    // Before there is a table, by a number that none has.
    await this.rules.check({ rules: [numberRule(Number.MAX_SAFE_INTEGER, replicas)] }, call)
    const created = await this.catalog.createTable(table, call)
    const creation: RangeCreation = {
      ...tableSpan(created.tableId),
      splitKeys: splitKeys?.(created) ?? [],
      replicas,
    }
    checkCreation(creation)
    await this.rules.set({ rules: [numberRule(created.tableId, replicas)] }, call)
    const { job } = await this.jobs.create(
      rangeCreationForm,
      { creation, firstRangeId: 0 },
      { ...call, key: `table-${created.tableId}`, reason: `ranges of table ${table.name}` },
    )
    await this.finished(job, call)
    return created
  }

  /** All ranges, in the order of their keys. */
  async ranges(options: CallOptions = {}): Promise<readonly RangeDescriptor[]> {
    checkCall('ranges', options)
    return this.directory.list(options)
  }

  /** Starts a schema change; {@link Admin.finished} waits for its end. One change of a table runs at a time. */
  async changeSchema(
    table: string,
    change: SchemaChange,
    options: CallOptions & { readonly reason: string },
  ): Promise<Job> {
    checkCall('changeSchema', options, ['reason'])
    const { reason, ...call } = options
    checkSchemaChange(change)
    checkText(reason, 'the reason, for people to read,', 1024)
    const stored = await this.catalog.byName(table, call)
    if (stored === undefined)
      throw new KeelsonError('NOT_FOUND', `there is no table ${table}; create it first`)
    const { tableId } = stored.table
    const { job, created } = await this.jobs.create(schemaChangeForm, initialChangeState(tableId, change), {
      ...call,
      reason,
      key: `table-${tableId}`,
    })
    if (created) return job
    throw new KeelsonError(
      'CONFLICT',
      `table ${table} is being changed by job ${job.jobId}; wait for it or cancel it`,
    )
  }

  /**
   * Waits for the end of a job.
   *
   * @throws KeelsonError with the code of the job's last error when it failed or was cancelled, `ABORTED`
   */
  async finished(job: Job, options: CallOptions = {}): Promise<Job> {
    checkObject(job, 'a job', ['jobId'])
    checkCall('finished', options)
    for await (const change of this.jobs.watch(options)) {
      const gone =
        change.type === 'removed'
          ? change.jobId === job.jobId
          : change.type === 'snapshot' && !change.jobs.some(({ jobId }) => jobId === job.jobId)
      if (gone) {
        throw new KeelsonError(
          'NOT_FOUND',
          `there is no job ${job.jobId}; finished jobs are forgotten after a while, so look at what it was to do`,
        )
      }
      const jobs = change.type === 'snapshot' ? change.jobs : change.type === 'changed' ? [change.job] : []
      const seen = jobs.find(({ jobId }) => jobId === job.jobId)
      if (seen === undefined || !isFinished(seen)) continue
      if (seen.status === 'succeeded') return seen
      const last = seen.lastError
      throw KeelsonError.fromJSON({
        code: last?.code ?? 'ABORTED',
        message: `job ${seen.jobId} ${seen.status}: ${last?.message ?? seen.outcome ?? 'no reason given'}`,
        retryable: false,
        outcome: 'none',
        details: { jobId: seen.jobId },
      })
    }
    throwIfAborted(options.signal)
    throw new KeelsonError('CLOSED', 'the jobs are not watched any more; connect again, and look at the job')
  }
}

/** How many voters the ranges of a table have. */
function numberRule(tableId: TableId, voters: number): PlacementRule {
  return { id: `replicas-of-table-${tableId}`, scope: { type: 'table', tableId }, voters }
}
