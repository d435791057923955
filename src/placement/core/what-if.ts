import { checkArray, checkMembers, checkObject, checkText } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkOptions, closest, integerOption, objectOption, showValue } from '../../core/options.ts'
import { finish, type Sliced } from '../../core/sliced.ts'
import type { ReplicaDescriptor } from '../../model/descriptors.ts'
import type { NodeId, ReplicaId } from '../../model/ids.ts'
import { localityValue } from '../../model/locality.ts'
import { checkNode } from './model/check.ts'
import type { PlacementNode, PlacementRange } from './model/cluster.ts'
import { Fleet } from './model/fleet.ts'
import type { RangeReader } from './model/snapshot.ts'
import type { BlockedRange, PlanBounds, PlannedMove } from './plan.ts'
import { Planner } from './planner.ts'
import { type PlacementLimits, type PlacementPolicy, placementLimits, placementPolicy } from './policy.ts'
import {
  bringsNonVoter,
  nodeBits,
  overloadLevel,
  type PlacementSnapshot,
  replicaBits,
  type StoreOverload,
} from './snapshot.ts'
import { type ClusterSummary, fullest, rangesTogether, summarizing } from './summary.ts'

/** Something that has not happened. All of it happens at once. */
export interface WhatIfChange {
  /** Nodes that come. */
  readonly addNodes?: readonly PlacementNode[]
  /** Nodes that are lost, with what they hold. */
  readonly loseNodes?: readonly NodeId[]
  /** All nodes of a domain are lost: a rack, a zone, a region. */
  readonly loseDomain?: {
    /** Tier of locality. */
    readonly tier: string
    /** Which domain of it. */
    readonly value: string
  }
  /** Nodes that are to be emptied. */
  readonly drainNodes?: readonly NodeId[]
  /** Stores that become so hard-pressed and stay it: by node, or as `node/store` where a node has several. */
  readonly overloadStores?: Readonly<Record<string, StoreOverload>>
  /** Factors by which loads grow, by resource. */
  readonly growLoad?: Readonly<Record<string, number>>
  /** Another policy: rules, goals, replication factor. What it does not name stays. */
  readonly policy?: Partial<PlacementPolicy>
}

/** Options of {@link whatIf}. */
export interface WhatIfOptions {
  /** The policy of now, where it differs from the default. */
  readonly policy?: Partial<PlacementPolicy>
  /** How much one plan may do, where it differs from `whatIfLimits`. */
  readonly limits?: Partial<PlacementLimits>
  /** Decides among nodes that are equally good. Default: 0. */
  readonly seed?: number
  /** Plans that are carried out, one after the other, at most. Default: 1,000. */
  readonly maximumRounds?: number
}

/** What would come of a change. */
export interface WhatIfResult {
  /** The cluster as it is. */
  readonly before: ClusterSummary
  /** The cluster right after the change, before anything is moved. */
  readonly changed: ClusterSummary
  /** The cluster once all plans are carried out. */
  readonly after: ClusterSummary
  /** The first moves, in the order in which they would be made. */
  readonly moves: readonly PlannedMove[]
  /** All of them, those that `moves` leaves out included. */
  readonly moveCount: number
  /** Bytes that would be copied. */
  readonly copiedBytes: number
  /** Transfers of leases among the moves. */
  readonly leaseTransfers: number
  /** Plans until nothing was left to do. */
  readonly rounds: number
  /** False when there was still something to do after the last round. */
  readonly settled: boolean
  /** Ranges that need what cannot be done, once all else is done: the first few. */
  readonly blocked: readonly BlockedRange[]
  /** All of them. */
  readonly blockedCount: number
  /** How good any plan could be, right after the change. */
  readonly bounds: PlanBounds
  /** The answer in words. */
  readonly explained: readonly string[]
}

/** Limits of a plan in {@link whatIf}: there is no time that moves could take. */
export const whatIfLimits: PlacementLimits = Object.freeze({
  moves: 100_000,
  improvements: 100_000,
  incomingPerNode: 10_000,
  outgoingPerNode: 10_000,
  leaseTransfers: 100_000,
  shedLeasesPerStore: 10_000,
  shedReplicasPerStore: 10_000,
})

