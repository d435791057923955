import type { Clock } from '../../core/clock.ts'
import type { KeelsonError } from '../../core/errors.ts'
import type { Counter, Gauge, Histogram, Labels, Metrics } from '../../core/metrics.ts'
import type { NodeId, ReplicaId } from '../../model/ids.ts'
import type { Leadership } from '../core/types.ts'
import type { PendingProposal } from '../group/pending-proposals.ts'
import type { PendingRead } from '../group/pending-reads.ts'
import type { ReplicaMetrics } from '../group/replica-metrics.ts'

/** Of a replica, what {@link HostMetrics} looks at. */
export interface MeasuredReplica {
  readonly rests: boolean
  readonly token: number | undefined
  readonly holdsLease: boolean
  readonly pendingProposals: number
  /** Entries in the log that are not known to be committed, and committed ones that are not applied. */
  readonly commitLag: number
  readonly applyLag: number
}

/** What {@link HostMetrics} needs of its host. */
export interface HostMetricsOptions {
  readonly metrics: Metrics
  readonly clock: Clock
  readonly nodeId: NodeId
  /** How many groups are open. */
  readonly openGroups: () => number
  /** All replicas that do not rest, and perhaps some that do. */
  readonly awake: () => Iterable<MeasuredReplica>
}

const latencyBuckets = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5] as const

/** One proposal and one read in so many milliseconds are timed: enough to see, and no cost where there are many. */
const timedEveryMs = 1

const begun: Labels = Object.freeze({ outcome: 'begun' })
const won: Labels = Object.freeze({ outcome: 'won' })
const byLease: Labels = Object.freeze({ by: 'lease' })
const byRound: Labels = Object.freeze({ by: 'round' })

/**
 * The metrics of a host's groups. What happens is counted when it happens. What is, is looked up when somebody reads the
 * metrics, and only of those replicas that are awake: idle groups cost nothing, and neither does a host that nobody reads.
 */
export class HostMetrics implements ReplicaMetrics {
  readonly #options: HostMetricsOptions
  readonly #labels: Labels
  readonly #elections: Counter
  readonly #leaderChanges: Counter
  readonly #proposals: Counter
  readonly #refused: Counter
  readonly #reads: Counter
  readonly #proposeSeconds: Histogram
  readonly #readSeconds: Histogram
  readonly #gauges: ReadonlyMap<GaugeName, Gauge>
  readonly #quarantined = new Set<object>()
  readonly #stopReading: (() => void) | undefined
  #led = 0
  /** Counted here, and handed on when the metrics are read: they are many. */
  #proposed = 0
  #readsByLease = 0
  #readsByRound = 0
  #proposalTimedMs = Number.NEGATIVE_INFINITY
  #readTimedMs = Number.NEGATIVE_INFINITY

