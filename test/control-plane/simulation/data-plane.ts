import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { ObservedReplica, WantedRange } from '../../../src/interfaces/range-host.ts'
import type { ReplicaDescriptor } from '../../../src/model/descriptors.ts'
import {
  isJoint,
  votesInAnyHalf,
  votesInIncoming,
  votesInOutgoing,
} from '../../../src/model/replica-roles.ts'
import { PlacementInvariants } from '../../../src/placement/index.ts'
import type { NetworkConditions, Simulation } from '../../../src/simulation/index.ts'
import {
  type BoundsBugs,
  holds,
  mergeTruth,
  middleOf,
  moved,
  type NamedCommand,
  RangeCounters,
  rowKey,
  rowsIn,
  rowsOfRange,
  splitTruth,
} from './range-bounds.ts'
import { RangeRows } from './range-rows.ts'
import { afterJoint, leaderOf, type Truth } from './range-truth.ts'
import { type SplitDiskBugs, SplitDisks } from './split-disks.ts'

/** Bugs to be planted in what the ranges check. */
export interface DataPlaneBugs extends BoundsBugs, SplitDiskBugs {
  /** A change is made whatever generation it was meant for. */
  readonly noGenerationCheck?: boolean
  /** Two replicas change places without a joint configuration in between. */
  readonly swapsAtOnce?: boolean
}

const electionMs = 300
/** A merge brings the neighbour over before it takes it in; meanwhile anything may happen. */
const mergeTakesMs = [10, 900] as const
/** In some runs it may take longer than a range stays frozen. */
const slowMergeTakesMs = [10, 6_000] as const
/** A range that is frozen for longer makes sure that it is not merged any more, and goes on. */
const frozenForMs = 3_000

/**
 * A data plane in memory: every range is a model of a Raft group, with its configuration, its leader and its rows as one
 * truth, and with what each node believes of it. It elects, it refuses what a group would refuse, and it judges every
 * change by the invariants of placement.
 */
export class MemoryDataPlane {
  readonly ranges = new Map<number, Truth>()
  readonly #views = new Map<string, Map<number, ObservedReplica>>()
  readonly #sim: Simulation
  readonly #conditions: NetworkConditions
  readonly #random: SeededRandom
  readonly #bugs: DataPlaneBugs
  readonly #invariants = new PlacementInvariants()
  readonly disks: SplitDisks
  readonly #broken: (error: unknown) => void
  /** Ranges know how to swap two replicas in one joint step. */
  readonly #swaps: boolean
  readonly #mergeTakesMs: readonly [number, number]
  /** Ranges that bring a neighbour over, and at which generation: it is asked for again and again, and takes its time once. */
  readonly #bringing = new Map<number, number>()
  changes = 0
  /** Changes that were refused as meant for another generation. */
  staleGenerations = 0
  /** Changes that were refused since a later epoch has changed the range. */
  staleEpochs = 0
  elections = 0
  splits = 0
  merges = 0
  thaws = 0
  /** Ranges that were merged into their neighbours. */
  readonly ended = new Set<number>()
  /** Where each range lay at each of its generations, as text. */
  readonly boundsAt = new Map<string, string>()
  /** What a row weighs: it comes and goes, so that ranges grow and shrink. */
  bytesPerRow = 20
  /** The table whose rows the ranges hold, and how many rows it can have. */
  tableId = 0
  readonly #rows: number

  constructor(
    sim: Simulation,
    conditions: NetworkConditions,
    broken: (error: unknown) => void,
    bugs: DataPlaneBugs = {},
    rows: number = rowsOfRange,
    slowMerges: boolean = chance(sim.random('slow merges'), 0.3),
  ) {
    this.#rows = rows
    this.#sim = sim
    this.#conditions = conditions
    this.#random = sim.random('data plane')
    this.#swaps = chance(sim.random('swaps'), 0.6)
    this.#mergeTakesMs = slowMerges ? slowMergeTakesMs : mergeTakesMs
    this.#broken = broken
    this.#bugs = bugs
    this.disks = new SplitDisks(sim.random('disks of splits'), bugs)
    this.#tick()
  }