const maximumMoves = 1000
const mostGrowth = 1_000_000
const movesTogether = 64
const noBytes = new Uint8Array(0)

/**
 * What the planner would do if something happened: the same planner that production runs, on a copy of the cluster in
 * which every plan is carried out at once, until nothing is left to do. Nothing is moved in fact. Pure.
 *
 * @throws KeelsonError `NOT_FOUND` for a node or domain that there is not; `INVALID_ARGUMENT`, `INVALID_OPTION`
 */
export function whatIf(
  snapshot: PlacementSnapshot,
  change: WhatIfChange,
  options: WhatIfOptions = {},
): WhatIfResult {
  return finish(imagining(snapshot, change, options))
}

/** The same in small steps, for who has other things to do meanwhile. @throws as {@link whatIf} */
export function* imagining(
  snapshot: PlacementSnapshot,
  change: WhatIfChange,
  options: WhatIfOptions,
): Sliced<WhatIfResult> {
  const { policy, limits, seed, maximumRounds } = checkOptions<Required<WhatIfOptions>>('whatIf', options, {
    policy: (value) => placementPolicy(value as Partial<PlacementPolicy> | undefined),
    limits: (value, name) =>
      placementLimits({ ...whatIfLimits, ...objectOption<Partial<PlacementLimits>>([], {})(value, name) }),
    seed: integerOption({ min: 0, fallback: 0 }),
    maximumRounds: integerOption({ min: 1, max: 1_000_000, fallback: 1000 }),
  })
  const known = ['addNodes', 'loseNodes', 'loseDomain', 'drainNodes', 'overloadStores', 'growLoad', 'policy']
  checkMembers(change, 'a change', known)
  const planner = new Planner({ ...policy, ...change.policy })
  const [current, wanted] = [placementPolicy(policy), planner.policy]
  const fleet = yield* copyOf(snapshot)
  yield* applyChange(fleet, snapshot, change)
  const started = fleet.snapshot()
  let plan = yield* planner.planning(started, { seed, limits })
  const { bounds } = plan
  const moves: PlannedMove[] = []
  let [moveCount, copiedBytes, leaseTransfers, rounds] = [0, 0, 0, 0]
  // A plan without moves may have left something for the next one to look at.
  while ((plan.moves.length > 0 || plan.unexamined > 0) && rounds < maximumRounds) {
    const now = fleet.snapshot()
    for (const move of plan.moves) {
      if (moves.length < maximumMoves) moves.push(move)
      moveCount++
      copiedBytes += move.bytes
      if (move.kind === 'transferLease') leaseTransfers++
      carryOut(fleet, now, move)
      if (moveCount % movesTogether === 0) yield
    }
    rounds++
    plan = yield* planner.planning(fleet.snapshot(), { seed, limits })
  }
  const result = {
    before: yield* summarizing(snapshot, current),
    changed: yield* summarizing(started, wanted),
    after: yield* summarizing(fleet.snapshot(), wanted),
    moves,
    moveCount,
    copiedBytes,
    leaseTransfers,
    rounds,
    settled: plan.moves.length === 0 && plan.unexamined === 0,
    blocked: plan.blocked,
    blockedCount: plan.blockedCount,
    bounds,
  }
  return { ...result, explained: inWords(result) }
}

/** All ranges of a snapshot, and undefined from time to time: a place to stop at. */
function* eachRange(snapshot: PlacementSnapshot): Generator<RangeReader | undefined> {
  const reader = snapshot.reader()
  for (let read = 1; reader.next(); read++) {
    if (read % rangesTogether === 0) yield undefined
    yield reader
  }
}

