import { KeelsonError } from '../../core/errors.ts'
import type { JobContext } from '../../jobs/job-type.ts'
import { Jobs } from '../../jobs/jobs.ts'
import type { RangeDescriptor, ReplicaDescriptor } from '../../model/descriptors.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import { timeInWords } from '../core/copy-meter.ts'
import { type Blocker, whatForbidsLoss } from '../core/maintenance.ts'
import type { MoveGoal } from '../core/steps.ts'
import { needPriority } from '../core/survey.ts'
import { leaseHolderOf } from '../range-reports.ts'
import type { CheckedOperationPorts, OperatedNode } from './options.ts'
import type { Absence } from './state.ts'

/** Reasons that are told at a time. */
const toldReasons = 5
/** A lease whose transfer has ended and that is still there is tried again after so long. */
const retryMs = 5_000
/** How much of the bound a change of leaders gives back at most. */
const checkpointMs = 10_000

/** What a job lends to the work that it has done. */
export type OperationContext = Pick<
  JobContext<unknown>,
  'jobId' | 'reason' | 'signal' | 'progress' | 'waitFor' | 'sleep'
>

/** How an absence is carried out. */
export interface AbsenceOptions {
  /** Ranges may become unavailable by it. */
  readonly force: boolean
  /** The nodes are restarted, by the port or by a person: the end of the bound without that is a failure. */
  readonly restart: boolean
  /** What people read before everything else. */
  readonly prefix: string
  /** From 0 to 1: how much was done before, and how much this is. */
  readonly share: readonly [before: number, own: number]
}

/**
 * Takes nodes down for a while. Their leases leave; once they hold none, and every range bears their loss, they may go
 * down; they are back when they hold new sessions and all their replicas have caught up. The bound runs while they may be
 * down. Replicas stay where they are.
 *
 * Of two operations under way at once the younger counts the nodes of the older as down, and each those that may be down
 * already, so that no range loses its quorum to both.
 */
export class AbsenceWork {
  readonly #ports: CheckedOperationPorts
  readonly #context: OperationContext
  readonly #options: AbsenceOptions
  readonly #jobs: Jobs
  readonly #asked = new Map<RangeId, number>()
  #restarted = new Set<NodeId>()

  constructor(ports: CheckedOperationPorts, context: OperationContext, options: AbsenceOptions) {
    this.#ports = ports
    this.#context = context
    this.#options = options
    this.#jobs = new Jobs({ env: ports.env, store: ports.store })
  }

  /**
   * Carries it out from where it stands, and says what came of it.
   *
   * @throws KeelsonError `TIMEOUT`, `NOT_FOUND`, `CONFLICT`
   */
  async carryOut(begun: Absence, save: (absence: Absence) => Promise<void>): Promise<string> {
    const { clock } = this.#ports.env
    const { pollIntervalMs, clearTimeoutMs } = this.#ports
    let absence = begun
    let savedMs = clock.monotonicMs()
    const keep = async (next: Absence): Promise<void> => {
      await save(next)
      absence = next
      savedMs = clock.monotonicMs()
    }
    for (;;) {
      const nodes = this.#nodes(absence)
      const elapsedMs = clock.monotonicMs() - savedMs
      if (absence.stage === 'clearing') {
        const blockers = await this.#clear(absence, nodes)
        if (blockers.length === 0) {
          await keep({ ...absence, stage: 'away', epochs: nodes.map(({ epoch }) => epoch) })
          continue
        }
        if (elapsedMs >= clearTimeoutMs) throw this.#tooLate(clearTimeoutMs, blockers)
      } else {
        const outcome = await this.#follow(absence, nodes, absence.remainingMs - elapsedMs)
        if (outcome === 'clear') {
          await keep({ ...absence, stage: 'clearing' })
          continue
        }
        if (outcome !== undefined) return outcome
        if (elapsedMs >= Math.min(checkpointMs, absence.remainingMs / 10))
          await keep({ ...absence, remainingMs: Math.max(0, Math.ceil(absence.remainingMs - elapsedMs)) })
      }
      await this.#context.sleep(pollIntervalMs)
    }
  }

