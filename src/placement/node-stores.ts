import type { StoreReport } from '../model/descriptors.ts'
import type { PlacementNode, PlacementStore } from './core/snapshot.ts'

/**
 * A node with its stores, as it named them when it joined and as it reports them now. What it reports is newer: capacities of now,
 * and stores that have failed, are to be emptied, or came since.
 */
export function withStores<N extends PlacementNode>(node: N, reports: readonly StoreReport[] | undefined): N {
  const described = node.descriptor.stores
  if (described === undefined && reports === undefined) return node
  const stores = new Map<string, PlacementStore>()
  for (const { storeId, capacity, labels } of described ?? [])
    stores.set(storeId, { storeId, capacity, labels })
  for (const { storeId, capacity, state } of reports ?? []) {
    const known = stores.get(storeId)
    stores.set(storeId, {
      ...known,
      storeId,
      capacity: { ...known?.capacity, ...capacity },
      ...(state === undefined ? {} : { state }),
    })
  }
  return stores.size === 0 ? node : { ...node, stores: [...stores.values()] }
}
