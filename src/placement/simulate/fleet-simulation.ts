import { KeelsonError } from '../../core/errors.ts'
import {
  arrayOption,
  checkOptions,
  integerOption,
  numberOption,
  objectOption,
  optional,
  stringOption,
} from '../../core/options.ts'
import { SeededRandom } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { Fleet } from '../core/model/fleet.ts'
import type { OverloadTuning } from '../core/overload.ts'
import type { Plan, PlannedMove } from '../core/plan.ts'
import { Planner } from '../core/planner.ts'
import type { PlacementLimits, PlacementPolicy } from '../core/policy.ts'
import { bringsNonVoter, type MoveKind, type PlacementNode } from '../core/snapshot.ts'
import { eventOption, nodeOption, rangeOption } from './fleet-options.ts'
import {
  type DisturbanceReport,
  describeEvent,
  type FleetEvent,
  type FleetReport,
  type FleetSample,
} from './fleet-report.ts'
import { SimulatedOverload } from './overload.ts'
import { LoadGenerator, type SkewedLoad } from './skewed-load.ts'
import { type Transfer, Transfers } from './transfers.ts'
import { FleetWorld, type NodeTruth, type SimulatedNode, type SimulatedRange } from './world.ts'

/** A fleet to simulate. */
export interface FleetSimulationOptions {
  /** Its nodes. */
  readonly nodes: readonly SimulatedNode[]
  /** Its ranges, as they begin. */
  readonly ranges: readonly SimulatedRange[]
  /** What happens to it, in any order. Default: nothing. */
  readonly events?: readonly FleetEvent[]
  /** Load that is spread over the ranges and shifts. Default: none. */
  readonly load?: SkewedLoad
  /** Another planner, to compare with. Default: that of production, with the policy. */
  readonly planner?: Pick<Planner, 'plan'>
  /** Where the policy differs from the default. */
  readonly policy?: Partial<PlacementPolicy>
  /** Where the limits differ from the default. */
  readonly limits?: Partial<PlacementLimits>
  /** When a node is overloaded, where it differs from the default. */
  readonly overload?: Partial<OverloadTuning>
  /** How often is planned. Default: 10 s. */
  readonly planEveryMs?: number
  /** From a node's end until it is taken for dead. Default: 10 s. */
  readonly detectionMs?: number
  /** A node that is dead for so long has lost its replicas. Default: 5 min. */
  readonly deadAfterMs?: number
  /** How long a range is not improved again after a move. Default: 10 min. */
  readonly dampingMs?: number
  /** How often a sample is taken for the report. Default: 10 min. */
  readonly sampleEveryMs?: number
  /** Decides all that is drawn. Default: 0. */
  readonly seed?: number
}

const undoneWithinMs = 3_600_000

/**
 * Days of a fleet in virtual time, planned by the planner that production runs, over a model of the nodes: their bandwidth,
 * their disks, a load that shifts, and what fails. Pure and deterministic: the same options give the same report.
 *
 * `step` is one round of planning, so that a program can show progress between them; `run` is many.
 */
