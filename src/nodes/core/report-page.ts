import type { ObservedReplica } from '../../interfaces/range-host.ts'
import type { Load, ReplicaDescriptor, ReplicaRole } from '../../model/descriptors.ts'
import type { NodeId, RangeId } from '../../model/ids.ts'
import type { NodeReport } from './report.ts'

/** Resources that have a column; what a replica says of more than that is kept beside the columns. */
const maximumColumns = 32
const roles: readonly ReplicaRole[] = ['learner', 'voter', 'incoming', 'outgoing', 'demoting']
const roleBits = 7
const caughtUpBit = 8
const leaseBit = 1
const swapsBit = 2
const boundsBit = 4
const endlessBit = 8

type Numbers = Float64Array | Uint32Array

/** What hardly any replica has, or what does not fit into the columns. */
type Rare = Pick<Partial<ObservedReplica>, 'splitOff' | 'frozen' | 'splitKeys' | 'load' | 'caughtUp'>

/**
 * The report of one node in columns, its replicas by ascending range id: a few dozen bytes for each of them in place of a
 * tree of objects. What is read from it is made anew. Never changed.
 */
export class ReportPage {
  /** The report without its replicas. */
  readonly head: Omit<NodeReport, 'replicas'>
  /** When it came. */
  readonly atMs: number
  /** Range of each replica, ascending; a range stands once. */
  readonly rangeIds: Numbers
  readonly #replicaIds: Numbers
  readonly #generations: Numbers
  readonly #sequences: Numbers
  readonly #flags: Uint8Array
  /** Behind the last member of each replica's configuration. */
  readonly #memberEnd: Uint32Array
  readonly #memberIds: Numbers
  /** Which of the lives below each member is on. */
  readonly #memberLife: Uint16Array | Uint32Array
  /** Role of each member, and whether it has caught up. */
  readonly #memberBits: Uint8Array
  readonly #lifeNodes: NodeId[] = []
  readonly #lifeIncarnations: number[] = []
  readonly #resources: readonly string[]
  /** replicas × resources; not a number where the replica does not name the resource. */
  readonly #loads: Float64Array
  /** Start and end of the bounds of all replicas that report them, and where each ends. */
  readonly #keys: Uint8Array
  readonly #keyEnd: Uint32Array
  /** Stores that replicas are on, and which of them each is on, from 1; undefined where no replica names one. */
  readonly #stores: readonly string[]
  readonly #storeOf: Uint8Array | undefined
  readonly #rare = new Map<number, Rare>()

