import { checkObject, checkText } from '../../core/arguments.ts'
import type { CallOptions } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkCall, checkOptions, objectOption, showValue } from '../../core/options.ts'
import type { Compare, MetadataStore, Operation, Revision } from '../../interfaces/metadata-store.ts'
import type { Job } from '../../jobs/core/record.ts'
import type { JobForm } from '../../jobs/job-type.ts'
import { Jobs } from '../../jobs/jobs.ts'
import { pathKey } from '../../metadata/keys.ts'
import { checkId, checkName, type Incarnation, type NodeId } from '../../model/ids.ts'
import type { ReplicaSetRecord } from './core/change.ts'
import { QuorumSet } from './core/quorum-set.ts'
import {
  decodePrimaryChange,
  decodeReplicaSet,
  decodeSetChange,
  encodePrimaryChange,
  encodeReplicaSet,
  encodeSetChange,
  type PrimaryChangeState,
  type SetChangeState,
} from './record.ts'

/** A replica set as it was read. */
export interface StoredReplicaSet {
  /** The set. */
  readonly record: ReplicaSetRecord
  /** What a change of it compares. */
  readonly revision: Revision
  /** Where the store was when it was read. */
  readonly readAt: Revision
}

/** Why a replica set is changed. */
export interface ReplicaSetCall extends CallOptions {
  /** For people. */
  readonly reason: string
}

/** Jobs that change the members of a replica set. */
export const setChangeForm: JobForm<SetChangeState> = Object.freeze({
  type: 'replica-set.members',
  encode: encodeSetChange,
  decode: decodeSetChange,
})

/** Jobs that change the primary of a replica set. */
export const primaryChangeForm: JobForm<PrimaryChangeState> = Object.freeze({
  type: 'replica-set.primary',
  encode: encodePrimaryChange,
  decode: decodePrimaryChange,
})

/**
 * The replica sets in the store, for anybody who can reach it: those that have a primary and replicas, and no quorum of their
 * own that could decide about itself. Changes are jobs, which the leader carries out through the host's
 * {@link ReplicaSetHost}.
 */
