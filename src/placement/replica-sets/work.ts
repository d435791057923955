import { abortable, type CallOptions, deadline } from '../../core/async.ts'
import type { Environment } from '../../core/environment.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkOptions, functionOption, integerOption, objectOption, optional } from '../../core/options.ts'
import type { MetadataStore } from '../../interfaces/metadata-store.ts'
import type { NodeId } from '../../model/ids.ts'
import type { MemberStatus, ReplicaSetRecord, SetView } from './core/change.ts'
import type { ReplicaSetHost } from './host.ts'
import { ReplicaSets, type StoredReplicaSet } from './replica-sets.ts'

/** Tuning of changes of replica sets. */
export interface ReplicaSetTuning {
  /** How often the members are looked at. */
  readonly pollIntervalMs: number
  /** How long one call to a member may take. */
  readonly callTimeoutMs: number
  /** How long a step may take without anything new. */
  readonly stepTimeoutMs: number
  /** How long a candidate may take to be complete, as long as its log grows. */
  readonly hydrateTimeoutMs: number
  /**
   * How long nobody takes writes in a planned change, before the old primary resumes; and once there is no way back, how long
   * who is to be primary has to begin or come closer to it, before another one is elected.
   */
  readonly maximumOutageMs: number
}

/** Used when nothing else is given. */
export const defaultReplicaSetTuning: ReplicaSetTuning = Object.freeze({
  pollIntervalMs: 100,
  callTimeoutMs: 2000,
  stepTimeoutMs: 60_000,
  hydrateTimeoutMs: 3_600_000,
  maximumOutageMs: 10_000,
})

/** What changes of replica sets need. */
export interface ReplicaSetPorts extends Partial<ReplicaSetTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the sets are kept. */
  readonly store: MetadataStore
  /** Calls to single members. */
  readonly host: ReplicaSetHost
  /**
   * Grants the next sequence to a new primary, which is higher than the one of before: where the sequences are those of
   * session leases, by having the lease handed on or, in an emergency, by having the old holder's session revoked. Called
   * again with the same arguments after a change of leaders; and without a `to` where the one before was granted its sequence
   * and does not begin. Default: one more than the last.
   */
  readonly grant?: (
    name: string,
    to: NodeId | undefined,
    before: Pick<ReplicaSetRecord, 'primary' | 'sequence'>,
    call: CallOptions,
  ) => Promise<number>
}

/** Ports and tuning, all of it. */
export type CheckedReplicaSetPorts = Required<Omit<ReplicaSetPorts, 'grant'>> & Pick<ReplicaSetPorts, 'grant'>

/** @throws KeelsonError `INVALID_OPTION` */
export function checkReplicaSetPorts(where: string, ports: ReplicaSetPorts): CheckedReplicaSetPorts {
  const fallback = defaultReplicaSetTuning
  const count = (name: keyof ReplicaSetTuning): ReturnType<typeof integerOption> =>
    integerOption({ min: 1, fallback: fallback[name] })
  return checkOptions<{
    readonly [K in keyof CheckedReplicaSetPorts]-?: CheckedReplicaSetPorts[K] | undefined
  }>(where, ports, {
    env: objectOption<Environment>(['clock', 'timers', 'random', 'logger']),
    store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
    host: objectOption<ReplicaSetHost>([
      'status',
      'install',
      'hydrate',
      'retire',
      'stepDown',
      'resume',
      'catchUp',
      'promote',
    ]),
    grant: optional(functionOption<NonNullable<ReplicaSetPorts['grant']>>()),
    pollIntervalMs: count('pollIntervalMs'),
    callTimeoutMs: count('callTimeoutMs'),
    stepTimeoutMs: count('stepTimeoutMs'),
    hydrateTimeoutMs: count('hydrateTimeoutMs'),
    maximumOutageMs: count('maximumOutageMs'),
  }) as CheckedReplicaSetPorts
}

