import type { ObservedReplica } from '../../../interfaces/range-host.ts'
import type { Load } from '../../../model/descriptors.ts'
import type { ReplicaId } from '../../../model/ids.ts'

const fraction = 2 ** 20
const whole = 4096

/**
 * A load on the grid on which sums are exact: whole numbers from 4,096 on, multiples of 2⁻²⁰ below. So what is added and
 * taken away again leaves nothing behind, and what a plan counts does not depend on the order in which it was counted.
 */
export function exactLoad(amount: number | undefined): number {
  if (amount === undefined || !(amount > 0)) return 0
  if (amount >= whole) return Math.min(Number.MAX_SAFE_INTEGER, Math.round(amount))
  return Math.round(amount * fraction) / fraction
}

/** What a range takes on every node that has a replica of it, and on top of that where it is led. */
export interface SeparateLoads {
  /** Of each replica. */
  readonly load: Load
  /** Of leading. */
  readonly leaderLoad: Load
}

/**
 * Tells apart what every replica of a range takes and what leading it takes, by what the replicas report of themselves: each
 * takes what those that do not lead report on average, and leading takes what the lease holder reports beyond that. The two
 * add up to what was reported. A copy has the holder's `bytes`, however far behind it is. Where only the holder reports,
 * nobody knows which part is that of leading, and all of it is taken for what each replica needs.
 *
 * @param replicas reports of members of the newest configuration
 * @param leaseHolder the replica among them that holds the lease, when it is known
 */
export function separateLoads(
  replicas: readonly ObservedReplica[],
  leaseHolder: ReplicaId | undefined,
): SeparateLoads {
  const holder = replicas.find(({ replicaId }) => replicaId === leaseHolder)
  const others = replicas.filter((replica) => replica !== holder)
  const load: Record<string, number> = {}
  const leaderLoad: Record<string, number> = {}
  for (const name of new Set(replicas.flatMap((replica) => Object.keys(replica.load)))) {
    const amounts = others.map((replica) => replica.load[name] ?? 0)
    if (name === 'bytes') {
      load[name] = holder?.load[name] ?? Math.max(0, ...amounts)
      continue
    }
    const sum = amounts.reduce((a, b) => a + b, 0)
    const own = holder?.load[name] ?? 0
    const each = amounts.length === 0 ? own : sum / amounts.length
    if (holder === undefined || own >= each) {
      load[name] = each
      if (own > each) leaderLoad[name] = own - each
    } else {
      load[name] = (sum + own) / replicas.length
    }
  }
  return { load, leaderLoad }
}
