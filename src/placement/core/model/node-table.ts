import type { NodeId } from '../../../model/ids.ts'
import { formatLocality, localityValue } from '../../../model/locality.ts'
import type { Domains } from '../assignment.ts'
import {
  nodeBits,
  overloadLevel,
  overloadLevels,
  type PlacementNode,
  type PlacementStore,
  replicaBits,
  type StoreOverload,
} from './cluster.ts'
import type { Life } from './lives.ts'

/** A store as the planner counts it: one for each disk of each node. */
export interface StoreView {
  /** The node that it is in. */
  readonly node: PlacementNode
  /** Its name within the node; empty for the one store of a node that names none. */
  readonly storeId: string
  /** What it can hold, by resource name. A resource that is not named has no limit. */
  readonly capacity: Readonly<Record<string, number>>
  /** Labels of the node and of the store. */
  readonly labels: Readonly<Record<string, string>>
  /** How hard-pressed it is said to be, if it is. */
  readonly overload: StoreOverload | undefined
}

/** Of the stores that may be given something, such a part at most may be overloaded for anything to be done about it. */
const actedUponShare = 0.5

/**
 * Nodes and stores at one moment, and what each life of a store comes to. Made anew when a node changes, which costs
 * O(nodes): replicas name lives, so no page has to change. Never changed once it is built.
 */
export class NodeTable {
  /** By ascending id. */
  readonly nodes: readonly PlacementNode[]
  /** Where each node is in `nodes`. */
  readonly nodeIndex: ReadonlyMap<NodeId, number>
  /** Bits of each node's state. */
  readonly nodeStatus: Uint8Array
  /** By ascending node id, then store id. Where each node has one store, they are the nodes. */
  readonly stores: readonly StoreView[]
  /** Bits of each store's state: those of its node, and its own. */
  readonly storeStatus: Uint8Array
  /**
   * How hard-pressed each store is, by the order of `StoreOverload` from 1. 0 for all where more than half of those that may be
   * given replicas are overloaded, or were lately: what most of them share comes of the load, and moving it about helps nobody.
   */
  readonly storeOverload: Uint8Array
  /** Whether it is for that reason that nothing is done about overload. */
  readonly everythingHot: boolean
  /** The node of each store, as an index. */
  readonly nodeOf: Int32Array
  /** The first store of each node; one more entry ends the last one. */
  readonly firstStore: Int32Array
  /** What the numbers of lives mean. @internal */
  readonly lives: readonly (Life | undefined)[]
  /** The store of each life, or -1 for one that nobody knows. @internal */
  readonly lifeStore: Int32Array
  /** Bits that a replica has from its life. @internal */
  readonly lifeStatus: Uint8Array
  readonly #domains = new Map<string, Domains>()
  #kinds: Int32Array | undefined

