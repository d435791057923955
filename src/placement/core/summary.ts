import { checkObject } from '../../core/arguments.ts'
import { finish, type Sliced } from '../../core/sliced.ts'
import type { NodeId } from '../../model/ids.ts'
import type { Locality } from '../../model/locality.ts'
import { type PlacementPolicy, placementPolicy } from './policy.ts'
import { nodeBits, type PlacementSnapshot, replicaBits, type StoreOverload } from './snapshot.ts'
import { wantedNonVoters, wantedVoters } from './working-set.ts'

/** In what condition a store is, as far as placement goes. */
export type StoreCondition = 'up' | 'suspect' | 'lost' | 'leaving' | 'resting'

/** What a store holds. */
export interface StoreSummary {
  /** Name for people: the node's, and the store's own where a node has several. */
  readonly name: string
  /** The node that it is in. */
  readonly nodeId: NodeId
  /** Where that stands. */
  readonly locality: Locality
  /** In what condition it is. */
  readonly condition: StoreCondition
  /** How hard-pressed it is said to be, if it is. */
  readonly overload: StoreOverload | undefined
  /** Replicas on it, those that are lost left out. */
  readonly replicas: number
  /** Leases on it. */
  readonly leases: number
  /** Amounts in use, by resource. */
  readonly used: Readonly<Record<string, number>>
  /** What it can hold, by resource; what is not named has no limit. */
  readonly capacity: Readonly<Record<string, number>>
}

/** A cluster in numbers. */
export interface ClusterSummary {
  /** By node and store id. */
  readonly stores: readonly StoreSummary[]
  /** Load dimensions that anything is known of. */
  readonly resources: readonly string[]
  /** Ranges there are. */
  readonly ranges: number
  /** Ranges that have lost voters or too few of them. */
  readonly underReplicated: number
  /** Ranges that have lost replicas without a vote or too few of them. */
  readonly lackNonVoters: number
  /** Ranges of which no quorum is alive. */
  readonly withoutQuorum: number
}

/** Ranges that are looked at in one step of work in slices. */
export const rangesTogether = 256

/**
 * A cluster in numbers. O(replicas).
 *
 * @param policy says how many replicas ranges are to have, where they do not say so themselves
 * @throws KeelsonError `INVALID_ARGUMENT`, `INVALID_OPTION`
 */
export function summarize(
  snapshot: PlacementSnapshot,
  policy: Partial<PlacementPolicy> = {},
): ClusterSummary {
  return finish(summarizing(snapshot, placementPolicy(policy)))
}

/** The same in small steps. @throws KeelsonError `INVALID_ARGUMENT` */
export function* summarizing(snapshot: PlacementSnapshot, policy: PlacementPolicy): Sliced<ClusterSummary> {
  checkObject(snapshot, 'the snapshot to summarize', ['table', 'reader', 'resources'])
  const { stores, resources, table } = snapshot
  const replicas = new Float64Array(stores.length)
  const leases = new Float64Array(stores.length)
  const used = resources.map(() => new Float64Array(stores.length))
  let [underReplicated, lackNonVoters, withoutQuorum, read] = [0, 0, 0, 0]
  const reader = snapshot.reader()
  while (reader.next()) {
    if (++read % rangesTogether === 0) yield
    let [voters, live, kept, others] = [0, 0, 0, 0]
    for (let i = 0; i < reader.replicas; i++) {
      const status = reader.status(i)
      const store = reader.store(i)
      const votes = (status & replicaBits.voter) !== 0
      if (votes) voters++
      if (votes && (status & replicaBits.up) !== 0) live++
      if (store < 0 || (status & replicaBits.lost) !== 0) continue
      if (votes) kept++
      else others++
      replicas[store] = (replicas[store] as number) + 1
      const leads = (status & replicaBits.lease) !== 0
      if (leads) leases[store] = (leases[store] as number) + 1
      used.forEach((column, r) => {
        column[store] = (column[store] as number) + reader.load(r) + (leads ? reader.leaderLoad(r) : 0)
      })
    }
    const rules = policy.rules?.classOf(reader.rangeId, reader.tableId || undefined)
    if (kept < (wantedVoters(reader, rules) ?? policy.replicationFactor)) underReplicated++
    if (others < wantedNonVoters(reader, rules)) lackNonVoters++
    if (live * 2 <= voters) withoutQuorum++
  }
  return {
    stores: stores.map(({ node, capacity, overload }, store) => ({
      name: table.nameOf(store),
      nodeId: node.descriptor.nodeId,
      locality: node.descriptor.locality,
      condition: conditionOf(table.storeStatus[store] as number),
      overload,
      replicas: replicas[store] as number,
      leases: leases[store] as number,
      used: Object.fromEntries(resources.map((name, r) => [name, used[r]?.[store] as number])),
      capacity,
    })),
    resources,
    ranges: snapshot.rangeCount,
    underReplicated,
    lackNonVoters,
    withoutQuorum,
  }
}

function conditionOf(bits: number): StoreCondition {
  if ((bits & nodeBits.gone) !== 0) return 'lost'
  if ((bits & nodeBits.resting) !== 0) return 'resting'
  if ((bits & nodeBits.up) === 0) return 'suspect'
  if ((bits & nodeBits.leaving) !== 0) return 'leaving'
  return (bits & nodeBits.eligible) !== 0 ? 'up' : 'suspect'
}

/** The store that is fullest. */
export interface Fullest {
  /** Its name; empty when nothing has a limit. */
  readonly name: string
  /** How full it is, as a part of its capacity. */
  readonly part: number
}

/** How full the fullest store is that takes part, as a part of its capacity; 0 where nothing has a limit. */
export function fullest(summary: ClusterSummary, resource: string): Fullest {
  let best = { name: '', part: 0 }
  for (const { name, condition, used, capacity } of summary.stores) {
    const room = capacity[resource]
    if (condition === 'lost' || room === undefined || room === 0) continue
    const part = (used[resource] ?? 0) / room
    if (part > best.part) best = { name, part }
  }
  return best
}
