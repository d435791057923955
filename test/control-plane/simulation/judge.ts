import { text } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { KeyValue, MetadataStore } from '../../../src/interfaces/metadata-store.ts'
import { decodeJob, isFinished } from '../../../src/jobs/core/record.ts'
import {
  decodeRangeDescriptor,
  decodeWantedRange,
  everything,
  followKeys,
} from '../../../src/metadata/index.ts'
import type { RangeDescriptor } from '../../../src/model/descriptors.ts'
import { decodeNodeRecord } from '../../../src/nodes/index.ts'
import { repairPriority } from '../../../src/placement/core/survey.ts'
import { type MoveGoal, moveJobType } from '../../../src/placement/index.ts'
import { decodeMoveState } from '../../../src/placement/move-state.ts'
import { decodeTable } from '../../../src/schema/core/records.ts'
import type { MemoryDataPlane } from './data-plane.ts'

/** What the judge knows of an agent beside the store. */
export interface JudgedAgent {
  readonly name: string
  readonly running: boolean
  /** Its epoch, if it believes that it may act under it. */
  readonly actsUnder: number | undefined
  /** Whether it can talk with a server at this moment. */
  readonly connected: boolean
}

export interface JudgeSettings {
  readonly sessionTtlMs: number
  readonly schemaLeaseMs: number
  readonly dampingMs: number
}

/** Real clocks drift, and the judge looks only now and then. */
const slackMs = 150

/**
 * Judges the whole composition by the order of what is written to the store, which is the truth of the control plane,
 * and by what its parts believe at the same time. The first invariant that does not hold ends the run.
 */
export class Judge {
  readonly #plane: MemoryDataPlane
  readonly #settings: JudgeSettings
  readonly #nowMs: () => number
  /** The first invariant that did not hold. */
  broken: unknown
  readonly #ranges = new Map<number, RangeDescriptor>()
  /** Epoch of the control plane, by the store. */
  #epoch = 0
  readonly #changes = new Map<number, { readonly generation: number; readonly epoch: number }>()
  readonly #jobEpochs = new Map<number, number>()
  /** Sessions of nodes: the last one of each, and those that have ended. */
  readonly #sessions = new Map<string, number>()
  readonly ended = new Set<number>()
  /** All below ended with a quorum that was lost. */
  endedBelow = 0
  readonly #states = new Map<string, { readonly state: string; readonly sinceMs: number }>()
  readonly #moved = new Map<number, { readonly goal: MoveGoal; readonly atMs: number }>()
  readonly #finished = new Set<number>()
  readonly #knownJobs = new Set<number>()
  readonly #cutSinceMs = new Map<string, number>()
  /** Versions that were published, by table: what the judge saw, so perhaps fewer than there are. */
  readonly #published = new Map<number, number>()
  /** Since the last loss. */
  #countsFrom = 0
  /** By the last snapshot, of what came and went while nobody saw it. */
  #isPresent = (_epoch: number): boolean => true
  accepted = 0
  refusedAtBarrier = 0
  adjacentUse = 0
  epochsSeen = 0
  versionsSeen = 0

  constructor(plane: MemoryDataPlane, nowMs: () => number, settings: JudgeSettings) {
    this.#plane = plane
    this.#nowMs = nowMs
    this.#settings = settings
  }

  violated(what: string): void {
    this.broken ??= new KeelsonError('INVARIANT_VIOLATED', what)
  }

  /** Follows the whole store, for ever. */
  async watch(store: MetadataStore): Promise<void> {
    let first = true
    for await (const step of followKeys(store, everything)) {
      const events =
        step.type === 'changes'
          ? step.events
          : step.entries
              .map((entry) => ({ type: 'put' as const, entry }))
              .sort((a, b) => a.entry.modRevision - b.entry.modRevision)
      if (step.type === 'snapshot' && !first) {
        this.#forget()
        const present = new Set(step.entries.map(({ session }) => session))
        this.#isPresent = (epoch) => epoch > step.revision || present.has(epoch)
      }
      first = false
      // One revision is one transaction: the ranges are looked at when it is over.
      let ranges = false
      for (const { type, entry } of events) {
        const key = text(entry.key)
        if (type === 'delete') this.#deleted(key)
        else this.#put(key, entry, step.type === 'changes')
        ranges ||= key.startsWith('/ranges/descriptors/')
      }
      if (ranges) this.#checkTiling()
    }
  }

