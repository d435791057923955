import { checkArray, checkText } from '../../core/arguments.ts'
import { checkOptions, numberOption, optional, stringOption, wordOption } from '../../core/options.ts'
import { domainsOf, nodeName } from './flat.ts'
import { type Ledger, nowhere } from './ledger.ts'
import { replicaBits } from './snapshot.ts'

/**
 * Something that a good placement has more of. Goals stand in an order: a later one never costs an earlier one anything.
 */
export interface Goal {
  /** Short and constant: it stands in explanations and bounds. */
  readonly name: string
  /** The goal over what the ledger says, now and as it changes. */
  bind(ledger: Ledger): BoundGoal
}

/** A goal that values moves of one plan, incrementally. Lower is better; what it cannot judge is 0. */
export interface BoundGoal {
  /** Short and constant: it stands in explanations and bounds. */
  readonly name: string
  /**
   * How much worse it gets when a replica of the range goes from one node to another; either may be {@link nowhere}.
   */
  replicaCost(range: number, from: number, to: number): number
  /** How much worse it gets when the lease goes from one node to another. */
  leaseCost(range: number, from: number, to: number): number
  /**
   * True when a move that improves the goal is worth its work: the damping against moving to and fro over differences
   * that mean nothing.
   */
  worthwhile(from: number, to: number): boolean
  /** By how much the range alone could be better; 0 for a goal that only judges nodes. */
  excess(range: number): number
  /** By how much a node has more than its share; 0 for a goal that only judges ranges. */
  pressure(node: number): number
  /** What it judges: each range by itself, or how replicas or leases are shared among the nodes. */
  readonly judges: 'ranges' | 'replicas' | 'leases'
  /** Moves that are needed at least until the goal is reached. */
  distance(): number
  /** Why a node is where it is in this goal, for people. */
  describe(range: number, node: number): string
}

/** Something that every replica must satisfy where it is. */
export interface Constraint {
  /** Short and constant: it stands in explanations and refusals. */
  readonly name: string
  /** The constraint over what the ledger says. */
  bind(ledger: Ledger): BoundConstraint
}

/** A constraint that judges targets of one plan. */
export interface BoundConstraint {
  /** Short and constant: it stands in explanations and refusals. */
  readonly name: string
  /** Why a replica of the range may not come to the node, or undefined when it may. */
  refuses(range: number, node: number): string | undefined
  /** Why a replica of the range may not stay on the node, or undefined when it may. */
  evicts(range: number, node: number): string | undefined
}

/**
 * Keeps the replicas of a range in different domains of one tier: the cost of a range is its number of pairs of replicas
 * that share a domain, so three zones beat two and two beat one.
 */
export function spread(tier: string): Goal {
  checkText(tier, 'the tier of spread', 32)
  return {
    name: `spread(${tier})`,
    bind(ledger) {
      const { snapshot } = ledger
      const { of: domains, count: domainCount } = domainsOf(snapshot.nodes, tier)
      /** Nodes of each domain that may be given replicas. */
      const rooms = new Int32Array(domainCount)
      for (const [node, domain] of domains.entries()) {
        if (ledger.eligible(node)) rooms[domain] = (rooms[domain] as number) + 1
      }
      /** Replicas of the range in a domain that will stay, but for the one on `from`. */
      const sharing = (range: number, domain: number, from: number): number => {
        const { firstReplica, replicaNode, replicaStatus } = snapshot
        let count = 0
        for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
          const node = replicaNode[i] as number
          if (node < 0 || node === from) continue
          if (((replicaStatus[i] as number) & replicaBits.lost) !== 0) continue
          if (domains[node] === domain) count++
        }
        return count
      }
      return {
        name: `spread(${tier})`,
        replicaCost(range, from, to) {
          const gained = to === nowhere ? 0 : sharing(range, domains[to] as number, from)
          const lost = from === nowhere ? 0 : sharing(range, domains[from] as number, from)
          return gained - lost
        },
        leaseCost: () => 0,
        worthwhile: () => true,
        excess(range) {
          const { firstReplica, replicaNode, replicaStatus } = snapshot
          let pairs = 0
          let count = 0
          for (let i = firstReplica[range] as number; i < (firstReplica[range + 1] as number); i++) {
            const node = replicaNode[i] as number
            if (node < 0 || ((replicaStatus[i] as number) & replicaBits.lost) !== 0) continue
            pairs += sharing(range, domains[node] as number, node)
            count++
          }
          return pairs / 2 - fewestPairs(rooms, count)
        },
        pressure: () => 0,
        judges: 'ranges',
        distance() {
          let count = 0
          for (let range = 0; range < snapshot.rangeIds.length; range++) {
            if (this.excess(range) > 0) count++
          }
          return count
        },
        describe(range, node) {
          const others = sharing(range, domains[node] as number, node)
          return others === 0
            ? `no other replica in its ${tier}`
            : `${others} other ${others === 1 ? 'replica' : 'replicas'} in its ${tier}`
        },
      }
    },
  }
}

