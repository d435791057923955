import { formatLocality } from '../../../model/locality.ts'
import type { PlacementNode, PlacementStore } from './cluster.ts'

/** Whether two views of a node are the same but for the time that passes. @internal */
export function sameNode(a: PlacementNode, b: PlacementNode): boolean {
  return a.overload === b.overload && sameOverload(a.stores, b.stores) && sameButOverload(a, b)
}

/** The same, however hard-pressed they are: no range needs anything else for that. @internal */
export function sameButOverload(a: PlacementNode, b: PlacementNode): boolean {
  return (
    a.state === b.state &&
    a.liveness === b.liveness &&
    (a.maintenance === true) === (b.maintenance === true) &&
    sameDescriptor(a.descriptor, b.descriptor) &&
    sameStores(a.stores, b.stores)
  )
}

function sameOverload(a: readonly PlacementStore[] = [], b: readonly PlacementStore[] = []): boolean {
  return a === b || a.every((store, i) => store.overload === b[i]?.overload)
}

function sameDescriptor(a: PlacementNode['descriptor'], b: PlacementNode['descriptor']): boolean {
  if (a === b) return true
  return (
    a.nodeId === b.nodeId &&
    a.incarnation === b.incarnation &&
    sameRecord(a.capacity, b.capacity) &&
    sameRecord(a.labels, b.labels) &&
    formatLocality(a.locality) === formatLocality(b.locality)
  )
}

function sameStores(a: readonly PlacementStore[] = [], b: readonly PlacementStore[] = []): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  return a.every((store, i) => {
    const other = b[i] as PlacementStore
    return (
      store.storeId === other.storeId &&
      (store.state ?? 'active') === (other.state ?? 'active') &&
      sameRecord(store.capacity ?? {}, other.capacity ?? {}) &&
      sameRecord(store.labels ?? {}, other.labels ?? {})
    )
  })
}

function sameRecord(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): boolean {
  if (a === b) return true
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name])
}
