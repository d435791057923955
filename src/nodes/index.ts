/**
 * The life of a node: join, session and epoch, liveness, drain and decommission, and what nodes report.
 *
 * @module
 */
export {
  NodeController,
  type NodeControllerEvents,
  type NodeControllerOptions,
  type NodeView,
} from './controller.ts'
export { allNodes } from './core/keys.ts'
export { checkSuccession } from './core/life.ts'
export { type LivenessStatus, LivenessView } from './core/liveness.ts'
export {
  checkNodeDescriptor,
  decodeNodeRecord,
  encodeNodeRecord,
  type NodeRecord,
  nodeDescriptorLimits,
} from './core/record.ts'
export { decodeNodeReport, encodeNodeReport, type NodeReport, nodeReportLimits } from './core/report.ts'
export { type RangeObservation, ReportBook } from './core/report-book.ts'
export { decodeJoinRequest, encodeJoinRequest, type JoinRequest } from './join.ts'
export { type CreateTokenOptions, type JoinResult, Nodes, type NodesOptions } from './nodes.ts'
export { NodeReporter, type NodeReporterOptions } from './reporter.ts'
export {
  checkNodeSessionTuning,
  defaultNodeSessionTuning,
  NodeSession,
  type NodeSessionEvents,
  type NodeSessionOptions,
  type NodeSessionTuning,
} from './session.ts'
