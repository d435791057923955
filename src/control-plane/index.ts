export { AddressBook, type AddressBookPorts, type KnownNode } from './address-book.ts'
export { Admin } from './admin.ts'
export { bootstrap, type ClusterStart, join } from './cluster-start.ts'
export {
  ControlPlane,
  type ControlPlaneEvents,
  type ControlPlaneStatus,
} from './control-plane.ts'
export type { ControlPlaneOptions } from './control-plane-options.ts'
export {
  DevCluster,
  type DevClusterOptions,
  type DevNode,
  type DevNodeOptions,
  devCluster,
} from './dev-cluster.ts'
export type { Gossip, GossipOptions } from './gossip.ts'
export { LeaderDuties, type LeaderDutiesParts, type PlacementOptions } from './leader-duties.ts'
export { metadataGroupId } from './metadata-group.ts'
export { NodeAgent, type NodeAgentEvents } from './node-agent.ts'
export type { NodeAgentOptions, NodeServices } from './node-agent-options.ts'
export type {
  AnswerOrigin,
  LostPartsAnswer,
  NodeAnswer,
  PlanAnswer,
  RangeAnswer,
  WhatIfAnswer,
} from './placement-answers.ts'
export { PlacementAsker } from './placement-asker.ts'
export type { ImaginedChange, ImaginedNode, ImaginedOptions } from './placement-questions.ts'
export { PlaneClient, type PlaneClientOptions } from './plane-client.ts'
export { type RangeCreation } from './range-creation.ts'
export {
  inspectServer,
  type RecoverServerOptions,
  recoverServer,
  type StoppedServerOptions,
} from './recover-server.ts'
export { type ServerAddress, ServerRoster } from './server-roster.ts'