  constructor(options: HostMetricsOptions) {
    const { metrics, nodeId } = options
    this.#options = options
    this.#labels = Object.freeze({ node: nodeId })
    this.#elections = metrics.counter(
      'keelson_raft_elections_total',
      'Elections that replicas of this node began, and won',
    )
    this.#leaderChanges = metrics.counter(
      'keelson_raft_leader_changes_total',
      'Times that a replica of this node heard of another leader than the last one',
    )
    this.#proposals = metrics.counter('keelson_raft_proposals_total', 'Proposals that were taken')
    this.#refused = metrics.counter(
      'keelson_raft_proposals_refused_total',
      'Proposals that were refused at once, by code',
    )
    this.#reads = metrics.counter(
      'keelson_raft_reads_total',
      'Reads, by a lease alone or by a round of messages',
    )
    this.#proposeSeconds = metrics.histogram(
      'keelson_raft_propose_seconds',
      'Time from a proposal to its outcome; a sample of those that succeeded',
      latencyBuckets,
    )
    this.#readSeconds = metrics.histogram(
      'keelson_raft_read_seconds',
      'Time of a read that waited; a sample of those that succeeded',
      latencyBuckets,
    )
    this.#gauges = new Map(
      (Object.keys(gaugeHelp) as GaugeName[]).map((name) => [
        name,
        metrics.gauge(`keelson_raft_${name}`, gaugeHelp[name]),
      ]),
    )
    this.#stopReading = metrics.beforeRead?.(() => this.update())
  }

  serves(isServing: boolean): void {
    this.#led += isServing ? 1 : -1
  }

  leadership({ role, leader }: Leadership, before: ReplicaId): void {
    if (role === 'candidate') this.#elections.add(1, begun)
    if (role === 'leader') this.#elections.add(1, won)
    if (leader !== 0 && leader !== before) this.#leaderChanges.add()
  }

  quarantined(replica: object, isOpen: boolean): void {
    if (isOpen) this.#quarantined.add(replica)
    else this.#quarantined.delete(replica)
  }

  proposed(proposal: PendingProposal, refusal: KeelsonError | undefined, atMs: number): void {
    if (refusal !== undefined) {
      this.#refused.add(1, { code: refusal.code })
      return
    }
    this.#proposed++
    const { settle } = proposal
    if (atMs - this.#proposalTimedMs < timedEveryMs || settle === undefined) return
    this.#proposalTimedMs = atMs
    proposal.settle = (outcome, index) => {
      if (!(outcome instanceof Error)) this.#proposeSeconds.observe(this.#secondsSince(atMs))
      settle(outcome, index)
    }
  }

  readAsked(read: PendingRead, refusal: KeelsonError | undefined, atMs: number): void {
    if (refusal !== undefined) return
    this.#readsByRound++
    const { settle } = read
    if (atMs - this.#readTimedMs < timedEveryMs || settle === undefined) return
    this.#readTimedMs = atMs
    read.settle = (error) => {
      if (error === undefined) this.#readSeconds.observe(this.#secondsSince(atMs))
      settle(error)
    }
  }

  readAtOnce(): void {
    this.#readsByLease++
  }

  /** Brings everything up to date. */
  update(): void {
    this.#proposals.add(this.#proposed)
    this.#reads.add(this.#readsByLease, byLease)
    this.#reads.add(this.#readsByRound, byRound)
    this.#proposed = this.#readsByLease = this.#readsByRound = 0
    let awake = 0
    let leased = 0
    let pending = 0
    const commit = { sum: 0, most: 0 }
    const apply = { sum: 0, most: 0 }
    for (const replica of this.#options.awake()) {
      if (replica.rests) continue
      awake++
      pending += replica.pendingProposals
      if (replica.token !== undefined) {
        if (replica.holdsLease) leased++
        count(commit, replica.commitLag)
      }
      count(apply, replica.applyLag)
    }
    const open = this.#options.openGroups()
    this.#set('groups_open', open)
    this.#set('groups_led', this.#led)
    this.#set('groups_at_rest', Math.max(0, open - awake))
    this.#set('groups_quarantined', this.#quarantined.size)
    this.#set('leases_held', leased)
    this.#set('proposals_pending', pending)
    this.#set('commit_lag_entries', commit.sum)
    this.#set('commit_lag_entries_max', commit.most)
    this.#set('apply_lag_entries', apply.sum)
    this.#set('apply_lag_entries_max', apply.most)
  }

  /** The host has closed: what is left to count is handed on, and the gauges say that there is nothing any more. */
  close(): void {
    this.update()
    this.#stopReading?.()
  }

  #set(name: GaugeName, value: number): void {
    this.#gauges.get(name)?.set(value, this.#labels)
  }

  #secondsSince(atMs: number): number {
    return (this.#options.clock.monotonicMs() - atMs) / 1000
  }
}

const gaugeHelp = {
  groups_open: 'Groups that are open on this node',
  groups_led: 'Groups that this node leads and may serve',
  groups_at_rest: 'Groups that are open and have no timer and no message to send, stopped ones included',
  groups_quarantined: 'Groups whose replica here is quarantined',
  leases_held: 'Groups that this node leads by a valid lease, of those that are awake',
  proposals_pending: 'Proposals whose outcome is open',
  commit_lag_entries: 'Entries in the logs of the groups led here that are not committed yet',
  commit_lag_entries_max: 'The most of them that one group has',
  apply_lag_entries: 'Committed entries that the state machines here have not applied yet',
  apply_lag_entries_max: 'The most of them that one group has',
} as const

type GaugeName = keyof typeof gaugeHelp

function count(lag: { sum: number; most: number }, entries: number): void {
  lag.sum += entries
  lag.most = Math.max(lag.most, entries)
}
