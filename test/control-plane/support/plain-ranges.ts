import type { ObservedReplica, RangeHost, WantedRange } from '../../../src/interfaces/range-host.ts'
import type { Load, ReplicaDescriptor } from '../../../src/model/descriptors.ts'

interface PlainRange {
  readonly rangeId: number
  generation: number
  replicas: readonly ReplicaDescriptor[]
  leader: number
  sequence: number
  lastReplicaId: number
}

/** What a replica costs its node. */
export type LoadOf = (replica: { readonly rangeId: number; readonly leads: boolean }) => Load

/**
 * Ranges in memory that do at once what they are told, and never fail: for tests of what the control plane decides, not of how
 * it is carried out.
 */
export class PlainRanges {
  readonly ranges = new Map<number, PlainRange>()
  /** Told of each range that is made. */
  onBootstrap: (rangeId: number) => void = () => {}
  readonly #wanted = new Map<string, readonly WantedRange[]>()
  readonly #loadOf: LoadOf

  constructor(loadOf: LoadOf = () => ({ bytes: 1 })) {
    this.#loadOf = loadOf
  }

  /** What one node serves of them. */
  host(nodeId: string): RangeHost {
    return {
      reconcile: async (wanted) => {
        this.#wanted.set(nodeId, wanted)
        this.#drive(nodeId)
      },
      observe: () => {
        this.#drive(nodeId)
        return this.#observe(nodeId)
      },
    }
  }

  /** Nodes of a range, the leader first. */
  nodesOf(rangeId: number): readonly string[] {
    const range = this.ranges.get(rangeId)
    const replicas = [...(range?.replicas ?? [])]
    return replicas
      .sort((a, b) => Number(b.replicaId === range?.leader) - Number(a.replicaId === range?.leader))
      .map(({ nodeId }) => nodeId)
  }

  #drive(nodeId: string): void {
    for (const wanted of this.#wanted.get(nodeId) ?? []) {
      const { rangeId, descriptor, bootstrap } = wanted
      if (bootstrap && !this.ranges.has(rangeId)) {
        const { generation, replicas } = descriptor
        const leader = replicas.find((replica) => replica.nodeId === nodeId)?.replicaId ?? 1
        this.ranges.set(rangeId, {
          rangeId,
          generation,
          replicas,
          leader,
          sequence: 1,
          lastReplicaId: replicas.length,
        })
        this.onBootstrap(rangeId)
      }
      const range = this.ranges.get(rangeId)
      const leads = range?.replicas.some(
        (replica) => replica.nodeId === nodeId && replica.replicaId === range.leader,
      )
      if (range !== undefined && leads === true) change(range, wanted)
    }
  }

  #observe(nodeId: string): readonly ObservedReplica[] {
    const observed: ObservedReplica[] = []
    for (const range of this.ranges.values()) {
      const { rangeId, generation, replicas, sequence } = range
      const mine = replicas.find((replica) => replica.nodeId === nodeId)
      if (mine === undefined) continue
      const leads = mine.replicaId === range.leader
      observed.push({
        rangeId,
        replicaId: mine.replicaId,
        generation,
        replicas,
        leaseHolder: leads,
        sequence,
        caughtUp: leads ? replicas.map(({ replicaId }) => replicaId) : [],
        load: this.#loadOf({ rangeId, leads }),
      })
    }
    return observed
  }
}

function change(range: PlainRange, { change: wanted }: WantedRange): void {
  if (wanted === undefined || wanted.generation !== range.generation) return
  switch (wanted.type) {
    case 'addLearner': {
      const { nodeId, incarnation } = wanted
      const replicaId = ++range.lastReplicaId
      range.replicas = [...range.replicas, { replicaId, nodeId, incarnation, role: 'learner' }]
      break
    }
    case 'promote':
      range.replicas = range.replicas.map((replica) =>
        replica.replicaId === wanted.replicaId ? { ...replica, role: 'voter' } : replica,
      )
      break
    case 'remove':
      range.replicas = range.replicas.filter(({ replicaId }) => replicaId !== wanted.replicaId)
      if (range.leader === wanted.replicaId) range.leader = range.replicas[0]?.replicaId ?? 0
      break
    case 'transferLease':
      range.leader = wanted.replicaId
      range.sequence++
      return
    default:
      throw new Error(`${wanted.type} is asked of a range that does not say that it can`)
  }
  range.generation++
}