  /** Looks at what everybody believes now. */
  look(agents: readonly JudgedAgent[]): void {
    const nowMs = this.#nowMs()
    const { sessionTtlMs } = this.#settings
    for (const { name, running, actsUnder, connected } of agents) {
      if (connected) this.#cutSinceMs.delete(name)
      else if (!this.#cutSinceMs.has(name)) this.#cutSinceMs.set(name, nowMs)
      if (!running || actsUnder === undefined) continue
      if (this.#mustNotAct(actsUnder)) this.violated(`${name} acts under epoch ${actsUnder}, which has ended`)
      if (this.#cutForMs(name) > sessionTtlMs * 1.01 + slackMs)
        this.violated(`${name} acts under epoch ${actsUnder} without having reached a server for too long`)
    }
  }

  /** Of the epoch of a node that is down: whether that was seen, or went by while nobody saw it. */
  hasEnded(epoch: number): boolean {
    return this.#mustNotAct(epoch) || (epoch >= this.#countsFrom && !this.#isPresent(epoch))
  }

  #mustNotAct(epoch: number): boolean {
    return epoch < this.endedBelow || this.ended.has(epoch)
  }

  /** A node plans work under a version. */
  pinned(name: string): void {
    if (this.#cutForMs(name) > this.#settings.schemaLeaseMs * 1.01 + slackMs)
      this.violated(`${name} plans under a schema version without a lease`)
  }

  /** A range was asked to carry out a command that was planned under a version. */
  executed(tableId: number, version: number, accepted: boolean): void {
    const published = this.#published.get(tableId) ?? 0
    if (!accepted) {
      this.refusedAtBarrier++
      return
    }
    this.accepted++
    if (version === published - 1) this.adjacentUse++
    if (version < published - 1)
      this.violated(
        `work planned under version ${version} was accepted after version ${published} was published`,
      )
  }

  #cutForMs(name: string): number {
    const sinceMs = this.#cutSinceMs.get(name)
    return sinceMs === undefined ? 0 : this.#nowMs() - sinceMs
  }

  /** Part of the history is lost for good: what the store has of ranges, tables and jobs may have gone back. */
  lost(firstRevision: number): void {
    this.#countsFrom = firstRevision
    this.#forget()
    this.#ranges.clear()
    this.#published.clear()
  }

  /** History was compacted away: what came between is not known. */
  #forget(): void {
    this.#changes.clear()
    this.#jobEpochs.clear()
    this.#moved.clear()
  }

  #put(key: string, entry: KeyValue, inOrder: boolean): void {
    if (key === '/epochs/control-plane') {
      if (entry.modRevision < this.#epoch)
        this.violated(`epoch ${entry.modRevision} of the control plane came after ${this.#epoch}`)
      this.#epoch = entry.modRevision
      this.epochsSeen++
    } else if (key.startsWith('/ranges/descriptors/')) this.#described(decodeRangeDescriptor(entry.value))
    else if (key.startsWith('/wanted/')) this.#wanted(entry, inOrder)
    else if (key.startsWith('/nodes/live/')) this.#lives(key.slice('/nodes/live/'.length), entry)
    else if (key.startsWith('/nodes/record/')) {
      const { state } = decodeNodeRecord(entry.value)
      const name = key.slice('/nodes/record/'.length)
      if (this.#states.get(name)?.state !== state) this.#states.set(name, { state, sinceMs: this.#nowMs() })
    } else if (key.startsWith('/schema/tables/')) {
      const { tableId, version } = decodeTable(entry.value)
      const before = this.#published.get(tableId) ?? 0
      if (version < before) this.violated(`version ${before} of table ${tableId} was followed by ${version}`)
      if (inOrder && before > 0 && version > before + 1)
        this.violated(`version ${before} of table ${tableId} was followed by ${version}`)
      if (version > before) this.versionsSeen++
      this.#published.set(tableId, version)
    } else if (/^\/jobs\/\d+$/.test(key) || /^\/jobs\/.*\d{16}$/.test(key)) this.#job(entry, inOrder)
  }

  #deleted(key: string): void {
    if (!key.startsWith('/nodes/live/')) {
      if (!key.startsWith('/ranges/descriptors/')) return
      const rangeId = Number(key.slice(-16))
      if (!this.#plane.ended.has(rangeId)) this.violated(`the directory lost ${key}`)
      this.#ranges.delete(rangeId)
      return
    }
    const name = key.slice('/nodes/live/'.length)
    const session = this.#sessions.get(name)
    if (session !== undefined) this.ended.add(session)
  }

  #described(range: RangeDescriptor): void {
    const { rangeId, generation } = range
    const known = this.#ranges.get(rangeId)?.generation ?? 0
    if (generation < known)
      this.violated(`the generation of range ${rangeId} went back from ${known} to ${generation}`)
    const truth = this.#plane.ranges.get(rangeId)
    if (truth !== undefined && generation > truth.generation)
      this.violated(`the directory is ahead of range ${rangeId}: ${generation} and not ${truth.generation}`)
    const bounds = this.#plane.boundsAt.get(`${rangeId}/${generation}`)
    const said = `${Buffer.from(range.start).toString('hex')}-${range.end === undefined ? '' : Buffer.from(range.end).toString('hex')}`
    if (bounds !== undefined && bounds !== said)
      this.violated(`the directory has range ${rangeId} elsewhere than it lay at generation ${generation}`)
    this.#ranges.set(rangeId, range)
  }

  #checkTiling(): void {
    const ranges = [...this.#ranges.values()].sort((a, b) => Buffer.compare(a.start, b.start))
    for (const [i, range] of ranges.entries()) {
      const next = ranges[i + 1]
      if (next === undefined) continue
      if (range.end === undefined || Buffer.compare(range.end, next.start) !== 0)
        this.violated(`ranges ${range.rangeId} and ${next.rangeId} do not lie side by side`)
    }
  }

  /** Only the newest epoch asks for anything new. */
  #wanted(entry: KeyValue, inOrder: boolean): void {
    const { rangeId, change } = decodeWantedRange(entry.value)
    if (change === undefined) return
    const known = this.#changes.get(rangeId)
    if (known?.generation === change.generation && known.epoch === change.epoch) return
    if (inOrder && known !== undefined && change.epoch < known.epoch)
      this.violated(
        `a change of range ${rangeId} with epoch ${change.epoch} came after one with ${known.epoch}`,
      )
    if (inOrder && known !== undefined && change.epoch !== this.#epoch)
      this.violated(
        `a change of range ${rangeId} was asked for with epoch ${change.epoch}, when ${this.#epoch} was the newest`,
      )
    this.#changes.set(rangeId, { generation: change.generation, epoch: change.epoch })
  }

  #lives(name: string, entry: KeyValue): void {
    const known = this.#sessions.get(name) ?? 0
    if (entry.session < known || this.ended.has(entry.session))
      this.violated(`epoch ${entry.session} of ${name} came back after ${known}`)
    if (known > 0 && known !== entry.session) this.ended.add(known)
    this.#sessions.set(name, entry.session)
  }

