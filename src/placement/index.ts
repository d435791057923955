/**
 * Where the replicas of ranges go: a pure planner, moves as jobs, and the loop on the leader that joins them.
 *
 * @module
 */

export type { Sliced } from '../core/sliced.ts'
export {
  type BoundsJobPorts,
  type BoundsJobTuning,
  defaultBoundsJobTuning,
} from './bounds-job.ts'
export {
  defaultPlacementTuning,
  PlacementController,
  type PlacementControllerOptions,
  type PlacementTuning,
  type PlannedAt,
} from './controller.ts'
export type { RateAdaptation } from './core/adaptive-rate.ts'
export { type AllocateInput, type Allocation, allocate } from './core/allocate.ts'
export {
  Assignment,
  type AssignmentBase,
  type AssignmentObserver,
  checkColumns,
  type Domains,
  nowhere,
  type PlacementColumns,
} from './core/assignment.ts'
export {
  type AllowedNodes,
  type BalanceBound,
  balanceBound,
  sheddingBound,
} from './core/bounds/balance-bound.ts'
export {
  boundingCluster,
  type ClusterBounds,
  type ClusterBoundsOptions,
  clusterBounds,
  type NodeBandwidth,
} from './core/bounds/cluster-bounds.ts'
export {
  type RepairTimeBound,
  type RepairTimeInput,
  repairTimeBound,
} from './core/bounds/repair-bound.ts'
export { type UtilisationBound, utilisationBound } from './core/bounds/utilisation-bound.ts'
export { explainRange, type RangeExplanation, type ReplicaExplanation, rangeText } from './core/explain.ts'
export { explainNode, type NodeExplanation, nodeText, type WaitingRanges } from './core/explain-node.ts'
export { type AboveSafetyOptions, aboveSafety } from './core/goals/above-safety.ts'
export { type BalanceOptions, balance } from './core/goals/balance.ts'
export { type CapacityOptions, capacity } from './core/goals/capacity.ts'
export { dependency } from './core/goals/dependency.ts'
export { exclusivity } from './core/goals/exclusivity.ts'
export {
  type AboveThreshold,
  type BoundGoal,
  type BoundRule,
  bindGoal,
  bindRule,
  type Goal,
  type GoalKernel,
  type GoalSubject,
  type NodeCost,
  type Rule,
  type RuleLimits,
} from './core/goals/goal.ts'
export { evacuate, prohibitLabel, requireLabel } from './core/goals/labels.ts'
export { mostMoved } from './core/goals/most-moved.ts'
export { type MoveGoalOptions, movedBytes, moveGoal } from './core/goals/move-goal.ts'
export { type NodeGoalOptions, nodeGoal } from './core/goals/node-goal.ts'
export { type RangeGoalOptions, type RangePlaces, rangeGoal } from './core/goals/range-goal.ts'
export { spread, spreadAtLeast } from './core/goals/spread.ts'
export { type TableAffinityOptions, tableAffinity } from './core/goals/table-affinity.ts'
export { type WeightedGoal, weighted } from './core/goals/weighted.ts'
export { type CommittedConfiguration, PlacementInvariants } from './core/invariants.ts'
export {
  defaultLoadSamplerTuning,
  LoadSampler,
  type LoadSamplerOptions,
  type LoadSamplerTuning,
} from './core/load-sampler.ts'
export type { Blocker } from './core/maintenance.ts'
export { Fleet } from './core/model/fleet.ts'
export {
  defaultOverloadTuning,
  OverloadMonitor,
  type OverloadTuning,
  overloadTuning,
} from './core/overload.ts'
export { drawClusters, type PictureFrame, type PictureOptions } from './core/picture.ts'
export type {
  BlockedRange,
  CopyBound,
  GoalBound,
  Plan,
  PlanBounds,
  PlannedMove,
  PlanOptions,
} from './core/plan.ts'
export {
  describeMove,
  diffPlans,
  type MoveDifference,
  type PlanDifference,
  planText,
} from './core/plan-diff.ts'
export { Planner, plan } from './core/planner.ts'
export type { EffectivePolicy, Sourced } from './core/policy/effective.ts'
export type {
  DomainLimit,
  LabelMatch,
  PlacementRule,
  ReplicaKind,
  ReplicaPreference,
  ReplicaRequirement,
  RuleScope,
} from './core/policy/rule.ts'
export { RuleBook, type RuleBookInput, type RuleClass, type TableScope } from './core/policy/rule-book.ts'
export {
  defaultPlacementLimits,
  defaultPlacementPolicy,
  type PlacementLimits,
  type PlacementPolicy,
  placementLimits,
  placementPolicy,
} from './core/policy.ts'
export { proveQuorum, type QuorumStep, quorumOf, type VoterChange } from './core/quorum.ts'
export { Evaluator, refused } from './core/search/evaluator.ts'
export { LevelSearch } from './core/search/level-search.ts'
export type { SearchPhase } from './core/search/schedule.ts'
export { Search } from './core/search/search.ts'
export {
  buildSnapshot,
  type MoveInFlight,
  type MoveKind,
  maximumVoters,
  type NodeTable,
  nodeBits,
  type PlacementNode,
  type PlacementRange,
  type PlacementSnapshot,
  type PlacementStore,
  type RangeHold,
  type RangeReader,
  replicaBits,
  type SnapshotInput,
  type StoreOverload,
  type StoreView,
} from './core/snapshot.ts'
export {
  defaultSplitPolicy,
  judgeMerge,
  judgeSplit,
  type MergeVerdict,
  type PlannedMerge,
  type PlannedSplit,
  planSplits,
  type SplitPlan,
  type SplitPolicy,
  type SplitRange,
  type SplitVerdict,
  splitPolicy,
} from './core/splits.ts'
export {
  describeGoal,
  goalOf,
  type MemberChange,
  type MoveGoal,
  type MoveStep,
  type MoveView,
  nextStep,
  type UndoOptions,
  undoStep,
} from './core/steps.ts'
export {
  type ClusterSummary,
  type Fullest,
  fullest,
  type StoreCondition,
  type StoreSummary,
  summarize,
} from './core/summary.ts'
export type { Rejection } from './core/targets.ts'
export {
  type MoveRequest,
  MoveThrottle,
  type MoveVerdict,
  type NodePressure,
  type NodeRates,
} from './core/throttle.ts'
export { defaultMoveRates, type MoveRates, moveRates } from './core/throttle-options.ts'
export {
  type WhatIfChange,
  type WhatIfOptions,
  type WhatIfResult,
  whatIf,
  whatIfLimits,
} from './core/what-if.ts'
export { type CreateRangesOptions, createRanges, type NewRange } from './create-ranges.ts'
export type { LostPart } from './lost-sight.ts'
export { type MergeState, mergeJob, mergeJobType } from './merge-job.ts'
export type { MoveState, RecordedStep, StepOutcome } from './move-state.ts'
export { moveJob, moveJobType } from './mover.ts'
export { defaultMoverTuning, type MoverPorts, type MoverTuning } from './mover-options.ts'
export { withStores } from './node-stores.ts'
export { evacuationJob } from './operations/evacuation-job.ts'
export { maintenanceJob, rollingRestartJob } from './operations/maintenance-job.ts'
export {
  type MaintenanceCall,
  NodeOperations,
  type OperationCall,
  type RestartCall,
} from './operations/operations.ts'
export {
  defaultNodeOperationTuning,
  type NodeOperationPorts,
  type NodeOperationTuning,
  type OperatedNode,
} from './operations/options.ts'
export type {
  Absence,
  EvacuationState,
  EvacuationTarget,
  MaintenanceState,
  RestartState,
} from './operations/state.ts'
export { type MaintenanceMark, MaintenanceView } from './operations/view.ts'
export type { ObserveRange, ReportedReplica } from './range-reports.ts'
export { setChangeJob } from './replica-sets/change-job.ts'
export type {
  MemberStatus,
  ReplicaSetRecord,
  SetChange,
  SetStep,
  SetView,
} from './replica-sets/core/change.ts'
export { SetChangeRules } from './replica-sets/core/change.ts'
export { type AcknowledgedWrite, ReplicaSetAudit, type WriterRules } from './replica-sets/core/invariants.ts'
export {
  comparePositions,
  type LogPosition,
  type MemberState,
  ReplicaSetMember,
} from './replica-sets/core/member.ts'
export {
  type PrimaryChange,
  type PrimaryProgress,
  PrimaryRules,
  type PrimaryStep,
} from './replica-sets/core/primary.ts'
export { type MemberLife, QuorumSet, type SetMember } from './replica-sets/core/quorum-set.ts'
export type { Installation, PrimaryStop, ReplicaSetHost } from './replica-sets/host.ts'
export { primaryChangeJob } from './replica-sets/primary-job.ts'
export type { PrimaryChangeState, SetChangeState } from './replica-sets/record.ts'
export { type ReplicaSetCall, ReplicaSets, type StoredReplicaSet } from './replica-sets/replica-sets.ts'
export { defaultReplicaSetTuning, type ReplicaSetPorts, type ReplicaSetTuning } from './replica-sets/work.ts'
export {
  PlacementRules,
  type RuleListing,
  type RuleSet,
} from './rules/placement-rules.ts'
export { type RulesInForce, RulesView, type RulesViewOptions } from './rules/rules-view.ts'
export {
  type DisturbanceReport,
  describeEvent,
  type FleetEvent,
  type FleetReport,
  type FleetSample,
} from './simulate/fleet-report.ts'
export { FleetSimulation, type FleetSimulationOptions, nodesIn } from './simulate/fleet-simulation.ts'
export type { SkewedLoad } from './simulate/skewed-load.ts'
export type { SimulatedNode, SimulatedRange } from './simulate/world.ts'
export { type BoundsExplanation, SplitController, type SplitControllerOptions } from './split-controller.ts'
export { type SplitState, splitJob, splitJobType } from './split-job.ts'