/** A fleet that holds what a snapshot says. The moves under way are taken for done, since they count as that. */
function* copyOf(snapshot: PlacementSnapshot): Sliced<Fleet> {
  const fleet = new Fleet({ deadAfterMs: 1 })
  snapshot.nodes.forEach((node, i) => {
    const gone = ((snapshot.nodeStatus[i] as number) & nodeBits.gone) !== 0
    fleet.setNode({ ...node, forMs: node.liveness === 'dead' && !gone ? 0 : 1 })
  })
  for (const reader of eachRange(snapshot)) {
    if (reader === undefined) yield
    else {
      fleet.setRange(rangeOf(reader))
      if (reader.held > 0) fleet.setHold(reader.rangeId, reader.held === 2 ? 'all' : 'improvements')
    }
  }
  for (const move of snapshot.moves) {
    const range = snapshot.range(move.rangeId)
    if (range === undefined) continue
    const node = move.add === undefined ? undefined : snapshot.nodes[snapshot.nodeIndex.get(move.add) ?? -1]
    const onStore = move.storeId === undefined ? {} : { storeId: move.storeId }
    setReplicas(fleet, range, {
      ...(node === undefined
        ? {}
        : {
            add: {
              nodeId: node.descriptor.nodeId,
              incarnation: node.descriptor.incarnation,
              ...onStore,
            },
            nonVoter: bringsNonVoter(move.kind),
          }),
      ...(move.remove === undefined ? {} : { remove: move.remove }),
      ...(move.leaseTo === undefined ? {} : { leaseTo: move.leaseTo }),
    })
  }
  return fleet
}

/** A range as a fleet takes it. */
function rangeOf(reader: RangeReader): PlacementRange {
  const { snapshot } = reader
  const replicas: ReplicaDescriptor[] = []
  const stores = new Map<ReplicaId, string>()
  let leaseHolder: ReplicaId | undefined
  for (let i = 0; i < reader.replicas; i++) {
    const replicaId = reader.replicaId(i)
    const life = snapshot.table.lives[reader.life(i)]
    if (life === undefined) continue
    replicas.push({ replicaId, nodeId: life.nodeId, incarnation: life.incarnation, role: reader.role(i) })
    if (life.storeId !== '') stores.set(replicaId, life.storeId)
    if ((reader.status(i) & replicaBits.lease) !== 0) leaseHolder = replicaId
  }
  const amounts = (of: (resource: number) => number): Record<string, number> =>
    Object.fromEntries(snapshot.resources.map((name, r) => [name, of(r)]))
  return {
    descriptor: {
      rangeId: reader.rangeId,
      start: noBytes,
      end: undefined,
      generation: reader.generation,
      replicas,
    },
    ...(leaseHolder === undefined ? {} : { leaseHolder }),
    load: amounts((r) => reader.load(r)),
    leaderLoad: amounts((r) => reader.leaderLoad(r)),
    replicationFactor: reader.replicationFactor,
    nonVoters: reader.nonVoters,
    tableId: reader.tableId,
    stores,
  }
}

function* applyChange(fleet: Fleet, snapshot: PlacementSnapshot, change: WhatIfChange): Sliced<void> {
  const changed = new Map<NodeId, PlacementNode>()
  const nodeOf = (nodeId: NodeId): PlacementNode => {
    const node = changed.get(nodeId) ?? snapshot.nodes[snapshot.nodeIndex.get(nodeId) ?? -1]
    if (node !== undefined) return node
    throw new KeelsonError('NOT_FOUND', `the snapshot has no node ${showValue(nodeId)}`)
  }
  const known = new Set(snapshot.nodeIndex.keys())
  for (const node of checkArray(change.addNodes ?? [], 'the nodes that come')) {
    checkNode(node)
    if (known.has(node.descriptor.nodeId)) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `${node.descriptor.nodeId} is there already; give another name`,
      )
    }
    known.add(node.descriptor.nodeId)
    fleet.setNode(node)
  }
  const set = (node: PlacementNode): void => {
    changed.set(node.descriptor.nodeId, node)
    fleet.setNode(node)
  }
  for (const nodeId of checkArray(change.drainNodes ?? [], 'the nodes to empty')) {
    set({ ...nodeOf(nodeId), state: 'draining', forMs: 1 })
  }
  for (const [name, level] of Object.entries(change.overloadStores ?? {})) {
    const [nodeId = '', ...rest] = name.split('/')
    set(withOverload(nodeOf(nodeId), rest.join('/'), level))
  }
  const lost = checkArray(change.loseNodes ?? [], 'the nodes that are lost').map(nodeOf)
  if (change.loseDomain !== undefined) {
    const { tier, value } = checkObject(change.loseDomain, 'the domain that is lost', ['tier', 'value'])
    checkText(tier, 'the tier of the domain that is lost', 256)
    const there = snapshot.nodes.filter(
      ({ descriptor }) => localityValue(descriptor.locality, tier) === value,
    )
    if (there.length === 0) {
      const tiers = new Set(
        snapshot.nodes.flatMap(({ descriptor }) => descriptor.locality.map(({ key }) => key)),
      )
      const suggestion = tiers.has(tier) ? undefined : closest(tier, [...tiers])
      const hint = suggestion === undefined ? '' : `; did you mean '${suggestion}'?`
      throw new KeelsonError('NOT_FOUND', `no node is in ${showValue(tier)} ${showValue(value)}${hint}`)
    }
    lost.push(...there)
  }
  for (const { descriptor } of lost) set({ ...nodeOf(descriptor.nodeId), liveness: 'dead', forMs: 1 })
  if (change.growLoad !== undefined) yield* growLoads(fleet, snapshot, change.growLoad)
  yield* electLeaders(fleet)
}

