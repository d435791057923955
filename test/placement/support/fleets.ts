import { SeededRandom } from '../../../src/core/random.ts'
import type { SimulatedNode, SimulatedRange } from '../../../src/placement/simulate/world.ts'

/** What {@link drawFleet} draws. */
interface FleetShape {
  readonly nodes: number
  readonly ranges: number
  readonly seed?: number
  readonly zones?: number
  readonly racksOfZone?: number
  readonly bytes?: number
  /** Capacity in multiples of the mean; every fourth node has twice of it. */
  readonly headroom?: number
  readonly cpu?: number
}

/** A fleet with zones and racks and nodes of two sizes, its ranges dealt out at random over different nodes. */
export function drawFleet(shape: FleetShape): {
  readonly nodes: readonly SimulatedNode[]
  readonly ranges: readonly SimulatedRange[]
} {
  const { nodes: count, ranges, seed = 1, zones = 3, racksOfZone = 4, bytes = 64, headroom = 1.6 } = shape
  const random = new SeededRandom(seed)
  const mean = (ranges * 3 * bytes) / (count * 1.25)
  const nodes = Array.from({ length: count }, (_, i): SimulatedNode => {
    const large = i % 4 === 3 ? 2 : 1
    const zone = i % zones
    const rack = Math.floor(i / zones) % racksOfZone
    return {
      descriptor: {
        nodeId: `n${String(i).padStart(5, '0')}`,
        incarnation: 1,
        addresses: [],
        locality: [
          { key: 'zone', value: `z${zone}` },
          { key: 'rack', value: `z${zone}-r${rack}` },
        ],
        capacity: { bytes: mean * headroom * large, cpu: (shape.cpu ?? 1) * large },
        labels: {},
      },
      ingressBytesPerSecond: bytes * 4 * large,
      egressBytesPerSecond: bytes * 4 * large,
    }
  })
  return {
    nodes,
    ranges: Array.from({ length: ranges }, () => {
      const chosen = new Set<number>()
      while (chosen.size < 3) chosen.add(random.integer(count))
      return { bytes, nodes: [...chosen].map((i) => (nodes[i] as SimulatedNode).descriptor.nodeId) }
    }),
  }
}