export class ReplicaSets {
  readonly #store: MetadataStore
  readonly #jobs: Jobs

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: { readonly env: Environment; readonly store: MetadataStore }) {
    const checked = checkOptions<typeof options>('ReplicaSets', options, {
      env: objectOption<Environment>(['clock', 'timers', 'random']),
      store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
    })
    this.#store = checked.store
    this.#jobs = new Jobs(checked)
  }

  /**
   * Notes a new replica set without a primary; a first one comes by {@link ReplicaSets.changePrimary} as an emergency. Does
   * nothing when exactly this set is there already.
   *
   * @throws KeelsonError `CONFLICT` when there is another set of this name, `INVALID_ARGUMENT`
   */
  async create(name: string, set: QuorumSet, options: CallOptions = {}): Promise<ReplicaSetRecord> {
    const key = replicaSetKey(name)
    checkObject(set, 'a replica set', ['slots', 'epoch', 'writeQuorum', 'readQuorum'])
    checkCall('create', options)
    const record: ReplicaSetRecord = {
      set: new QuorumSet(set),
      unsealed: [],
      primary: undefined,
      sequence: 0,
    }
    const value = encodeReplicaSet(record)
    const { succeeded } = await this.#store.txn(
      { if: [{ key, target: 'version', is: '=', operand: 0 }], then: [{ type: 'put', key, value }] },
      options,
    )
    if (succeeded) return record
    const there = await this.get(name, options)
    const same = there !== undefined && showMembers(there.record.set) === showMembers(record.set)
    if (there !== undefined && same) return there.record
    throw new KeelsonError(
      'CONFLICT',
      `there is a replica set ${name} already; give the new one another name`,
      {
        retryable: false,
      },
    )
  }

  /** A replica set, or undefined when there is none of this name. */
  async get(name: string, options: CallOptions = {}): Promise<StoredReplicaSet | undefined> {
    const key = replicaSetKey(name)
    checkCall('get', options)
    const { entries, revision: readAt } = await this.#store.range({ key }, options)
    const [entry] = entries
    return entry === undefined
      ? undefined
      : { record: decodeReplicaSet(entry.value), revision: entry.modRevision, readAt }
  }

  /**
   * Has a candidate take the place of a member that is suspect; `incarnation` is the life of the candidate's data. Until the candidate has taken over everything, writes need the
   * quorums of both sets, and the suspect may come back; cancelling the job undoes it.
   *
   * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT`
   */
  async changeMember(
    name: string,
    change: {
      readonly suspect: NodeId
      readonly candidate: NodeId
      readonly incarnation: Incarnation
      readonly mayReturn?: boolean
    },
    options: ReplicaSetCall,
  ): Promise<Job> {
    checkObject(change, 'a change of members', ['suspect', 'candidate', 'incarnation'])
    const { suspect, candidate, incarnation, mayReturn = true } = change
    checkName(suspect, 'the suspect of a change of members')
    checkName(candidate, 'the candidate of a change of members')
    checkId(incarnation, 'the incarnation of the candidate')
    if (typeof mayReturn !== 'boolean') refuse(`mayReturn is true or false, not ${showValue(mayReturn)}`)
    if (suspect === candidate) refuse('a member does not take the place of itself')
    return this.#begin(
      setChangeForm,
      { name, change: { suspect, candidate, incarnation, mayReturn, begun: false } },
      options,
    )
  }

  /**
   * Changes the primary. Planned: the old one steps down, and nothing is lost. In an `emergency` the old one is fenced: it is
   * refused when a read quorum does not answer and acknowledged writes might be lost, unless that is forced.
   *
   * @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT`, `CONFLICT` while another change of its primary runs
   */
  async changePrimary(
    name: string,
    change: { readonly to?: NodeId; readonly emergency?: boolean; readonly force?: boolean },
    options: ReplicaSetCall,
  ): Promise<Job> {
    checkObject(change, 'a change of primary')
    const { to, emergency = false, force = false } = change
    if (to !== undefined) checkName(to, 'the new primary')
    for (const flag of [emergency, force])
      if (typeof flag !== 'boolean') refuse(`emergency and force are true or false, not ${showValue(flag)}`)
    if (to === undefined && !emergency) refuse('a planned change of primary says who is to be primary')
    if (force && !emergency) refuse('only an emergency is forced')
    return this.#begin(primaryChangeForm, { name, change: { to, emergency, force } }, options)
  }

  async #begin<State extends { readonly name: string }>(
    form: JobForm<State>,
    state: State,
    options: ReplicaSetCall,
  ): Promise<Job> {
    const { name } = state
    checkCall(form.type, options, ['reason'])
    checkText(options.reason, 'the reason, for people to read,', 1024)
    const { reason, ...call } = options
    if ((await this.get(name, call)) === undefined)
      throw new KeelsonError('NOT_FOUND', `there is no replica set ${name}; create it first`)
    const { job, created } = await this.#jobs.create(form, state, { ...call, reason, key: name })
    if (created) return job
    throw new KeelsonError(
      'CONFLICT',
      `replica set ${name} is being changed by job ${job.jobId} (${job.reason}); wait for it or cancel it`,
      { retryable: false, details: { jobId: job.jobId } },
    )
  }
}

/** The next record, if nobody has changed the one that it was decided on. */
export function replaceReplicaSet(
  name: string,
  seen: StoredReplicaSet,
  next: ReplicaSetRecord,
): { readonly if: readonly Compare[]; readonly then: readonly Operation[] } {
  const key = replicaSetKey(name)
  return {
    if: [{ key, target: 'modRevision', is: '=', operand: seen.revision }],
    then: [{ type: 'put', key, value: encodeReplicaSet(next) }],
  }
}

function replicaSetKey(name: string): Uint8Array {
  return pathKey('/placement/', 'replica-sets', checkName(name, 'the name of a replica set'))
}

function showMembers(set: QuorumSet): string {
  return JSON.stringify([set.slots, set.writeQuorum, set.readQuorum])
}

function refuse(problem: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', problem)
}