/** A node of which a store, or with an empty store id all of it, is so hard-pressed. */
function withOverload(node: PlacementNode, storeId: string, level: StoreOverload): PlacementNode {
  const { nodeId } = node.descriptor
  if (!Object.hasOwn(overloadLevel, level)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `overloadStores takes ${Object.keys(overloadLevel).join(', ')}, not ${showValue(level)}`,
    )
  }
  if (storeId === '') return { ...node, overload: level }
  const stores = (node.stores ?? []).map((store) =>
    store.storeId === storeId ? { ...store, overload: level } : store,
  )
  if (stores.some((store) => store.storeId === storeId)) return { ...node, stores }
  throw new KeelsonError('NOT_FOUND', `node ${nodeId} has no store ${showValue(storeId)}`)
}

function* growLoads(
  fleet: Fleet,
  snapshot: PlacementSnapshot,
  factors: Readonly<Record<string, number>>,
): Sliced<void> {
  for (const [name, factor] of Object.entries(checkObject(factors, 'growLoad'))) {
    if (!snapshot.resources.includes(name)) {
      const suggestion = closest(name, snapshot.resources)
      const there = snapshot.resources.join(', ') || 'none'
      const hint = suggestion === undefined ? `there are: ${there}` : `did you mean '${suggestion}'?`
      throw new KeelsonError('INVALID_ARGUMENT', `growLoad has a load dimension ${showValue(name)}; ${hint}`)
    }
    if (typeof factor === 'number' && factor >= 0 && factor <= mostGrowth) continue
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `growLoad.${name} is a factor from 0 to ${mostGrowth}, not ${showValue(factor)}`,
    )
  }
  const grown = (of: (resource: number) => number): Record<string, number> =>
    Object.fromEntries(
      snapshot.resources.map((name, r) => [
        name,
        Math.min(
          Number.MAX_SAFE_INTEGER,
          of(r) * (Object.hasOwn(factors, name) ? (factors[name] as number) : 1),
        ),
      ]),
    )
  for (const reader of eachRange(snapshot)) {
    if (reader === undefined) yield
    else
      fleet.setLoad(
        reader.rangeId,
        grown((r) => reader.load(r)),
        grown((r) => reader.leaderLoad(r)),
      )
  }
}

/** Ranges whose leader is lost elect another, without the control plane, wherever a quorum is left. */
function* electLeaders(fleet: Fleet): Sliced<void> {
  for (const reader of eachRange(fleet.snapshot())) {
    if (reader === undefined) {
      yield
      continue
    }
    let [voters, live, heir, led] = [0, 0, 0, false]
    for (let i = 0; i < reader.replicas; i++) {
      const status = reader.status(i)
      if ((status & replicaBits.lease) !== 0) led = true
      if ((status & replicaBits.voter) === 0) continue
      voters++
      if ((status & replicaBits.up) === 0) continue
      live++
      if (heir === 0) heir = reader.replicaId(i)
    }
    if (!led && live * 2 > voters) setReplicas(fleet, reader, { leaseTo: heir })
  }
}

