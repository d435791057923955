import { checkBytes, checkText } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Random } from '../../core/random.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'
import { maximumEventNameLength, maximumPayloadBytes } from './message-codec.ts'
import type { SwimTuning } from './tuning.ts'
import type { ProtocolRange, SwimCounters, SwimMember } from './types.ts'

/** What a {@link SwimCore} is made with. */
export interface SwimCoreOptions {
  /** This node. */
  readonly nodeId: NodeId
  /** Life of this node's data directory. */
  readonly incarnation: Incarnation
  /** `host:port` at which others reach this node. */
  readonly address: string
  /** At most {@link SwimTuning.maximumMetadataBytes}. */
  readonly metadata: Uint8Array
  /** Name of the cluster; packets with another one are dropped. */
  readonly label: string
  /** Intervals, limits and suspicion times. */
  readonly tuning: SwimTuning
  /** Picks whom to probe, to gossip with and to ask for help. */
  readonly random: Random
  /** Monotonic time at which it begins. */
  readonly nowMs: number
  /** Bytes of a packet that goes by a stream; 0, the default, where there are no streams. */
  readonly streamPacketBytes?: number
  /**
   * A view of more members than this goes to whoever takes it as one stream of any length: {@link SwimOutput.views}, and
   * {@link SwimCore.nextOfView}. 0, the default, where the driver has no such streams.
   */
  readonly streamedViewMembers?: number
  /** Estimates round trips to members that were never asked. Default: true. */
  readonly coordinates?: boolean
  /** What a node shows to the seeds that it asks to be let in, at most 256 bytes. Default: nothing. */
  readonly token?: Uint8Array
  /**
   * Asked about a node that asks to be let in here: why it must stay out, or undefined for one that is welcome. It must be
   * quick and pure. Default: all are welcome.
   */
  readonly admit?: (candidate: SwimMember, token: Uint8Array) => string | undefined
  /**
   * Asked about every member, and every life of one, that is new to this view or comes back to it, whoever tells of it: why it must
   * not be taken in, or undefined. Of whom it keeps out nothing is heard, until ten {@link SwimTuning.reconnectIntervalMs} are over or
   * they say something else of themselves. Default: all are welcome.
   */
  readonly veto?: (candidate: SwimMember) => string | undefined
  /** Versions of the protocol to speak. Default: all that this release knows. */
  readonly protocols?: ProtocolRange
}

/** Nothing done yet. */
export const noCounts: SwimCounters = Object.freeze({
  packetsSent: 0,
  bytesSent: 0,
  packetsReceived: 0,
  malformed: 0,
  foreign: 0,
  unknownProtocol: 0,
  probes: 0,
  failedProbes: 0,
  refutations: 0,
  expulsions: 0,
  requestsRefused: 0,
  membersVetoed: 0,
  membersRefused: 0,
  metadataRefused: 0,
  newsDropped: 0,
  stalls: 0,
})

/** Options without which there is no core. */
export const requiredOptions: readonly (keyof SwimCoreOptions)[] = [
  'nodeId',
  'incarnation',
  'address',
  'metadata',
  'label',
  'tuning',
  'random',
  'nowMs',
]

/** Checks what is told or asked. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkNews(name: string, payload: Uint8Array): void {
  checkText(name, 'the name of an event')
  if (!/^[\x21-\x7e]+$/.test(name) || name.length > maximumEventNameLength) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the name of an event has 1 to ${maximumEventNameLength} ASCII characters without spaces`,
    )
  }
  checkPayload(payload)
}

/** Checks an answer. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkPayload(payload: Uint8Array): void {
  if (checkBytes(payload, 'a payload').length <= maximumPayloadBytes) return
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `a payload takes at most ${maximumPayloadBytes} bytes, not ${payload.length}; keep larger things in the metadata store`,
  )
}

/** Checks a member's metadata. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function checkMetadata(metadata: Uint8Array, limit: number): void {
  checkBytes(metadata, 'the metadata of a member')
  if (metadata.length <= limit) return
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `a member's metadata takes at most ${limit} bytes, not ${metadata.length}; keep larger things in the metadata store`,
  )
}
