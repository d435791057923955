/**
 * Membership by gossip: SWIM with Lifeguard, over datagrams. It tells who is there and who seems to have failed; it never
 * decides.
 *
 * @module
 */
export {
  type AccusationMessage,
  type AliveMessage,
  type DecodedPacket,
  decodePacket,
  encodePacket,
  type LeftMessage,
  type PacketSender,
  type SwimMessage,
  type SyncRecord,
  type UpdateMessage,
} from './core/codec.ts'
export { type SwimFate, type SwimInvariantName, SwimInvariants } from './core/invariants.ts'
export { SwimCore, type SwimCoreOptions } from './core/swim-core.ts'
export { lanProfile, localProfile, type SwimTuning, wanProfile } from './core/tuning.ts'
export type {
  MemberState,
  SwimCounters,
  SwimEvent,
  SwimEventType,
  SwimExplanation,
  SwimMember,
  SwimOutput,
  SwimPacket,
} from './core/types.ts'
export { Swim, type SwimEvents, type SwimStatus } from './driver.ts'
export { type SwimOptions, type SwimProfile, swimProfiles } from './options.ts'