  /** Gets the leases off, and says what still stands in the way of going down. */
  async #clear(absence: Absence, nodes: readonly OperatedNode[]): Promise<readonly Blocker[]> {
    const leaving = new Set(absence.nodeIds)
    const blockers: Blocker[] = []
    // A node that is down already has nothing to lose.
    for (const node of nodes) if (node.liveness === 'dead') leaving.delete(node.descriptor.nodeId)
    if (!this.#options.force) blockers.push(...this.#forbidding(leaving))
    const leases = this.#leasesOn(leaving)
    const heirs = new Map<NodeId, number>()
    for (const range of leases) {
      const why = await this.#moveLease(range, new Set(absence.nodeIds), heirs)
      if (why !== undefined) blockers.push(why)
    }
    const [before] = this.#options.share
    const why = blockers.slice(0, toldReasons).map((each) => each.why)
    const more = blockers.length > toldReasons ? `, and ${blockers.length - toldReasons} more` : ''
    this.#context.progress(
      `${this.#options.prefix}${absence.nodeIds.join(', ')}: ${leases.length} leases have to leave${why.length > 0 ? `; ${why.join('; ')}${more}` : ''}`,
      before,
    )
    this.#context.waitFor(namesOf(blockers))
    return blockers
  }

  /** What happens while they may be down. @returns the outcome when it is over, `clear` when they may not go down yet */
  async #follow(
    absence: Absence,
    nodes: readonly OperatedNode[],
    remainingMs: number,
  ): Promise<string | undefined> {
    const [before, own] = this.#options.share
    const { prefix, restart, force } = this.#options
    const still = nodes.filter((node, i) => node.liveness !== 'dead' && node.epoch === absence.epochs[i])
    const away = nodes.filter((node) => node.liveness === 'dead')
    const names = absence.nodeIds.join(', ')
    const bound = `expected back within ${timeInWords(Math.max(0, remainingMs))}`
    if (remainingMs <= 0) return this.#over(still, away)
    if (still.length === nodes.length && !force) {
      const leaving = new Set(absence.nodeIds)
      if (this.#forbidding(leaving).length > 0 || this.#leasesOn(leaving).length > 0) return 'clear'
    }
    if (still.length > 0) {
      await this.#restart(still)
      const whose = this.#ports.restart === undefined || !restart ? 'may go down now' : 'are being restarted'
      this.#context.progress(`${prefix}${nodeNames(still)} ${whose}; ${bound}`, before + own * 0.3)
      this.#context.waitFor(still.map(nodeIdOf))
      return undefined
    }
    if (away.length > 0) {
      this.#context.progress(
        `${prefix}${nodeNames(away)} ${away.length > 1 ? 'are' : 'is'} away; ${bound}`,
        before + own * 0.5,
      )
      this.#context.waitFor(away.map(nodeIdOf))
      return undefined
    }
    const lagging = this.#lagging(new Set(absence.nodeIds))
    if (lagging.length === 0) return `${names} ${nodes.length > 1 ? 'are' : 'is'} back`
    this.#context.progress(
      `${prefix}${names} back; ${lagging.length} replicas have to catch up`,
      before + own * 0.8,
    )
    this.#context.waitFor(lagging.slice(0, toldReasons).map((rangeId) => `range ${rangeId}`))
    return undefined
  }

  /** The bound has passed. */
  #over(still: readonly OperatedNode[], away: readonly OperatedNode[]): string {
    const fail = (problem: string): never => {
      throw new KeelsonError('TIMEOUT', problem, { retryable: false })
    }
    if (away.length > 0)
      fail(`${nodeNames(away)} not back in time: what they hold counts as that of any node that is dead`)
    if (still.length > 0 && this.#options.restart) fail(`${nodeNames(still)} not restarted in time`)
    return 'the bound has passed; the nodes take leases and replicas again'
  }

  async #restart(still: readonly OperatedNode[]): Promise<void> {
    const { restart } = this.#ports
    if (restart === undefined || !this.#options.restart) return
    for (const node of still) {
      const nodeId = nodeIdOf(node)
      if (this.#restarted.has(nodeId)) continue
      this.#restarted.add(nodeId)
      await restart(nodeId, { signal: this.#context.signal })
    }
  }

  #nodes(absence: Absence): readonly OperatedNode[] {
    const known = new Map(this.#ports.nodes().map((node) => [nodeIdOf(node), node]))
    return absence.nodeIds.map((nodeId) => {
      const node = known.get(nodeId)
      if (node === undefined)
        throw new KeelsonError('NOT_FOUND', `there is no node ${nodeId}; look at the list of nodes`)
      if (node.state === 'decommissioned')
        throw new KeelsonError('CONFLICT', `node ${nodeId} was decommissioned`, { retryable: false })
      return node
    })
  }

  /** Ranges that do not bear the loss of these nodes. */
  #forbidding(leaving: ReadonlySet<NodeId>): readonly Blocker[] {
    const isUp = this.#isUp()
    const found: Blocker[] = []
    for (const range of this.#newest(leaving)) {
      const blocker = whatForbidsLoss(range, leaving, isUp)
      if (blocker !== undefined) found.push(blocker)
    }
    return found
  }

  /** Whether a replica can be counted on: its node is up and in nobody else's maintenance that goes before ours. */
  #isUp(): (replica: ReplicaDescriptor) => boolean {
    const { jobId } = this.#context
    const known = new Map(this.#ports.nodes().map((node) => [nodeIdOf(node), node]))
    const counted = new Map<NodeId, boolean>()
    for (const [nodeId, node] of known) {
      const others = this.#ports.maintenance.others(nodeId, jobId)
      const taken = others.some((each) => each.stage === 'away' || each.jobId < jobId)
      counted.set(nodeId, node.liveness !== 'dead' && !taken)
    }
    return ({ nodeId, incarnation }) =>
      counted.get(nodeId) === true && known.get(nodeId)?.descriptor.incarnation === incarnation
  }

  /**
   * The ranges on these nodes by what they report, where that is newer than the directory. A replica that only the reports
   * know yet is a new learner: before it gets a vote, whoever gives it that writes it down.
   */
  *#newest(nodeIds: ReadonlySet<NodeId>): Iterable<RangeDescriptor> {
    for (const range of this.#ports.rangesOn(nodeIds)) {
      let newest = range
      for (const { replica } of this.#ports.observed(range.rangeId))
        if (replica.generation > newest.generation)
          newest = { ...range, generation: replica.generation, replicas: replica.replicas }
      yield newest
    }
  }

  #leasesOn(nodeIds: ReadonlySet<NodeId>): readonly RangeDescriptor[] {
    const found: RangeDescriptor[] = []
    for (const range of this.#newest(nodeIds)) {
      const holder = leaseHolderOf(this.#ports.observed(range.rangeId))?.replicaId
      if (range.replicas.some((each) => each.replicaId === holder && nodeIds.has(each.nodeId)))
        found.push(range)
    }
    return found
  }

  /** Has a lease handed on, and says what it waits for. */
  async #moveLease(
    range: RangeDescriptor,
    leaving: ReadonlySet<NodeId>,
    heirs: Map<NodeId, number>,
  ): Promise<Blocker | undefined> {
    const { rangeId } = range
    const holder = leaseHolderOf(this.#ports.observed(rangeId))
    const isUp = this.#isUp()
    const voters = range.replicas.filter(({ role, nodeId }) => role === 'voter' && !leaving.has(nodeId))
    const ready = voters.filter((each) => isUp(each) && holder?.caughtUp.includes(each.replicaId) === true)
    const fewest = ready.sort((a, b) => (heirs.get(a.nodeId) ?? 0) - (heirs.get(b.nodeId) ?? 0))[0]
    if (fewest === undefined) {
      // Where the loss of the range is accepted, so is that of its lease.
      if (this.#options.force && voters.length === 0) return undefined
      const nodes = voters.map(({ nodeId }) => nodeId)
      const whom = nodes.length === 0 ? 'it has no other voter' : `${nodes.join(', ')} cannot take it yet`
      return { rangeId, why: `the lease of range ${rangeId} cannot leave: ${whom}`, nodes }
    }
    heirs.set(fewest.nodeId, (heirs.get(fewest.nodeId) ?? 0) + 1)
    const waiting = { rangeId, why: `the lease of range ${rangeId} goes to ${fewest.nodeId}`, nodes: [] }
    const nowMs = this.#ports.env.clock.monotonicMs()
    for (const [each, askedMs] of this.#asked) if (nowMs - askedMs >= retryMs) this.#asked.delete(each)
    if (this.#asked.has(rangeId) || this.#asked.size >= this.#ports.transfers) return waiting
    this.#asked.set(rangeId, nowMs)
    const leaseTo = { replicaId: fewest.replicaId, nodeId: fewest.nodeId }
    const goal: MoveGoal = { rangeId, kind: 'transferLease', priority: needPriority.leaseOff, leaseTo }
    const { signal, reason } = this.#context
    await this.#jobs.create(
      this.#ports.move,
      { goal },
      {
        reason: `its node goes down: ${reason}`.slice(0, 1024),
        key: `range/${rangeId}`,
        fence: this.#ports.epoch,
        signal,
      },
    )
    return waiting
  }

  /** Ranges whose replicas on these nodes have not caught up. */
  #lagging(nodeIds: ReadonlySet<NodeId>): readonly RangeId[] {
    const found: RangeId[] = []
    for (const range of this.#newest(nodeIds)) {
      const own = range.replicas.filter(({ nodeId }) => nodeIds.has(nodeId))
      if (own.length === 0) continue
      const holder = leaseHolderOf(this.#ports.observed(range.rangeId))
      if (own.some(({ replicaId }) => holder?.caughtUp.includes(replicaId) !== true))
        found.push(range.rangeId)
    }
    return found
  }

  #tooLate(limitMs: number, blockers: readonly Blocker[]): KeelsonError {
    const why = blockers.slice(0, toldReasons).map((each) => each.why)
    return new KeelsonError(
      'TIMEOUT',
      `the nodes could not be made ready to go down within ${limitMs} ms: ${why.join('; ')}`,
      { retryable: false },
    )
  }
}

/** Whom blockers wait for: nodes by name, or the ranges where there are none. */
export function namesOf(blockers: readonly Blocker[]): readonly string[] {
  const names = blockers.flatMap(({ nodes, rangeId }) => (nodes.length === 0 ? [`range ${rangeId}`] : nodes))
  return [...new Set(names)].slice(0, 20)
}

function nodeIdOf(node: OperatedNode): NodeId {
  return node.descriptor.nodeId
}

function nodeNames(nodes: readonly OperatedNode[]): string {
  return nodes.map(nodeIdOf).join(', ')
}