/** Carries a planned move out, wholly and at once. */
function carryOut(fleet: Fleet, snapshot: PlacementSnapshot, move: PlannedMove): void {
  const range = snapshot.range(move.rangeId)
  if (range === undefined) return
  setReplicas(fleet, range, {
    ...(move.add === undefined ? {} : { add: move.add, nonVoter: bringsNonVoter(move.kind) }),
    ...(move.remove === undefined ? {} : { remove: move.remove.replicaId }),
    ...(move.leaseTo === undefined ? {} : { leaseTo: move.leaseTo.replicaId }),
  })
}

interface ReplicaChange {
  readonly add?: {
    readonly nodeId: NodeId
    readonly incarnation: number
    readonly replicaId?: ReplicaId
    readonly storeId?: string
  }
  /** What is added does not vote. */
  readonly nonVoter?: boolean
  readonly remove?: ReplicaId
  readonly leaseTo?: ReplicaId
}

function setReplicas(fleet: Fleet, reader: RangeReader, change: ReplicaChange): void {
  const { add, remove, leaseTo } = change
  const role = change.nonVoter === true ? 'learner' : 'voter'
  const range = rangeOf(reader)
  const { descriptor } = range
  let replicas = descriptor.replicas.filter(({ replicaId }) => replicaId !== remove)
  const stores = new Map(range.stores)
  if (add !== undefined) {
    const there = replicas.find(({ nodeId }) => nodeId === add.nodeId)
    if (there !== undefined) {
      replicas = replicas.map((replica) => (replica === there ? { ...replica, role } : replica))
    } else {
      const replicaId = descriptor.replicas.reduce((most, each) => Math.max(most, each.replicaId), 0) + 1
      replicas = [...replicas, { replicaId, nodeId: add.nodeId, incarnation: add.incarnation, role }]
      if (add.storeId !== undefined) stores.set(replicaId, add.storeId)
    }
  }
  const stays = replicas.some(({ replicaId }) => replicaId === range.leaseHolder)
  const leaseHolder = leaseTo ?? (stays ? range.leaseHolder : undefined)
  const { leaseHolder: _, ...rest } = range
  fleet.setRange({
    ...rest,
    descriptor: { ...descriptor, generation: descriptor.generation + 1, replicas },
    ...(leaseHolder === undefined ? {} : { leaseHolder }),
    stores,
  })
}

function inWords(result: Omit<WhatIfResult, 'explained'>): readonly string[] {
  const { before, changed, after, moveCount, leaseTransfers, copiedBytes, rounds, settled } = result
  const copies = moveCount - leaseTransfers
  const lines = [
    `${copies} moves of replicas and ${leaseTransfers} transfers of leases in ${rounds} plans, ${copiedBytes} bytes copied`,
    `${changed.underReplicated} ranges lack replicas after the change, ${after.underReplicated} at the end; ${changed.withoutQuorum} and ${after.withoutQuorum} have no quorum`,
  ]
  if (changed.lackNonVoters + after.lackNonVoters > 0) {
    lines.push(
      `${changed.lackNonVoters} ranges lack non-voters after the change, ${after.lackNonVoters} at the end`,
    )
  }
  for (const resource of after.resources) {
    const [was, is] = [fullest(before, resource), fullest(after, resource)]
    if (was.part === 0 && is.part === 0) continue
    lines.push(
      `${resource}: the fullest was ${was.name} with ${percent(was.part)}, at the end it is ${is.name} with ${percent(is.part)}`,
    )
  }
  if (result.blockedCount > 0) lines.push(`${result.blockedCount} ranges need what cannot be done`)
  if (!settled) lines.push('there was more to do; give it more rounds')
  return lines
}

function percent(part: number): string {
  return `${(part * 100).toFixed(1)} %`
}