/** Reads a replica set and asks its members, for one attempt at one change. */
export class ReplicaSetWork {
  readonly ports: CheckedReplicaSetPorts
  readonly name: string
  readonly #sets: ReplicaSets
  readonly #signal: AbortSignal
  /** Members that answered at the last look with another life of their data than the one that is a member. */
  #forgetful = new Set<NodeId>()

  constructor(ports: CheckedReplicaSetPorts, name: string, signal: AbortSignal) {
    this.ports = ports
    this.name = name
    this.#signal = signal
    this.#sets = new ReplicaSets({ env: ports.env, store: ports.store })
  }

  /** The set as it is now, and what its members say. @throws KeelsonError `NOT_FOUND` */
  async look(
    others: readonly NodeId[] = [],
  ): Promise<{ readonly seen: StoredReplicaSet; readonly view: SetView }> {
    const seen = await this.#sets.get(this.name, { signal: this.#signal })
    if (seen === undefined)
      throw new KeelsonError('NOT_FOUND', `there is no replica set ${this.name} any more`)
    const { record } = seen
    const names = new Set(others)
    for (const set of [record.set, ...record.unsealed])
      for (const { nodeId } of set.members) names.add(nodeId)
    const members = new Map<NodeId, MemberStatus>()
    const all = [...names]
    const answers = await Promise.all(
      all.map((nodeId) => this.ask((call) => this.ports.host.status(this.name, nodeId, call))),
    )
    this.#forgetful = new Set()
    answers.forEach((status, i) => {
      const nodeId = all[i] as NodeId
      if (status === undefined) return
      if (isLife(nodeId, status, record)) members.set(nodeId, status)
      else this.#forgetful.add(nodeId)
    })
    return { seen, view: { record, members } }
  }

  /** A step that has had its time, and which members are of no help in it. */
  tooLate(why: string, limitMs: number, { record, members }: SetView): KeelsonError {
    const missing = record.set.members
      .map(({ nodeId }) => nodeId)
      .filter((nodeId) => !members.has(nodeId))
      .map((nodeId) => `${nodeId} ${this.#forgetful.has(nodeId) ? 'has lost its data' : 'does not answer'}`)
    const who = missing.length === 0 ? '' : ` (${missing.join(', ')})`
    return new KeelsonError('TIMEOUT', `no progress for ${limitMs} ms: ${why}${who}`, { retryable: false })
  }

  /** Tells members of epoch and sequence. Those that do not answer are told again. */
  async install(nodeIds: readonly NodeId[], record: ReplicaSetRecord): Promise<void> {
    const { name } = this
    const { set, sequence } = record
    await Promise.all(
      nodeIds.map((nodeId) =>
        this.ask((call) => this.ports.host.install(nodeId, { name, set, sequence }, call)),
      ),
    )
  }

  /**
   * A call to a member. Undefined when it cannot be asked, or obeys something newer: the next look shows what is so.
   *
   * @throws KeelsonError for everything else
   */
  async ask<T>(call: (options: CallOptions) => Promise<T>): Promise<T | undefined> {
    const { env, callTimeoutMs } = this.ports
    const limit = deadline(
      env.timers,
      callTimeoutMs,
      () =>
        new KeelsonError('TIMEOUT', 'a member of a replica set did not answer in time; it is asked again'),
      this.#signal,
    )
    try {
      return await abortable(call({ signal: limit.signal }), limit.signal, 'unknown')
    } catch (error) {
      if (this.#signal.aborted) throw error
      if (limit.signal.aborted) return undefined
      if (!KeelsonError.is(error)) throw error
      if (error.retryable || KeelsonError.hasCode(error, 'STALE_EPOCH', 'STALE_SEQUENCE', 'QUARANTINED'))
        return undefined
      throw error
    } finally {
      limit.release()
    }
  }
}

/** Whoever is in a set answers for it only with the life of its data that is meant there. */
function isLife(nodeId: NodeId, { incarnation }: MemberStatus, { set, unsealed }: ReplicaSetRecord): boolean {
  return [set, ...unsealed].every((each) => (each.member(nodeId)?.incarnation ?? incarnation) === incarnation)
}
