/**
 * Membership by gossip: SWIM with Lifeguard, over datagrams. It tells who is there and who seems to have failed; it never
 * decides.
 *
 * @module
 */
export { decodePacket, encodePacket } from './core/codec.ts'
export { type Coordinate, coordinateDimensions, distanceMs } from './core/coordinates.ts'
export type { SwimCoreOptions } from './core/core-options.ts'
export { type SwimFate, type SwimInvariantName, SwimInvariants } from './core/invariants.ts'
export type {
  AccusationMessage,
  AckMessage,
  AliveMessage,
  AnswerMessage,
  BallotMessage,
  ChallengeMessage,
  ChunkMessage,
  ContestMessage,
  DecodedPacket,
  FetchMessage,
  HelloMessage,
  IndirectPingMessage,
  LeftMessage,
  NackMessage,
  OfferMessage,
  PacketSender,
  PingMessage,
  ProofMessage,
  QueryMessage,
  RecallMessage,
  RefusalMessage,
  StateMessage,
  SwimMessage,
  SyncRecord,
  UpdateMessage,
  UserEventMessage,
} from './core/messages.ts'
export type { SwimOutput, SwimPacket } from './core/output.ts'
export { Statement, type StatementFields } from './core/statement.ts'
export { SwimCore } from './core/swim-core.ts'
export { lanProfile, localProfile, type SwimTuning, wanProfile } from './core/tuning.ts'
export type {
  AnswerPath,
  FailedProbe,
  MemberState,
  ProtocolRange,
  SwimAccusation,
  SwimCounters,
  SwimDelivery,
  SwimEvent,
  SwimEventType,
  SwimExplanation,
  SwimMember,
} from './core/types.ts'
export { ViewTransfer } from './core/view-transfer.ts'
export { Swim } from './driver.ts'
export type { QueryHandler, SwimEvents, SwimStatus, SwimTold } from './driver-types.ts'
export { KeyRotation, type KeyRotationOptions, type RotatingKeys } from './key-rotation.ts'
export {
  checkSwimSettings,
  type SwimOptions,
  type SwimProfile,
  type SwimSettings,
  type SwimSnapshotStore,
  swimProfiles,
} from './options.ts'
export type { QueryAnswer, QueryOptions } from './queries.ts'