  isUp(nodeId: string): boolean {
    return this.#sim.process(nodeId).state === 'running'
  }

  /** Whether a range is led, by somebody who can commit. */
  isServed(range: Truth): boolean {
    const leader = leaderOf(range)
    return leader !== undefined && this.#commands(leader.nodeId, range)
  }

  bootstrap(wanted: WantedRange): void {
    const { descriptor } = wanted
    if (this.ranges.has(descriptor.rangeId) || this.ended.has(descriptor.rangeId)) return
    const range: Truth = {
      rangeId: descriptor.rangeId,
      start: descriptor.start,
      end: descriptor.end,
      splitOff: undefined,
      frozen: undefined,
      generation: descriptor.generation,
      replicas: [...descriptor.replicas],
      leader: 0,
      sequence: 0,
      caughtUpAtMs: new Map(),
      epoch: 0,
      lastReplicaId: descriptor.replicas.length,
      rows: new RangeRows(),
      counters: new RangeCounters(),
    }
    this.ranges.set(descriptor.rangeId, range)
    this.#judge(range)
  }

  /** A change by the range's leader, as its log would take it. */
  change(nodeId: string, wanted: WantedRange): void {
    const { change } = wanted
    const range = this.ranges.get(wanted.rangeId)
    if (range === undefined || change === undefined) return
    if (leaderOf(range)?.nodeId !== nodeId || !this.#commands(nodeId, range)) return
    if (range.generation !== change.generation && this.#bugs.noGenerationCheck !== true) {
      this.staleGenerations++
      return
    }
    if (change.epoch < range.epoch) {
      this.staleEpochs++
      return
    }
    range.epoch = change.epoch
    const before = range.replicas
    // A range in between two sets of voters takes no change, and a frozen one only its end.
    if (isJoint(before)) return
    if ((range.frozen === undefined) === (change.type === 'thaw')) return
    switch (change.type) {
      case 'split': {
        const right = splitTruth(range, change, this.tableId, this.#bugs)
        if (right === undefined || this.ranges.has(right.rangeId) || this.ended.has(right.rangeId)) return
        this.ranges.set(right.rangeId, right)
        this.disks.split(right, nodeId, this.#sim.nowMs)
        this.splits++
        this.#sim.note(nodeId, 'split range', range.rangeId, right.rangeId)
        this.#rebounded(range)
        this.#judge(right)
        return
      }
      case 'freeze': {
        const { into, intoGeneration } = change
        range.frozen = { into, intoGeneration, sinceMs: this.#sim.nowMs }
        range.generation++
        this.#sim.note(nodeId, 'froze range', range.rangeId, into, intoGeneration)
        this.#rebounded(range)
        return
      }
      case 'thaw':
      case 'touch':
        this.#raise(range, change.type)
        return
      case 'merge':
        this.#bringOver(range, change.rightRangeId, change.rightGeneration)
        return

      case 'addLearner': {
        // A node that is down or gone is a legal target: the learner then never catches up.
        const { nodeId: target, incarnation } = change
        const replicaId = ++range.lastReplicaId
        range.replicas = [...before, { replicaId, nodeId: target, incarnation, role: 'learner' }]
        range.caughtUpAtMs.set(replicaId, this.#sim.nowMs + between(this.#random, 50, 2_000))
        break
      }
      case 'promote':
        if (before.find(({ replicaId }) => replicaId === change.replicaId)?.role !== 'learner') return
        if (!this.#caughtUp(range, change.replicaId)) return
        range.replicas = before.map((replica) =>
          replica.replicaId === change.replicaId ? { ...replica, role: 'voter' } : replica,
        )
        break
      case 'remove':
        if (!before.some(({ replicaId }) => replicaId === change.replicaId)) return
        if (change.replicaId === range.leader) range.leader = 0
        range.replicas = before.filter(({ replicaId }) => replicaId !== change.replicaId)
        break
      case 'swap': {
        const arriving = before.find(({ replicaId }) => replicaId === change.promote)
        const leaving = before.find(({ replicaId }) => replicaId === change.remove)
        if (arriving?.role !== 'learner' || leaving?.role !== 'voter') return
        if (!this.#caughtUp(range, change.promote)) return
        const joint = before.map((replica): ReplicaDescriptor => {
          if (replica === arriving) return { ...replica, role: 'incoming' }
          return replica === leaving ? { ...replica, role: 'outgoing' } : replica
        })
        if (!this.#commands(nodeId, { ...range, replicas: joint })) return
        range.replicas = this.#bugs.swapsAtOnce === true ? afterJoint(joint) : joint
        break
      }
      case 'transferLease': {
        const target = before.find(({ replicaId }) => replicaId === change.replicaId)
        if (target?.role !== 'voter' || target.nodeId === nodeId || !this.#meets(nodeId, target.nodeId))
          return
        if (!this.disks.has(range.rangeId, target.replicaId)) return
        range.leader = target.replicaId
        range.sequence++
        this.#sim.note(nodeId, 'lease handed over', range.rangeId, target.nodeId)
        return
      }
    }
    range.generation++
    this.changes++
    this.#sim.note(nodeId, `${change.type} of range`, range.rangeId, range.generation, change.epoch)
    this.#judge(range)
  }

  /** A node hears that it is a member of a range. */
  told(nodeId: string, { rangeId }: WantedRange): void {
    const range = this.ranges.get(rangeId)
    if (range !== undefined) this.disks.told(range, nodeId)
  }

  /** A range that lies where a key is, if somebody serves it. @throws KeelsonError `STALE_GENERATION`, `NOT_LEADER` */
  serving(rangeId: number, key: Uint8Array): Truth {
    const range = this.ranges.get(rangeId)
    const frozen = range?.frozen !== undefined && this.#bugs.frozenRangesServe !== true
    if (range === undefined || !holds(range, key) || frozen)
      throw moved(`range ${rangeId} does not hold the key`)
    if (!this.isServed(range)) throw new KeelsonError('NOT_LEADER', `nobody serves range ${rangeId}`)
    return range
  }

  /** Adds one to a row's counter, once for each command. */
  add(rangeId: number, command: NamedCommand): number {
    return this.serving(rangeId, rowKey(this.tableId, command.rowId)).counters.add(command)
  }

  /** A row's counter. */
  read(rangeId: number, rowId: number): number {
    return this.serving(rangeId, rowKey(this.tableId, rowId)).counters.counters.get(rowId) ?? 0
  }

  /** Where a range lies, as text. */
  static inWords({
    start,
    end,
  }: {
    readonly start: Uint8Array
    readonly end: Uint8Array | undefined
  }): string {
    return `${Buffer.from(start).toString('hex')}-${end === undefined ? '' : Buffer.from(end).toString('hex')}`
  }

  /** Ends a freeze, or raises the generation and no more. */
  #raise(range: Truth, what: 'thaw' | 'touch'): void {
    if (what === 'thaw') {
      range.frozen = undefined
      this.thaws++
    }
    range.generation++
    this.#sim.note('', what, range.rangeId, range.generation)
    this.#rebounded(range)
  }

  /** The neighbour is read first, and taken in a moment later: only the range's own generation says whether it still may. */
  #bringOver(range: Truth, rightRangeId: number, rightGeneration: number): void {
    const right = this.ranges.get(rightRangeId)
    const { generation } = range
    if (right?.frozen?.into !== range.rangeId || right.frozen.intoGeneration !== generation) return
    if (right.generation !== rightGeneration || !this.isServed(right)) return
    if (this.#bringing.get(range.rangeId) === generation) return
    this.#bringing.set(range.rangeId, generation)
    const { end } = right
    const brought = {
      rangeId: rightRangeId,
      generation: rightGeneration,
      end,
      counters: right.counters.copy(),
    }
    this.#sim.scheduler.schedule(between(this.#random, ...this.#mergeTakesMs), () => {
      if (this.#bringing.get(range.rangeId) === generation) this.#bringing.delete(range.rangeId)
      if (range.generation !== generation || !this.isServed(range) || isJoint(range.replicas)) return
      if (range.frozen !== undefined) return
      if (right.frozen === undefined)
        this.#violated(`range ${rightRangeId} was merged into ${range.rangeId} after it had thawed`)
      mergeTruth(range, right, brought, this.#bugs)
      this.ranges.delete(rightRangeId)
      this.ended.add(rightRangeId)
      this.merges++
      this.#sim.note('', 'merged range', rightRangeId, range.rangeId, range.generation)
      this.#rebounded(range)
    })
  }

  /** A frozen range goes on without any control plane, when its neighbour can never take it in any more. */
  #thaw(range: Truth): void {
    const { frozen } = range
    if (frozen === undefined || this.#sim.nowMs - frozen.sinceMs < frozenForMs || !this.isServed(range))
      return
    const left = this.ranges.get(frozen.into)
    if (this.#bugs.thawsAtOnce !== true && left !== undefined) {
      if (!this.isServed(left)) return
      if (left.generation === frozen.intoGeneration && !isJoint(left.replicas) && left.frozen === undefined)
        this.#raise(left, 'touch')
      if (left.generation <= frozen.intoGeneration) return
    }
    this.#raise(range, 'thaw')
  }

  #rebounded(range: Truth): void {
    this.changes++
    this.boundsAt.set(`${range.rangeId}/${range.generation}`, MemoryDataPlane.inWords(range))
    try {
      this.#invariants.rebounded(range)
    } catch (error) {
      this.#broken(error)
    }
  }

  /** What a node believes. It learns from the leader, if it meets it, and now and then it is late. */
  refresh(nodeId: string): void {
    const views = this.#viewsOf(nodeId)
    for (const range of this.ranges.values()) {
      const mine = range.replicas.find((replica) => replica.nodeId === nodeId)
      // One that was removed may never hear of it.
      // Nothing of it is there yet.
      if (mine !== undefined && !this.disks.has(range.rangeId, mine.replicaId)) continue
      if (mine === undefined) {
        const stale = views.get(range.rangeId)
        if (stale?.leaseHolder === true)
          views.set(range.rangeId, { ...stale, leaseHolder: false, caughtUp: [] })
        continue
      }
      const leader = leaderOf(range)
      const leads = leader === mine
      if (!leads && chance(this.#random, 0.3)) continue
      const known = views.get(range.rangeId)
      if (!leads && known !== undefined && (leader === undefined || !this.#meets(nodeId, leader.nodeId))) {
        if (known.leaseHolder) views.set(range.rangeId, { ...known, leaseHolder: false, caughtUp: [] })
        continue
      }
      views.set(range.rangeId, {
        rangeId: range.rangeId,
        replicaId: mine.replicaId,
        generation: range.generation,
        replicas: range.replicas,
        leaseHolder: leads,
        sequence: range.sequence,
        caughtUp: !leads
          ? []
          : range.replicas
              .filter(({ replicaId, role }) => role === 'voter' || this.#caughtUp(range, replicaId))
              .map(({ replicaId }) => replicaId),
        load: {
          bytes: rowsIn(this.tableId, range, this.#rows).length * this.bytesPerRow,
          requests: 0,
        },
        bounds: { start: range.start, end: range.end },
        ...(range.splitOff === undefined ? {} : { splitOff: range.splitOff }),
        ...(range.frozen === undefined
          ? {}
          : { frozen: { into: range.frozen.into, intoGeneration: range.frozen.intoGeneration } }),
        ...this.#splitKeys(range, leads),
        ...(this.#swaps ? { swaps: true } : {}),
      })
    }
  }

  observe(nodeId: string): readonly ObservedReplica[] {
    return [...this.#viewsOf(nodeId).values()]
  }

  /** A node is told that it is no member: it drops its replica once it is sure that the removal is committed. */
  drop(nodeId: string, wanted: WantedRange): void {
    const views = this.#viewsOf(nodeId)
    const view = views.get(wanted.rangeId)
    const { descriptor } = wanted
    if (view === undefined || descriptor.generation < view.generation) return
    if (descriptor.replicas.some(({ replicaId }) => replicaId === view.replicaId)) return
    const truth = this.ranges.get(wanted.rangeId)
    if (truth?.replicas.some(({ replicaId }) => replicaId === view.replicaId) === true) {
      this.#violated(`${nodeId} drops its replica of range ${wanted.rangeId}, which is still a member`)
    }
    views.delete(wanted.rangeId)
  }

  /** The range, if the node leads it and can commit. @throws KeelsonError `NOT_LEADER` */
  led(nodeId: string, rangeId: number): Truth {
    const range = this.ranges.get(rangeId)
    if (range?.frozen !== undefined) throw moved(`range ${rangeId} is being merged`)
    if (range !== undefined && leaderOf(range)?.nodeId === nodeId && this.#commands(nodeId, range))
      return range
    throw new KeelsonError('NOT_LEADER', `${nodeId} does not lead range ${rangeId}`)
  }

  #splitKeys(range: Truth, leads: boolean): Pick<ObservedReplica, 'splitKeys'> {
    const bySize = leads ? middleOf(this.tableId, range, this.#rows) : undefined
    return bySize === undefined ? {} : { splitKeys: { bySize } }
  }

  #viewsOf(nodeId: string): Map<number, ObservedReplica> {
    let views = this.#views.get(nodeId)
    if (views === undefined) {
      views = new Map()
      this.#views.set(nodeId, views)
    }
    return views
  }

  #meets(a: string, b: string): boolean {
    if (!this.isUp(a) || !this.isUp(b)) return false
    return a === b || !(this.#conditions.isBlocked(a, b) || this.#conditions.isBlocked(b, a))
  }

  /** Whether a node meets a quorum of a range's voters. */
  #commands(nodeId: string, range: Truth): boolean {
    return [votesInIncoming, votesInOutgoing].every((votes) => {
      const voters = range.replicas.filter(votes)
      return voters.filter((voter) => this.#meets(nodeId, voter.nodeId)).length > voters.length / 2
    })
  }

  /** A leader leaves a joint configuration as soon as it can commit that. */
  #leaveJoint(range: Truth): void {
    const leader = leaderOf(range)
    if (!isJoint(range.replicas) || leader === undefined || !this.#commands(leader.nodeId, range)) return
    range.replicas = afterJoint(range.replicas)
    if (leader.role === 'outgoing') range.leader = 0
    range.generation++
    this.changes++
    this.#sim.note(leader.nodeId, 'left the joint configuration of range', range.rangeId, range.generation)
    this.#judge(range)
  }

  #caughtUp(range: Truth, replicaId: number): boolean {
    const replica = range.replicas.find((other) => other.replicaId === replicaId)
    const leader = leaderOf(range)
    if (replica === undefined || leader === undefined) return false
    const atMs = range.caughtUpAtMs.get(replicaId) ?? 0
    return this.#meets(leader.nodeId, replica.nodeId) && this.#sim.nowMs >= atMs
  }

  #judge({ rangeId, generation, replicas, start, end }: Truth): void {
    this.boundsAt.set(`${rangeId}/${generation}`, MemoryDataPlane.inWords({ start, end }))
    try {
      this.#invariants.committed({ rangeId, generation, replicas }, ({ nodeId }) => this.isUp(nodeId))
    } catch (error) {
      this.#broken(error)
    }
  }

  #violated(what: string): void {
    this.#broken(new KeelsonError('INVARIANT_VIOLATED', what))
  }

  /** Elections, whoever else is away. */
  #tick(): void {
    for (const range of this.ranges.values()) {
      const leader = leaderOf(range)
      const broken = this.disks.advance(
        range,
        this.#sim.nowMs,
        (nodeId) => this.isUp(nodeId),
        (nodeId) => leader !== undefined && this.#meets(nodeId, leader.nodeId),
      )
      if (broken !== undefined) this.#violated(broken)
      if (leader !== undefined && votesInAnyHalf(leader) && this.#commands(leader.nodeId, range)) {
        this.#leaveJoint(range)
        this.#thaw(range)
        continue
      }
      range.leader = 0
      const able = range.replicas.filter(
        (replica) =>
          votesInAnyHalf(replica) &&
          this.disks.has(range.rangeId, replica.replicaId) &&
          this.#commands(replica.nodeId, range),
      )
      if (able.length === 0 || this.#random.integer(2) === 0) continue
      range.leader = pick(this.#random, able).replicaId
      range.sequence++
      this.elections++
    }
    this.#sim.scheduler.schedule(electionMs, () => this.#tick())
  }
}