/** The fewest pairs that share a domain when `count` replicas are dealt out over domains with so much room. */
function fewestPairs(rooms: Int32Array, count: number): number {
  let pairs = 0
  for (let dealt = 0, level = 0; dealt < count; level++) {
    const wide = rooms.reduce((sum, room) => sum + (room > level ? 1 : 0), 0)
    if (wide === 0) return pairs
    const here = Math.min(wide, count - dealt)
    pairs += here * level
    dealt += here
  }
  return pairs
}

/** Options of {@link balance}. */
export interface BalanceOptions {
  /** How far from its share a node may be before it is worth a move. Default: 0.05. */
  readonly tolerance?: number
  /** Resource in whose capacity the shares are measured. Default: all nodes have the same share. */
  readonly by?: string
}

/**
 * Gives every node its share of the replicas, or of the leases. The cost is Σ count²/share, which any move from a fuller
 * to an emptier node lowers, so a sequence of such moves ends.
 */
export function balance(what: 'replicas' | 'leases', options: BalanceOptions = {}): Goal {
  wordOption(['replicas', 'leases'])(what, 'balance: what is balanced')
  const { tolerance, by } = checkOptions<{ readonly tolerance: number; readonly by: string | undefined }>(
    'balance',
    options,
    {
      tolerance: numberOption({ min: 0, max: 1, fallback: 0.05 }),
      by: optional(stringOption({ maxLength: 128 })),
    },
  )
  return {
    name: `balance(${what})`,
    bind(ledger) {
      const { snapshot } = ledger
      const counts = ledger[what]
      const share = Float64Array.from(snapshot.nodes, ({ descriptor }, node) => {
        if (!ledger.eligible(node)) return 0
        return by === undefined ? 1 : (descriptor.capacity[by] ?? 0)
      })
      const shares = share.reduce((sum, each) => sum + each, 0)
      // What nodes that go hold will come to the others.
      const mean = shares === 0 ? 0 : counts.reduce((sum, each) => sum + each, 0) / shares
      const cost = (node: number, change: number): number => {
        const of = share[node] as number
        // A node without a share holds what it holds until something else takes it away.
        if (of === 0) return change > 0 ? Number.MAX_SAFE_INTEGER : 0
        const count = counts[node] as number
        return ((count + change) ** 2 - count ** 2) / of
      }
      const both = (from: number, to: number): number =>
        (to === nowhere ? 0 : cost(to, 1)) + (from === nowhere ? 0 : cost(from, -1))
      return {
        name: `balance(${what})`,
        replicaCost: (_range, from, to) => (what === 'replicas' ? both(from, to) : 0),
        leaseCost: (_range, from, to) => (what === 'leases' ? both(from, to) : 0),
        worthwhile(from, to) {
          const full = (counts[from] as number) > mean * (share[from] as number) * (1 + tolerance)
          const empty = (counts[to] as number) < mean * (share[to] as number) * (1 - tolerance)
          return full || empty
        },
        excess: () => 0,
        pressure(node) {
          const of = share[node] as number
          return of === 0 ? 0 : (counts[node] as number) / of - mean
        },
        judges: what,
        distance() {
          let moves = 0
          for (const [node, of] of share.entries()) {
            if (of > 0) moves += Math.max(0, (counts[node] as number) - Math.ceil(mean * of))
          }
          return moves
        },
        describe(_range, node) {
          const fair = (mean * (share[node] as number)).toFixed(1)
          return `${nodeName(snapshot, node)} has ${counts[node]} ${what}, its share is ${fair}`
        },
      }
    },
  }
}