  #job(entry: KeyValue, inOrder: boolean): void {
    const job = decodeJob(entry.value)
    const known = this.#jobEpochs.get(job.jobId)
    if (inOrder && known !== undefined && job.epoch !== known && job.epoch !== this.#epoch)
      this.violated(
        `job ${job.jobId} was written with epoch ${job.epoch}, when ${this.#epoch} was the newest`,
      )
    this.#jobEpochs.set(job.jobId, job.epoch)
    if (job.type !== moveJobType) return
    const { goal } = decodeMoveState(job.state)
    if (inOrder && !this.#knownJobs.has(job.jobId)) this.#checkDamping(job.jobId, goal)
    this.#knownJobs.add(job.jobId)
    if (!isFinished(job) || this.#finished.has(job.jobId)) return
    this.#finished.add(job.jobId)
    if (job.status === 'succeeded' && goal.add !== undefined && goal.remove !== undefined)
      this.#moved.set(goal.rangeId, { goal, atMs: this.#nowMs() })
  }

  /** An improvement does not bring back what an earlier move has just sent away. Repairs may. */
  #checkDamping(jobId: number, goal: MoveGoal): void {
    const last = this.#moved.get(goal.rangeId)
    if (last === undefined || goal.priority >= repairPriority) return
    if (this.#nowMs() - last.atMs > this.#settings.dampingMs * 0.99) return
    if (goal.add?.nodeId !== last.goal.remove?.nodeId || goal.remove?.nodeId !== last.goal.add?.nodeId) return
    // A drain, and one that was taken back, is another matter: also when it was taken back after the move had been planned.
    if (this.#states.get(goal.remove?.nodeId ?? '')?.state !== 'active') return
    if (this.#changedSince(goal.remove?.nodeId, last.atMs) || this.#changedSince(goal.add?.nodeId, last.atMs))
      return
    this.violated(`move ${jobId} of range ${goal.rangeId} undoes the last one within its damping time`)
  }

  #changedSince(nodeId: string | undefined, atMs: number): boolean {
    return (this.#states.get(nodeId ?? '')?.sinceMs ?? 0) > atMs
  }
}