  /** @param nameOf gives one string for equal names, so that a thousand reports do not hold a thousand copies of each */
  constructor(report: NodeReport, atMs: number, nameOf: (nodeId: NodeId) => NodeId) {
    const { replicas: all, ...head } = report
    const replicas = oncePerRange(all)
    const count = replicas.length
    this.head = head
    this.atMs = atMs
    this.rangeIds = compact(replicas, ({ rangeId }) => rangeId)
    this.#replicaIds = compact(replicas, ({ replicaId }) => replicaId)
    this.#generations = compact(replicas, ({ generation }) => generation)
    this.#sequences = compact(replicas, ({ sequence }) => sequence)
    this.#flags = new Uint8Array(count)
    this.#stores = [...new Set(replicas.flatMap(({ storeId }) => storeId ?? []))]
    this.#storeOf =
      this.#stores.length === 0
        ? undefined
        : Uint8Array.from(replicas, ({ storeId }) =>
            storeId === undefined ? 0 : this.#stores.indexOf(storeId) + 1,
          )
    this.#resources = resourcesOf(replicas)
    this.#loads = new Float64Array(count * this.#resources.length).fill(Number.NaN)
    this.#memberEnd = new Uint32Array(count)
    const members = replicas.flatMap((replica) => replica.replicas)
    this.#memberIds = compact(members, ({ replicaId }) => replicaId)
    this.#memberBits = new Uint8Array(members.length)
    this.#memberLife = this.#livesOf(members, nameOf)
    this.#keyEnd = new Uint32Array(2 * count)
    this.#keys = new Uint8Array(
      replicas.reduce((sum, { bounds }) => sum + (bounds?.start.length ?? 0) + (bounds?.end?.length ?? 0), 0),
    )
    let [member, key] = [0, 0]
    replicas.forEach((replica, row) => {
      this.#setLoad(row, replica.load)
      for (const { replicaId, role } of replica.replicas) {
        const caughtUp = replica.caughtUp.includes(replicaId) ? caughtUpBit : 0
        this.#memberBits[member++] = roles.indexOf(role) | caughtUp
      }
      this.#memberEnd[row] = member
      const { bounds } = replica
      for (const [i, bytes] of [bounds?.start, bounds?.end].entries()) {
        if (bytes !== undefined) this.#keys.set(bytes, key)
        key += bytes?.length ?? 0
        this.#keyEnd[2 * row + i] = key
      }
      this.#flags[row] = this.#flagsOf(replica)
      this.#setRare(row, replica)
    })
  }

  /** Replicas that it tells of. */
  get count(): number {
    return this.rangeIds.length
  }

  /** Where a range stands, or -1. O(log n). */
  rowOf(rangeId: RangeId): number {
    let [low, high] = [0, this.rangeIds.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.rangeIds[middle] as number) < rangeId) low = middle + 1
      else high = middle
    }
    return this.rangeIds[low] === rangeId ? low : -1
  }

  /** A replica as it was reported. */
  read(row: number): ObservedReplica {
    const flags = this.#flags[row] as number
    const load: Record<string, number> = Object.create(null) as Record<string, number>
    this.#resources.forEach((name, r) => {
      const amount = this.#loads[row * this.#resources.length + r] as number
      if (!Number.isNaN(amount)) load[name] = amount
    })
    const replicas: ReplicaDescriptor[] = []
    const caughtUp: number[] = []
    for (
      let i = row === 0 ? 0 : (this.#memberEnd[row - 1] as number);
      i < (this.#memberEnd[row] as number);
      i++
    ) {
      const bits = this.#memberBits[i] as number
      const replicaId = this.#memberIds[i] as number
      const life = this.#memberLife[i] as number
      if ((bits & caughtUpBit) !== 0) caughtUp.push(replicaId)
      replicas.push({
        replicaId,
        nodeId: this.#lifeNodes[life] as NodeId,
        incarnation: this.#lifeIncarnations[life] as number,
        role: roles[bits & roleBits] as ReplicaRole,
      })
    }
    return {
      rangeId: this.rangeIds[row] as number,
      replicaId: this.#replicaIds[row] as number,
      generation: this.#generations[row] as number,
      replicas,
      leaseHolder: (flags & leaseBit) !== 0,
      sequence: this.#sequences[row] as number,
      caughtUp,
      load,
      ...this.#onStore(row),
      ...((flags & swapsBit) === 0 ? {} : { swaps: true }),
      ...((flags & boundsBit) === 0 ? {} : { bounds: this.#boundsOf(row, flags) }),
      ...this.#rare.get(row),
    }
  }

  /** Whether two reports of a replica say the same of what placement looks at. */
  same(row: number, other: ReportPage, otherRow: number): boolean {
    if (this.#generations[row] !== other.#generations[otherRow]) return false
    if (this.#replicaIds[row] !== other.#replicaIds[otherRow]) return false
    if (this.#sequences[row] !== other.#sequences[otherRow]) return false
    if (this.#storeId(row) !== other.#storeId(otherRow)) return false
    const leads = (this.#flags[row] as number) ^ (other.#flags[otherRow] as number)
    return (leads & leaseBit) === 0 && this.#sameLoad(row, other, otherRow)
  }

  #storeId(row: number): string | undefined {
    return this.#storeOf === undefined ? undefined : this.#stores[(this.#storeOf[row] as number) - 1]
  }

  #onStore(row: number): Pick<ObservedReplica, 'storeId'> {
    const storeId = this.#storeId(row)
    return storeId === undefined ? {} : { storeId }
  }

  #sameLoad(row: number, other: ReportPage, otherRow: number): boolean {
    const odd = this.#rare.get(row)?.load ?? other.#rare.get(otherRow)?.load
    if (odd !== undefined || !sameNames(this.#resources, other.#resources)) {
      return sameAmounts(this.read(row).load, other.read(otherRow).load)
    }
    const width = this.#resources.length
    for (let r = 0; r < width; r++) {
      if (!Object.is(this.#loads[row * width + r], other.#loads[otherRow * width + r])) return false
    }
    return true
  }

  #livesOf(
    members: readonly ReplicaDescriptor[],
    nameOf: (nodeId: NodeId) => NodeId,
  ): Uint16Array | Uint32Array {
    const numbers = new Map<string, number>()
    const lives = Uint32Array.from(members, ({ nodeId, incarnation }) => {
      const key = `${nodeId}/${incarnation}`
      const known = numbers.get(key)
      if (known !== undefined) return known
      numbers.set(key, this.#lifeNodes.length)
      this.#lifeIncarnations.push(incarnation)
      return this.#lifeNodes.push(nameOf(nodeId)) - 1
    })
    return numbers.size <= 0x1_0000 ? Uint16Array.from(lives) : lives
  }

  #setLoad(row: number, load: Load): void {
    this.#resources.forEach((name, r) => {
      if (Object.hasOwn(load, name)) this.#loads[row * this.#resources.length + r] = load[name] as number
    })
  }

  #flagsOf({ leaseHolder, swaps, bounds }: ObservedReplica): number {
    return (
      (leaseHolder ? leaseBit : 0) |
      (swaps === true ? swapsBit : 0) |
      (bounds === undefined ? 0 : boundsBit) |
      (bounds !== undefined && bounds.end === undefined ? endlessBit : 0)
    )
  }

  #setRare(row: number, replica: ObservedReplica): void {
    const { splitOff, frozen, splitKeys, load, caughtUp, replicas } = replica
    const fits = Object.keys(load).every((name) => this.#resources.includes(name))
    const known = caughtUp.every((replicaId) => replicas.some((member) => member.replicaId === replicaId))
    const rare: Rare = {
      ...(splitOff === undefined ? {} : { splitOff }),
      ...(frozen === undefined ? {} : { frozen }),
      ...(splitKeys === undefined ? {} : { splitKeys }),
      ...(fits ? {} : { load }),
      ...(known ? {} : { caughtUp }),
    }
    if (Object.keys(rare).length > 0) this.#rare.set(row, rare)
  }

  #boundsOf(row: number, flags: number): NonNullable<ObservedReplica['bounds']> {
    const first = row === 0 ? 0 : (this.#keyEnd[2 * row - 1] as number)
    const [middle, last] = [this.#keyEnd[2 * row] as number, this.#keyEnd[2 * row + 1] as number]
    return {
      start: this.#keys.slice(first, middle),
      end: (flags & endlessBit) === 0 ? this.#keys.slice(middle, last) : undefined,
    }
  }
}

/** By ascending range id; of a range that is told of twice what was said last. */
function oncePerRange(replicas: readonly ObservedReplica[]): readonly ObservedReplica[] {
  if (replicas.every(({ rangeId }, i) => i === 0 || rangeId > (replicas[i - 1] as ObservedReplica).rangeId))
    return replicas
  const last = new Map(replicas.map((replica) => [replica.rangeId, replica]))
  return [...last.values()].sort((a, b) => a.rangeId - b.rangeId)
}

/** Numbers, in half of the memory where all of them are whole and small. */
function compact<T>(items: readonly T[], numberOf: (item: T) => number): Numbers {
  const wide = Float64Array.from(items, numberOf)
  const narrow = Uint32Array.from(wide)
  return wide.every((each, i) => each === narrow[i]) ? narrow : wide
}

/** The first resources that the replicas name. */
function resourcesOf(replicas: readonly ObservedReplica[]): readonly string[] {
  const names = new Set<string>()
  for (const { load } of replicas) {
    for (const name of Object.keys(load)) if (names.size < maximumColumns) names.add(name)
  }
  return [...names]
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i])
}

function sameAmounts(a: Load, b: Load): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name])
}