  /** @internal */
  constructor(
    nodes: Iterable<PlacementNode>,
    statusOf: (node: PlacementNode) => number,
    lives: readonly (Life | undefined)[],
  ) {
    this.nodes = [...nodes].sort((a, b) => (a.descriptor.nodeId < b.descriptor.nodeId ? -1 : 1))
    this.nodeIndex = new Map(this.nodes.map((node, i) => [node.descriptor.nodeId, i]))
    this.nodeStatus = Uint8Array.from(this.nodes, statusOf)
    const stores: StoreView[] = []
    const storeStatus: number[] = []
    const nodeOf: number[] = []
    this.firstStore = new Int32Array(this.nodes.length + 1)
    this.nodes.forEach((node, i) => {
      this.firstStore[i] = stores.length
      for (const store of storesOf(node)) {
        stores.push(viewOf(node, store))
        storeStatus.push(statusOfStore(this.nodeStatus[i] as number, store))
        nodeOf.push(i)
      }
    })
    this.firstStore[this.nodes.length] = stores.length
    this.stores = stores
    this.storeStatus = Uint8Array.from(storeStatus)
    const overload = Uint8Array.from(stores, (store) => overloadLevels.indexOf(store.overload))
    this.everythingHot = isEverythingHot(this.storeStatus, overload)
    this.storeOverload = this.everythingHot ? overload.fill(0) : overload
    this.nodeOf = Int32Array.from(nodeOf)
    this.lives = lives.slice()
    this.lifeStore = Int32Array.from(lives, (life) => (life === undefined ? -1 : this.storeOf(life)))
    this.lifeStatus = Uint8Array.from(lives, (life, i) => this.#statusOf(life, this.lifeStore[i] as number))
  }

  /**
   * The domain of each store in one tier of locality, by the order of their names. Those that do not name the tier share
   * one domain, so that it never looks safer than it is.
   */
  domains(tier: string): Domains {
    let known = this.#domains.get(tier)
    if (known === undefined) {
      const values = this.stores.map(({ node }) => localityValue(node.descriptor.locality, tier) ?? '')
      const names = [...new Set(values)].sort()
      const index = new Map(names.map((value, i) => [value, i]))
      known = {
        of: Int32Array.from(values, (value) => index.get(value) as number),
        count: names.length,
        names,
      }
      this.#domains.set(tier, known)
    }
    return known
  }

  /** Stores with the same number have the same locality and labels. @internal */
  get kinds(): Int32Array {
    if (this.#kinds === undefined) {
      const numbers = new Map<string, number>()
      this.#kinds = Int32Array.from(this.stores, ({ node, labels }) => {
        const name = `${formatLocality(node.descriptor.locality)} ${namesOf(labels)}`
        const known = numbers.get(name)
        if (known === undefined) numbers.set(name, numbers.size)
        return known ?? numbers.size - 1
      })
    }
    return this.#kinds
  }

  /** Name of a store for a person: its node's, and its own where the node has several. */
  nameOf(store: number): string {
    const view = this.stores[store]
    if (view === undefined) return 'an unknown node'
    const { nodeId } = view.node.descriptor
    return view.storeId === '' ? nodeId : `${nodeId}/${view.storeId}`
  }

  /** The store of this name, or the first one of its node, or -1. @internal */
  storeOf({ nodeId, storeId }: Pick<Life, 'nodeId' | 'storeId'>): number {
    const node = this.nodeIndex.get(nodeId)
    if (node === undefined) return -1
    const end = this.firstStore[node + 1] as number
    const first = this.firstStore[node] as number
    for (let store = first; store < end; store++) if (this.stores[store]?.storeId === storeId) return store
    return first
  }

  #statusOf(life: Life | undefined, store: number): number {
    if (life === undefined || store < 0) return replicaBits.lost
    if (this.stores[store]?.node.descriptor.incarnation !== life.incarnation) return replicaBits.lost
    const bits = this.storeStatus[store] as number
    return (
      ((bits & nodeBits.up) === 0 ? 0 : replicaBits.up) |
      ((bits & nodeBits.gone) === 0 ? 0 : replicaBits.lost) |
      ((bits & nodeBits.leaving) === 0 ? 0 : replicaBits.leaving) |
      ((bits & nodeBits.resting) === 0 ? 0 : replicaBits.resting)
    )
  }
}

const onlyStore: readonly PlacementStore[] = Object.freeze([{ storeId: '' }])

function storesOf({ stores }: PlacementNode): readonly PlacementStore[] {
  if (stores === undefined || stores.length === 0) return onlyStore
  return [...stores].sort((a, b) => (a.storeId < b.storeId ? -1 : 1))
}

function viewOf(node: PlacementNode, store: PlacementStore): StoreView {
  const { capacity, labels } = node.descriptor
  return {
    node,
    storeId: store.storeId,
    capacity: store.capacity === undefined ? capacity : { ...capacity, ...store.capacity },
    labels: store.labels === undefined ? labels : { ...labels, ...store.labels },
    overload: store.overload ?? node.overload,
  }
}

function isEverythingHot(status: Uint8Array, overload: Uint8Array): boolean {
  let [eligible, hot] = [0, 0]
  for (let store = 0; store < status.length; store++) {
    if (((status[store] as number) & nodeBits.eligible) === 0) continue
    eligible++
    if ((overload[store] as number) >= overloadLevel.recovering) hot++
  }
  return hot > eligible * actedUponShare
}

function namesOf(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .sort()
    .join()
}

function statusOfStore(ofNode: number, { state }: PlacementStore): number {
  if (state === 'draining') return (ofNode & ~nodeBits.eligible) | nodeBits.leaving
  if (state === 'failed') return (ofNode & ~(nodeBits.eligible | nodeBits.up)) | nodeBits.gone
  return ofNode
}

/** What is true of a node. */
export function nodeStatusOf(node: PlacementNode, deadAfterMs: number): number {
  const { state, liveness, maintenance } = node
  if (state === 'decommissioned') return nodeBits.gone
  const resting = maintenance === true
  const up = liveness === 'dead' ? 0 : nodeBits.up
  const gone = liveness === 'dead' && node.forMs >= deadAfterMs && !resting ? nodeBits.gone : 0
  const eligible = state === 'active' && liveness === 'live' && !resting ? nodeBits.eligible : 0
  const leaving = state === 'draining' || state === 'drained' ? nodeBits.leaving : 0
  return up | gone | eligible | leaving | (resting ? nodeBits.resting : 0)
}