/** Options of {@link capacity}. */
export interface CapacityOptions {
  /** Nothing is brought to a node that would be fuller than this. Default: 0.925. */
  readonly refuseAbove?: number
}

/** Brings nothing to a node whose capacity of a resource it would exceed. A node that names no capacity has no limit. */
export function capacity(resource: string, options: CapacityOptions = {}): Constraint {
  checkText(resource, 'the resource of capacity', 128)
  const { refuseAbove } = checkOptions<{ readonly refuseAbove: number }>('capacity', options, {
    refuseAbove: numberOption({ min: Number.MIN_VALUE, max: 1, fallback: 0.925 }),
  })
  return {
    name: `capacity(${resource})`,
    bind(ledger) {
      const used = ledger.usage.get(resource)
      const load = ledger.snapshot.loads.get(resource)
      const limits = Float64Array.from(
        ledger.snapshot.nodes,
        ({ descriptor }) => (descriptor.capacity[resource] ?? Number.POSITIVE_INFINITY) * refuseAbove,
      )
      return {
        name: `capacity(${resource})`,
        refuses(range, node) {
          if (used === undefined || load === undefined) return undefined
          const after = (used[node] as number) + (load[range] as number)
          if (after <= (limits[node] as number)) return undefined
          return `it would hold ${after.toPrecision(3)} ${resource}, its limit is ${(limits[node] as number).toPrecision(3)}`
        },
        evicts: () => undefined,
      }
    },
  }
}

/** Keeps replicas on nodes that have a label, or one of some values of it. */
export function requireLabel(name: string, values?: readonly string[]): Constraint {
  checkLabel(name, values)
  return labelConstraint(`requireLabel(${name})`, (labels) => {
    const value = labels[name]
    if (value !== undefined && (values === undefined || values.includes(value))) return undefined
    const wanted = values === undefined ? '' : ` ${values.join(' or ')}`
    return `it does not have the label ${name}${wanted}`
  })
}

/** Keeps replicas off nodes that have a label, or one of some values of it. */
export function prohibitLabel(name: string, values?: readonly string[]): Constraint {
  checkLabel(name, values)
  return labelConstraint(`prohibitLabel(${name})`, (labels) => {
    const value = labels[name]
    if (value === undefined || (values !== undefined && !values.includes(value))) return undefined
    return `it has the label ${name}=${value}`
  })
}

function checkLabel(name: string, values: readonly string[] | undefined): void {
  checkText(name, 'the name of a label', 128)
  if (values === undefined) return
  for (const value of checkArray(values, 'the values of a label')) checkText(value, 'a value of a label', 128)
}

function labelConstraint(
  name: string,
  judge: (labels: Readonly<Record<string, string>>) => string | undefined,
): Constraint {
  return {
    name,
    bind(ledger) {
      const verdicts = ledger.snapshot.nodes.map(({ descriptor }) => judge(descriptor.labels))
      return {
        name,
        refuses: (_range, node) => verdicts[node],
        evicts: (_range, node) => verdicts[node],
      }
    },
  }
}
