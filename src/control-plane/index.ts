export { AddressBook, type AddressBookPorts, type KnownNode } from './address-book.ts'
export { Admin } from './admin.ts'
export { bootstrap, type ClusterStart, join } from './cluster-start.ts'
export {
  ControlPlane,
  type ControlPlaneEvents,
  type ControlPlaneOptions,
  type ControlPlaneStatus,
  metadataGroupId,
} from './control-plane.ts'
export { DevCluster, type DevClusterOptions, type DevNode, devCluster } from './dev-cluster.ts'
export { LeaderDuties, type LeaderDutiesParts, type PlacementOptions } from './leader-duties.ts'
export { NodeAgent, type NodeAgentEvents, type NodeAgentOptions, type NodeServices } from './node-agent.ts'
export { PlaneClient, type PlaneClientOptions } from './plane-client.ts'
export { type RangeCreation } from './range-creation.ts'
export { type ServerAddress, ServerRoster } from './server-roster.ts'
export { rangesOfTable, tableSpan } from './tables.ts'
