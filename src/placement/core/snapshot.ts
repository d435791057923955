export { buildSnapshot, type SnapshotInput } from './model/build.ts'
export {
  bringsNonVoter,
  type MoveInFlight,
  type MoveKind,
  maximumVoters,
  nodeBits,
  overloadLevel,
  type PlacementNode,
  type PlacementRange,
  type PlacementStore,
  type RangeHold,
  replicaBits,
  type StoreOverload,
} from './model/cluster.ts'
export type { NodeTable, StoreView } from './model/node-table.ts'
export type { PlacementSnapshot, RangeReader } from './model/snapshot.ts'
