import type { Random } from '../../../src/core/random.ts'
import { nowhere, type PlacementColumns } from '../../../src/placement/core/assignment.ts'
import { replicaBits } from '../../../src/placement/core/snapshot.ts'

/** What {@link drawColumns} draws from. */
interface ColumnsShape {
  readonly nodes?: number
  readonly ranges?: number
  readonly resources?: readonly string[]
  /** Slots of the largest range. */
  readonly replicas?: number
  /** Part of the slots whose replica is lost or to be made. */
  readonly missing?: number
  readonly zones?: number
  readonly leaderLoad?: boolean
  /** Part of the replicas that do not vote. */
  readonly learners?: number
  /** Classes of rules. */
  readonly classes?: number
}

/** Columns drawn at random, all amounts small whole numbers. Nodes have room for a little more than the average. */
export function drawColumns(random: Random, shape: ColumnsShape = {}): PlacementColumns {
  const nodeCount = shape.nodes ?? 6
  const rangeCount = shape.ranges ?? 8
  const resources = shape.resources ?? ['bytes', 'cpu']
  const width = resources.length
  const sizes = Array.from({ length: rangeCount }, () => 1 + random.integer(shape.replicas ?? 4))
  const firstSlot = new Uint32Array(rangeCount + 1)
  sizes.forEach((size, range) => {
    firstSlot[range + 1] = (firstSlot[range] as number) + size
  })
  const slotCount = firstSlot[rangeCount] as number
  const rangeOf = Int32Array.from(sizes.flatMap((size, range) => Array.from({ length: size }, () => range)))
  const missing = shape.missing ?? 0
  const home = Int32Array.from(rangeOf, () =>
    random.float() < missing ? nowhere : random.integer(nodeCount),
  )
  const lost = Uint8Array.from(home, () => (random.float() < missing ? replicaBits.lost : 0))
  const learner = Uint8Array.from(home, () =>
    shape.learners !== undefined && random.float() < shape.learners ? 1 : 0,
  )
  const load = Float64Array.from({ length: slotCount * width }, () => random.integer(10))
  const total = load.reduce((sum, each) => sum + each, 0)
  const zones = shape.zones ?? 3
  const zoneOf = Int32Array.from({ length: nodeCount }, () => random.integer(zones))
  const rackOf = Int32Array.from({ length: nodeCount }, () => random.integer(zones * 2))
  const homeLeader = Int32Array.from(sizes, (size, range) => {
    const slot = (firstSlot[range] as number) + random.integer(size)
    return (home[slot] as number) < 0 || lost[slot] !== 0 ? nowhere : slot
  })
  const leaderLoad = Float64Array.from({ length: rangeCount * width }, () => random.integer(5))
  return {
    nodeCount,
    rangeCount,
    slotCount,
    resources,
    capacity: Float64Array.from({ length: nodeCount * width }, () =>
      random.integer(8) === 0
        ? Number.POSITIVE_INFINITY
        : Math.ceil((total / nodeCount / width) * (1 + random.float() * 2)),
    ),
    firstSlot,
    rangeOf,
    load,
    leaderLoad: shape.leaderLoad === false ? undefined : leaderLoad,
    home,
    homeLeader,
    moveBytes: Float64Array.from(rangeOf, () => random.integer(100)),
    status: Uint8Array.from(
      rangeOf,
      (_, slot) => (learner[slot] === 1 ? 0 : replicaBits.voter) | replicaBits.up | (lost[slot] as number),
    ),
    fixed: new Uint8Array(slotCount),
    eligible: Uint8Array.from({ length: nodeCount }, () => (random.integer(6) === 0 ? 0 : 1)),
    ruleClass:
      shape.classes === undefined
        ? undefined
        : Int32Array.from({ length: rangeCount }, () => random.integer(shape.classes as number)),
    tableOf: Int32Array.from({ length: rangeCount }, () => random.integer(3)),
    domains(tier) {
      if (tier !== 'zone' && tier !== 'rack') return { of: new Int32Array(nodeCount), count: 1, names: [''] }
      const of = tier === 'zone' ? zoneOf : rackOf
      const count = tier === 'zone' ? zones : zones * 2
      return { of, count, names: Array.from({ length: count }, (_, i) => `${tier}-${i}`) }
    },
    label: (node, name) => (name === 'disk' ? (node % 2 === 0 ? 'ssd' : 'hdd') : undefined),
    nodeName: (node) => `n${node}`,
    rangeName: (range) => `range ${range}`,
  }
}
