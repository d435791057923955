import { parseLocality } from '../../../src/model/index.ts'
import type { PlacementNode, PlacementRange, Plan } from '../../../src/placement/index.ts'
import { Fleet } from '../../../src/placement/index.ts'

/** A node that is alive, with a locality such as `zone=z1,rack=r2`. */
export function plainNode(nodeId: string, locality = '', change: Partial<PlacementNode> = {}): PlacementNode {
  return {
    descriptor: {
      nodeId,
      incarnation: 1,
      addresses: [],
      locality: parseLocality(locality),
      capacity: {},
      labels: {},
    },
    state: 'active',
    liveness: 'live',
    forMs: 1_000_000,
    ...change,
  }
}

/** A range of voters, of which the first leads. */
export function plainRange(
  rangeId: number,
  nodeIds: readonly string[],
  change: Partial<PlacementRange> = {},
): PlacementRange {
  return {
    descriptor: {
      rangeId,
      start: new Uint8Array(0),
      end: undefined,
      generation: 1,
      replicas: nodeIds.map((nodeId, i) => ({ replicaId: i + 1, nodeId, incarnation: 1, role: 'voter' })),
    },
    leaseHolder: 1,
    load: { bytes: 100 },
    ...change,
  }
}

/** A fleet in which moves take effect at once. */
export class PlainFleet {
  readonly fleet = new Fleet({ deadAfterMs: 1 })
  readonly ranges = new Map<number, PlacementRange>()
  moved = 0

  constructor(nodes: readonly PlacementNode[], ranges: readonly PlacementRange[]) {
    for (const node of nodes) this.fleet.setNode(node)
    for (const range of ranges) this.#set(range)
  }

  apply({ moves }: Plan): void {
    for (const move of moves) {
      const range = this.ranges.get(move.rangeId) as PlacementRange
      const { descriptor } = range
      let replicas = descriptor.replicas.filter(({ replicaId }) => replicaId !== move.remove?.replicaId)
      if (move.add !== undefined) {
        const replicaId = Math.max(0, ...descriptor.replicas.map((each) => each.replicaId)) + 1
        replicas = [...replicas, { replicaId, nodeId: move.add.nodeId, incarnation: 1, role: 'voter' }]
      }
      const led = replicas.some(({ replicaId }) => replicaId === range.leaseHolder)
      const leaseHolder = move.leaseTo?.replicaId ?? (led ? range.leaseHolder : replicas[0]?.replicaId)
      this.#set({
        ...range,
        descriptor: { ...descriptor, generation: descriptor.generation + 1, replicas },
        ...(leaseHolder === undefined ? {} : { leaseHolder }),
      })
      this.moved++
    }
  }

  replicasOn(nodeId: string): number {
    let count = 0
    for (const { descriptor } of this.ranges.values())
      count += descriptor.replicas.filter((replica) => replica.nodeId === nodeId).length
    return count
  }

  #set(range: PlacementRange): void {
    this.ranges.set(range.descriptor.rangeId, range)
    this.fleet.setRange(range)
  }
}