export class FleetSimulation {
  readonly #options: Required<
    Pick<
      FleetSimulationOptions,
      'limits' | 'planEveryMs' | 'detectionMs' | 'deadAfterMs' | 'dampingMs' | 'sampleEveryMs'
    >
  >
  readonly #world: FleetWorld
  readonly #fleet: Fleet
  readonly #planner: Pick<Planner, 'plan'>
  readonly #transfers: Transfers
  readonly #overload: SimulatedOverload
  readonly #load: LoadGenerator | undefined
  readonly #resource: string | undefined
  readonly #shiftEveryMs: number
  readonly #events: FleetEvent[]
  /** Until when ranges are not improved, in the order in which that ends. */
  readonly #held = new Map<number, number>()
  /** Where ranges have lately been, in the order in which that will be long ago. */
  readonly #left = new Map<number, { readonly node: number; readonly atMs: number }[]>()
  /** By whom ranges that are led by somebody else have been led lately. */
  readonly #ledBy = new Map<number, readonly { readonly node: number; readonly atMs: number }[]>()
  readonly #moves: Record<MoveKind, number> = {
    add: 0,
    replace: 0,
    remove: 0,
    transferLease: 0,
    addNonVoter: 0,
    replaceNonVoter: 0,
  }
  readonly #disturbances: DisturbanceReport[] = []
  readonly #samples: FleetSample[] = []
  readonly #violations: string[] = []
  #open:
    | { readonly report: Omit<DisturbanceReport, 'copiedBytes' | 'convergedAfterMs'>; copied: number }
    | undefined
  #nowMs = 0
  #rounds = 0
  #failed = 0
  /** Moves that were begun so far. */
  #undone = 0
  #undoneLeases = 0
  #underMs = 0
  #unavailableMs = 0
  #lackNonVotersMs = 0
  #worstFullness = 0
  #worstLoad = 0
  #nextShiftMs: number
  #nextSampleMs = 0
  #plan: Plan | undefined

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(input: FleetSimulationOptions) {
    const options = checkOptions<
      Required<Omit<FleetSimulationOptions, 'load' | 'planner'>> & {
        load: SkewedLoad | undefined
        planner: Pick<Planner, 'plan'> | undefined
      }
    >('FleetSimulation', input, {
      nodes: arrayOption(nodeOption, { min: 1 }),
      ranges: arrayOption(rangeOption, { max: 10_000_000 }),
      events: arrayOption(eventOption, { fallback: [] }),
      load: optional(checkLoad),
      planner: optional(objectOption<Pick<Planner, 'plan'>>(['plan'])),
      policy: objectOption<Partial<PlacementPolicy>>([], {}),
      limits: objectOption<Partial<PlacementLimits>>([], {}),
      overload: objectOption<Partial<OverloadTuning>>([], {}),
      planEveryMs: integerOption({ min: 1, fallback: 10_000 }),
      detectionMs: integerOption({ min: 0, fallback: 10_000 }),
      deadAfterMs: integerOption({ min: 0, fallback: 300_000 }),
      dampingMs: integerOption({ min: 0, fallback: 600_000 }),
      sampleEveryMs: integerOption({ min: 1, fallback: 600_000 }),
      seed: integerOption({ min: 0, fallback: 0 }),
    })
    const { load, events, planner, nodes, ranges, ...rest } = options
    const known = new Set(nodes.map(({ descriptor }) => descriptor.nodeId))
    const strange = [...events, ...ranges].flatMap((each) => each.nodes).find((each) => !known.has(each))
    if (strange !== undefined) {
      throw new KeelsonError(
        'INVALID_OPTION',
        `FleetSimulation: no node is called '${strange}'; name it in 'nodes'`,
      )
    }
    const slow = events.find((event) => event.type === 'slowDisk')
    if (slow?.type === 'slowDisk' && !(load !== undefined && slow.share > 0)) {
      throw new KeelsonError(
        'INVALID_OPTION',
        'FleetSimulation: a slow disk does a share of a load that is above 0; give both',
      )
    }
    this.#options = rest
    const production = new Planner(options.policy)
    this.#planner = planner ?? production
    const { rules, replicationFactor } = production.policy
    this.#world = new FleetWorld(nodes, ranges, (rangeId) => {
      const wanted = rules?.classOf(rangeId, undefined).policy
      return { voters: wanted?.voters?.value ?? replicationFactor, nonVoters: wanted?.nonVoters?.value ?? 0 }
    })
    this.#fleet = new Fleet({ deadAfterMs: options.deadAfterMs })
    this.#transfers = new Transfers(this.#world)
    this.#resource = load === undefined ? undefined : (load.resource ?? 'cpu')
    this.#overload = new SimulatedOverload({
      world: this.#world,
      resource: this.#resource,
      tuning: options.overload,
      limits: options.limits,
      incomingBytes: (node) => this.#transfers.incomingBytes(node),
      isBusy: (range) => this.#transfers.has(range) || this.#held.has(range),
      leadersBound: rules !== undefined,
    })
    this.#shiftEveryMs = load?.shiftEveryMs ?? 3_600_000
    this.#nextShiftMs = this.#shiftEveryMs
    this.#load =
      load === undefined ? undefined : new LoadGenerator(this.#world, new SeededRandom(options.seed), load)
    this.#events = [...events].sort((a, b) => a.atMs - b.atMs)
    for (let range = 0; range < this.#world.rangeCount; range++) this.#tell(range)
  }

  /** Virtual time since the beginning. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** The last plan. */
  get plan(): Plan | undefined {
    return this.#plan
  }

  /** One round: what happens happens, copies go on, the planner plans, and its moves begin. */
  step(): void {
    this.#happen()
    this.#settleCopies()
    this.#tellNodes()
    this.#release()
    this.#forget()
    const plan = this.#planner.plan(this.#fleet.snapshot(), { limits: this.#options.limits })
    this.#plan = plan
    this.#violations.push(...this.#overload.judge(plan.moves, this.#nowMs))
    this.begin(plan.moves)
    this.#judgeConvergence(plan)
    this.#sample()
    this.#rounds++
    const { planEveryMs } = this.#options
    this.#underMs += this.#world.underReplicated * planEveryMs
    this.#unavailableMs += this.#world.unavailable * planEveryMs
    this.#lackNonVotersMs += this.#world.lackNonVoters * planEveryMs
    this.#nowMs += planEveryMs
  }

  /** Steps until so much virtual time has passed. */
  run(untilMs: number): this {
    while (this.#nowMs < untilMs) this.step()
    return this
  }

  /** Begins moves, and notes those that no plan may contain. @internal */
  begin(moves: readonly PlannedMove[]): void {
    for (const move of moves) this.#begin(move)
  }

  /** What it came to so far. */
  report(): FleetReport {
    const open = this.#open
    const unfinished =
      open === undefined
        ? []
        : [
            {
              ...open.report,
              convergedAfterMs: undefined,
              copiedBytes: this.#transfers.copiedBytes - open.copied,
            },
          ]
    return {
      elapsedMs: this.#nowMs,
      rounds: this.#rounds,
      moves: { ...this.#moves },
      failedMoves: this.#failed,
      copiedBytes: this.#transfers.copiedBytes,
      undoneMoves: this.#undone,
      undoneLeases: this.#undoneLeases,
      overloadedNodeMinutes: (this.#overload.overloadedNodeRounds * this.#options.planEveryMs) / 60_000,
      underReplicatedRangeMinutes: this.#underMs / 60_000,
      unavailableRangeMinutes: this.#unavailableMs / 60_000,
      lackingNonVotersRangeMinutes: this.#lackNonVotersMs / 60_000,
      worstFullness: this.#worstFullness,
      worstLoad: this.#worstLoad,
      disturbances: [...this.#disturbances, ...unfinished],
      samples: [...this.#samples],
      violations: [...this.#violations],
    }
  }

  /** A range says what it is. */
  #tell(range: number): void {
    const world = this.#world
    const leaseHolder = world.leaderId(range)
    const load = { bytes: world.bytes[range] as number }
    const name = this.#resource
    this.#fleet.setRange({
      descriptor: {
        rangeId: world.idOf(range),
        start: nothing,
        end: undefined,
        generation: world.generation[range] as number,
        replicas: world.replicas(range),
      },
      ...(leaseHolder === undefined ? {} : { leaseHolder }),
      load: name === undefined ? load : { ...load, [name]: world.followerLoad[range] as number },
      ...(name === undefined ? {} : { leaderLoad: { [name]: world.leaderLoad[range] as number } }),
    })
  }

  #tellNodes(): void {
    this.#overload.report(this.#nowMs)
    for (const truth of this.#world.nodes) {
      const down = truth.downSinceMs === undefined ? -1 : this.#nowMs - truth.downSinceMs
      const dead = down >= this.#options.detectionMs
      const node: PlacementNode = {
        descriptor: { ...truth.descriptor, incarnation: truth.incarnation },
        state: truth.state,
        liveness: dead ? 'dead' : 'live',
        forMs: dead ? down - this.#options.detectionMs : this.#nowMs,
      }
      this.#fleet.setNode(this.#overload.over(node))
    }
  }

  #happen(): void {
    for (
      let event = this.#events[0];
      event !== undefined && event.atMs <= this.#nowMs;
      event = this.#events[0]
    ) {
      this.#events.shift()
      this.#apply(event)
    }
    while (this.#load !== undefined && this.#nextShiftMs <= this.#nowMs) {
      this.#nextShiftMs += this.#shiftEveryMs
      for (const range of this.#load.shift()) this.#tell(range)
    }
  }

  #apply(event: FleetEvent): void {
    const nodes = event.nodes.map((nodeId) => this.#world.nodeOf(nodeId))
    const concerned = this.#world.rangesOn(nodes)
    if (event.type === 'kill') this.#world.setNodes(nodes, { downSinceMs: this.#nowMs })
    else if (event.type === 'revive') {
      this.#world.setNodes(nodes, { downSinceMs: undefined, wiped: event.wiped ?? false })
    } else if (event.type === 'slowDisk') this.#overload.setDisks(nodes, event.share)
    else for (const node of nodes) (this.#world.nodes[node] as NodeTruth).state = 'draining'
    for (const range of concerned) this.#tell(range)
    this.#close(undefined)
    this.#open = {
      report: {
        what: describeEvent(event),
        atMs: this.#nowMs,
        lowerBoundBytes: this.#bytesToMove(event, concerned),
      },
      copied: this.#transfers.copiedBytes,
    }
  }

  /** What any plan has to copy after an event: what its nodes had, or what the others hold above their share. */
  #bytesToMove(event: FleetEvent, concerned: readonly number[]): number {
    const world = this.#world
    if (event.type === 'slowDisk') return 0
    if (event.type !== 'revive' || event.wiped === true) {
      let lost = 0
      for (const range of concerned) {
        const missing =
          event.type === 'drain'
            ? event.nodes.filter((each) => world.holds(range, world.nodeOf(each))).length
            : world.missing(range)
        lost += Math.max(0, missing) * (world.bytes[range] as number)
      }
      return lost
    }
    return 0
  }

  #settleCopies(): void {
    const { complete, failed } = this.#transfers.advance(this.#options.planEveryMs)
    for (const transfer of failed) {
      this.#failed++
      this.#fleet.removeMove(this.#world.idOf(transfer.range))
    }
    for (const transfer of complete) this.#complete(transfer)
  }

  #complete({ move, range, to }: Transfer): void {
    this.#world.addReplica(range, to, !bringsNonVoter(move.kind))
    const back = (this.#left.get(range) ?? []).some(
      (each) => each.node === to && this.#nowMs - each.atMs < undoneWithinMs,
    )
    if (back) this.#undone++
    this.#finish(move, range)
  }

  /** The rest of a move, once what it brings is there. */
  #finish(move: PlannedMove, range: number): void {
    const world = this.#world
    if (move.add?.replicaId !== undefined) world.promote(range, move.add.replicaId)
    if (move.leaseTo !== undefined) this.#handOn(range, move.leaseTo)
    if (move.remove !== undefined) {
      world.removeReplica(range, move.remove.replicaId)
      const left = (this.#left.get(range) ?? []).filter(({ atMs }) => this.#nowMs - atMs < undoneWithinMs)
      left.push({ node: world.nodeOf(move.remove.nodeId), atMs: this.#nowMs })
      this.#left.delete(range)
      this.#left.set(range, left)
      const { all, live } = world.replicasOf(range, true)
      if (live * 2 <= all) this.#violations.push(`${move.reason}: range ${world.idOf(range)} lost its quorum`)
    }
    this.#moves[move.kind]++
    this.#fleet.removeMove(world.idOf(range))
    this.#held.delete(range)
    this.#held.set(range, this.#nowMs + this.#options.dampingMs)
    this.#fleet.setHold(world.idOf(range), 'improvements')
    this.#tell(range)
  }

  #handOn(range: number, to: NonNullable<PlannedMove['leaseTo']>): void {
    const from = this.#world.leaderNode(range)
    this.#world.lead(range, to.replicaId)
    const heir = this.#world.nodeOf(to.nodeId)
    const since = this.#nowMs - undoneWithinMs
    const ledBy = (this.#ledBy.get(range) ?? []).filter(({ atMs }) => atMs > since)
    if (ledBy.some(({ node }) => node === heir)) this.#undoneLeases++
    if (from >= 0) ledBy.push({ node: from, atMs: this.#nowMs })
    this.#ledBy.set(range, ledBy)
  }

  /** Forgets where ranges were long ago. */
  #forget(): void {
    for (const [range, left] of this.#left) {
      if (this.#nowMs - (left[left.length - 1]?.atMs ?? 0) < undoneWithinMs) return
      this.#left.delete(range)
    }
  }

  /** Lets go of ranges whose damping has passed. */
  #release(): void {
    for (const [range, untilMs] of this.#held) {
      if (untilMs > this.#nowMs) return
      this.#held.delete(range)
      this.#fleet.setHold(this.#world.idOf(range), undefined)
    }
  }

  #begin(move: PlannedMove): void {
    const world = this.#world
    const range = move.rangeId - 1
    if (this.#transfers.has(range)) {
      this.#violations.push(`${move.reason}: range ${move.rangeId} is moved already`)
      return
    }
    if (move.generation !== world.generation[range]) {
      this.#violations.push(`${move.reason}: range ${move.rangeId} is not of generation ${move.generation}`)
      return
    }
    if (move.add === undefined || move.add.replicaId !== undefined) return this.#finish(move, range)
    const to = world.nodeOf(move.add.nodeId)
    if (world.holds(range, to)) {
      this.#violations.push(`${move.reason}: a second replica of range ${move.rangeId} on ${move.add.nodeId}`)
      return
    }
    if (!this.#transfers.begin(move, range, to)) return
    this.#fleet.setMove({
      rangeId: move.rangeId,
      kind: move.kind,
      add: move.add.nodeId,
      ...(move.add.storeId === undefined ? {} : { storeId: move.add.storeId }),
      ...(move.remove === undefined ? {} : { remove: move.remove.replicaId }),
      ...(move.leaseTo === undefined ? {} : { leaseTo: move.leaseTo.replicaId }),
    })
  }

  #judgeConvergence(plan: Plan): void {
    if (this.#open === undefined || this.#transfers.size > 0) return
    if (plan.moves.length > 0 || plan.deferred > 0 || plan.unexamined > 0) return
    // Until the dead are taken for lost, nothing to do is not yet the end.
    const { nodes } = this.#world
    const { deadAfterMs, detectionMs } = this.#options
    const waiting = nodes.some(
      ({ downSinceMs }) =>
        downSinceMs !== undefined && this.#nowMs - downSinceMs <= deadAfterMs + detectionMs,
    )
    if (!waiting && this.#held.size === 0) this.#close(this.#nowMs - this.#open.report.atMs)
  }

  #close(convergedAfterMs: number | undefined): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    this.#disturbances.push({
      ...open.report,
      convergedAfterMs,
      copiedBytes: this.#transfers.copiedBytes - open.copied,
    })
  }

  #sample(): void {
    const world = this.#world
    let [fullest, busiest, bytes, load, roomBytes, roomLoad] = [0, 0, 0, 0, 0, 0]
    for (const { index, descriptor, downSinceMs } of world.nodes) {
      if (downSinceMs !== undefined) continue
      const [usedBytes, usedLoad] = [world.usedBytes[index] as number, world.usedLoad[index] as number]
      bytes += usedBytes
      load += usedLoad
      const capacityBytes = descriptor.capacity['bytes'] ?? Number.POSITIVE_INFINITY
      const capacityLoad = descriptor.capacity[this.#resource ?? ''] ?? Number.POSITIVE_INFINITY
      roomBytes += capacityBytes
      roomLoad += capacityLoad
      fullest = Math.max(fullest, usedBytes / capacityBytes)
      busiest = Math.max(busiest, usedLoad / capacityLoad)
    }
    this.#worstFullness = Math.max(this.#worstFullness, fullest)
    this.#worstLoad = Math.max(this.#worstLoad, busiest)
    if (this.#nowMs < this.#nextSampleMs) return
    this.#nextSampleMs += this.#options.sampleEveryMs
    this.#samples.push({
      atMs: this.#nowMs,
      fullest,
      busiest,
      meanBytes: bytes / roomBytes,
      meanLoad: load / roomLoad,
      underReplicated: world.underReplicated,
      unavailable: world.unavailable,
      lackNonVoters: world.lackNonVoters,
      copies: this.#transfers.size,
    })
  }
}

const nothing = new Uint8Array(0)

function checkLoad(value: unknown, name: string): SkewedLoad {
  return checkOptions<{ readonly [K in keyof SkewedLoad]-?: SkewedLoad[K] | undefined }>(name, value, {
    resource: optional(stringOption({ maxLength: 128 })),
    total: numberOption({ min: 0 }),
    exponent: optional(numberOption({ min: 0, max: 10 })),
    leaderShare: optional(numberOption({ min: 0, max: 1 })),
    shiftEveryMs: optional(integerOption({ min: 1 })),
    shiftedRanges: optional(integerOption({ min: 0 })),
  }) as SkewedLoad
}

/** Ids of the nodes that are in a domain of a tier: a rack or a zone to fail. */
export function nodesIn(nodes: readonly SimulatedNode[], tier: string, value: string): readonly NodeId[] {
  return nodes
    .filter(({ descriptor }) => descriptor.locality.some((each) => each.key === tier && each.value === value))
    .map(({ descriptor }) => descriptor.nodeId)
}
