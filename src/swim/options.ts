import { copyBytes } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  functionOption,
  integerOption,
  type NumberBounds,
  numberOption,
  type OptionCheck,
  type OptionChecks,
  objectOption,
  optional,
  showValue,
  stringOption,
  wordOption,
} from '../core/options.ts'
import type { DatagramSocket } from '../interfaces/datagram.ts'
import type { Channel } from '../interfaces/transport.ts'
import { type ClusterId, checkId, checkName, type Incarnation, type NodeId } from '../model/ids.ts'
import { isUnspecified, parseAddress } from '../transport/addresses.ts'
import { minimumPacketBytes } from './core/codec.ts'
import { maximumAddressLength, maximumTokenBytes } from './core/message-codec.ts'
import { lanProfile, localProfile, type SwimTuning, wanProfile } from './core/tuning.ts'
import type { SwimMember } from './core/types.ts'

/** Sets of defaults by name. */
export type SwimProfile = 'lan' | 'wan' | 'local'

/** The defaults of each profile. */
export const swimProfiles: Readonly<Record<SwimProfile, SwimTuning>> = Object.freeze({
  lan: lanProfile,
  wan: wanProfile,
  local: localProfile,
})

/** Options of `Swim.open`. Each value of the tuning overrides the profile's. */
export interface SwimOptions extends Partial<SwimTuning> {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Taken over: `close` closes it. */
  readonly socket: DatagramSocket
  /** Name of this node, unique in the cluster. */
  readonly nodeId: NodeId
  /** Life of the node's data directory. Others see it as `member.incarnation`. */
  readonly incarnation: Incarnation
  /** Name of the cluster. Packets with another one are dropped, so that clusters never merge by a wrong address. */
  readonly label: ClusterId
  /**
   * What this node tells the others about itself, at most {@link SwimTuning.maximumMetadataBytes}; up to 512 bytes travel with
   * every other news of it, longer ones are pulled by each member. Default: nothing.
   */
  readonly metadata?: Uint8Array
  /**
   * `host:port` addresses at which others may be found, IPv6 hosts in brackets; this node's own may be among them. While none
   * answers they are asked again and again: see the event `unanswered`. Default: none.
   */
  readonly seeds?: readonly string[]
  /** Default: `lan`. */
  readonly profile?: SwimProfile
  /**
   * The library's transport, for what datagrams do badly: whole views, long metadata, and a second try for a member that no
   * datagram reaches, which is then `degraded` and not dead. It stays the caller's. Default: datagrams only.
   */
  readonly channel?: Channel
  /** Shown to the seeds, whose hosts may ask for it: see `admit`. At most 256 bytes. Default: nothing. */
  readonly token?: Uint8Array
  /**
   * Asked about a node that asks this one to be let in: says why it must stay out, or undefined for one that is welcome. A life
   * that was let in by any member once is not asked about again. Quick, and without side effects. Default: all are welcome.
   */
  readonly admit?: (candidate: SwimMember, token: Uint8Array) => string | undefined
  /**
   * Asked about every member, and every life of one, that is new to this node's view or comes back to it, whoever tells of it, such as
   * the members of another cluster that is about to merge with this one: says why it must stay out, or undefined. Of whom it keeps
   * out nothing is taken in (no view, no news, no removal), and its pings are not answered. It is asked again when ten
   * `reconnectIntervalMs` are over, or when they say something else of themselves. Where it throws, or returns a promise, the
   * member stays out until it is heard of again. Quick, and without side effects. Default: all may.
   */
  readonly veto?: (candidate: SwimMember) => string | undefined
  /** Estimates round trips by network coordinates: 19 bytes in each answer to a ping. Default: true. */
  readonly coordinates?: boolean
  /**
   * Remembers over a restart where members were, so that a node finds its cluster without seeds, and which lives were let in and
   * removed. Default: nothing does.
   */
  readonly snapshots?: SwimSnapshotStore
  /** Time between two snapshots at least. Default: 10,000. */
  readonly snapshotIntervalMs?: number
  /** How long changes are gathered for the event `changes`. Default: 100. */
  readonly coalesceMs?: number
}

/** Where a host keeps a node's snapshot: a file or a key, of some kilobytes, with `admit` 15 bytes or so a member more. */
export interface SwimSnapshotStore {
  /** The last one that was saved; undefined when there is none. */
  load(): Promise<Uint8Array | undefined>
  /** Replaces it. */
  save(snapshot: Uint8Array): Promise<void>
}

/** Options of `Swim.open` that say how a node gossips, and not who it is and by what means. */
export type SwimSettings = Omit<
  SwimOptions,
  'env' | 'socket' | 'nodeId' | 'incarnation' | 'label' | 'seeds' | 'channel' | 'snapshots'
>

/** Checked options, complete. */
export interface CheckedSwimOptions {
  readonly env: Environment
  readonly socket: DatagramSocket
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
  readonly label: ClusterId
  readonly metadata: Uint8Array
  readonly seeds: readonly string[]
  readonly tuning: SwimTuning
  readonly channel: Channel | undefined
  readonly token: Uint8Array
  readonly admit: SwimOptions['admit']
  readonly veto: SwimOptions['veto']
  readonly coordinates: boolean
  readonly snapshots: SwimSnapshotStore | undefined
  readonly snapshotIntervalMs: number
  readonly coalesceMs: number
}

const tuningBounds: Readonly<Record<keyof SwimTuning, NumberBounds & { readonly integer?: boolean }>> = {
  probeIntervalMs: { min: 10, max: 600_000 },
  probeTimeoutMs: { min: 5, max: 600_000 },
  indirectProbes: { min: 0, max: 16, integer: true },
  retransmitMultiplier: { min: 1, max: 32, integer: true },
  suspicionMultiplier: { min: 1, max: 64 },
  suspicionMaximumMultiplier: { min: 1, max: 64 },
  healthMaximum: { min: 1, max: 64, integer: true },
  syncIntervalMs: { min: 50, max: 86_400_000 },
  gossipIntervalMs: { min: 5, max: 600_000 },
  gossipFanout: { min: 1, max: 64, integer: true },
  gossipToDeadMs: { min: 0, max: 86_400_000 },
  reconnectIntervalMs: { min: 50, max: 86_400_000 },
  tombstoneMs: { min: 1_000, max: 31_536_000_000 },
  expelRefutations: { min: 0, max: 16, integer: true },
  expelWindowMs: { min: 1_000, max: 86_400_000 },
  expelHoldMs: { min: 1_000, max: 86_400_000 },
  maximumMetadataBytes: { min: 0, max: 2 ** 24, integer: true },
  maximumMetadataCacheBytes: { min: 0, max: 2 ** 34, integer: true },
  maximumPacketBytes: { min: minimumPacketBytes, max: 65_507, integer: true },
  maximumMembers: { min: 2, max: 1_000_000, integer: true },
  maximumSyncBytesPerSecond: { min: 16_384, max: 2 ** 32, integer: true },
}

/** Options of which some have no default. */
type AllSwimOptions = Required<Omit<SwimOptions, 'channel' | 'admit' | 'veto' | 'snapshots'>> &
  Pick<CheckedSwimOptions, 'channel' | 'admit' | 'veto' | 'snapshots'>

type AllSwimSettings = Pick<AllSwimOptions, keyof SwimSettings>

/** Checks of the settings; a value of the tuning that is not given is the profile's. */
function settingsChecks(): OptionChecks<AllSwimSettings> {
  const tuning = Object.fromEntries(
    Object.entries(tuningBounds).map(([name, { integer, ...bounds }]) => [
      name,
      optional(integer === true ? integerOption(bounds) : numberOption(bounds)),
    ]),
  ) as { [K in keyof SwimTuning]-?: OptionCheck<number> }
  return {
    ...tuning,
    metadata: metadataOption,
    profile: wordOption(['lan', 'wan', 'local'], 'lan'),
    token: tokenOption,
    admit: optional(functionOption<NonNullable<SwimOptions['admit']>>()),
    veto: optional(functionOption<NonNullable<SwimOptions['veto']>>()),
    coordinates: booleanOption(true),
    snapshotIntervalMs: numberOption({ min: 100, max: 86_400_000, fallback: 10_000 }),
    coalesceMs: numberOption({ min: 1, max: 60_000, fallback: 100 }),
  }
}

/** Refuses settings that contradict each other. */
function compare(checked: AllSwimSettings, refuse: (why: string) => void): void {
  const tuning = { ...swimProfiles[checked.profile], ...pickTuning(checked) }
  if (tuning.probeTimeoutMs >= tuning.probeIntervalMs) {
    refuse(
      `probeTimeoutMs (${tuning.probeTimeoutMs}) must be below probeIntervalMs (${tuning.probeIntervalMs}), or no time is left to ask others`,
    )
  }
  if (checked.metadata.length > tuning.maximumMetadataBytes) {
    refuse(
      `metadata takes at most ${tuning.maximumMetadataBytes} bytes (maximumMetadataBytes), not ${checked.metadata.length}`,
    )
  }
}

/**
 * Checks settings before there is a socket, with options of the caller's own beside them.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function checkSwimSettings<T extends object>(
  where: string,
  settings: unknown,
  more: OptionChecks<T>,
): void {
  const checks = { ...settingsChecks(), ...more } as OptionChecks<AllSwimSettings>
  checkOptions<AllSwimSettings>(where, settings, checks, compare)
}

/** @throws KeelsonError `INVALID_OPTION` */
export function checkSwimOptions(input: unknown): CheckedSwimOptions {
  const options = checkOptions<AllSwimOptions>(
    'Swim.open',
    input,
    {
      ...settingsChecks(),
      env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
      socket: objectOption<DatagramSocket>(['address', 'maximumPayloadBytes', 'send', 'onMessage', 'close']),
      nodeId: asOption((value) => checkName(value, 'a node id')),
      incarnation: asOption((value) => checkId(value, 'an incarnation')),
      label: asOption((value) => checkName(value, 'a label')),
      seeds: arrayOption(seedOption, { max: 1_000, fallback: [] }),
      channel: optional(
        objectOption<Channel>(['send', 'onMessage', 'openStream', 'onStream', 'maximumMessageBytes']),
      ),
      snapshots: optional(objectOption<SwimSnapshotStore>(['load', 'save'])),
    },
    (checked, refuse) => {
      compare(checked, refuse)
      const problem = problemWithAddress(checked.socket.address)
      if (problem !== undefined) refuse(`the socket does not say where others reach this node: ${problem}`)
      if (checked.socket.maximumPayloadBytes < minimumPacketBytes) {
        refuse(
          `the socket carries at most ${checked.socket.maximumPayloadBytes} bytes, and SWIM needs ${minimumPacketBytes}`,
        )
      }
    },
  )
  const tuning = { ...swimProfiles[options.profile], ...pickTuning(options) }
  const { env, socket, nodeId, incarnation, label, metadata, seeds } = options
  const maximumPacketBytes = Math.min(tuning.maximumPacketBytes, socket.maximumPayloadBytes)
  const { channel, token, admit, veto, coordinates, snapshots, snapshotIntervalMs, coalesceMs } = options
  return {
    env,
    socket,
    nodeId,
    incarnation,
    label,
    metadata,
    seeds,
    channel,
    token,
    admit,
    veto,
    coordinates,
    snapshots,
    snapshotIntervalMs,
    coalesceMs,
    tuning: Object.freeze({ ...tuning, maximumPacketBytes }),
  }
}

function pickTuning(options: Partial<SwimTuning>): Partial<SwimTuning> {
  const given = Object.keys(tuningBounds).filter((name) => options[name as keyof SwimTuning] !== undefined)
  return Object.fromEntries(given.map((name) => [name, options[name as keyof SwimTuning]]))
}

function asOption<T>(check: (value: unknown) => T): OptionCheck<T> {
  return (value, name) => {
    try {
      return check(value)
    } catch (cause) {
      throw new KeelsonError('INVALID_OPTION', `${name}: ${(cause as Error).message}`, { cause })
    }
  }
}

const seedOption: OptionCheck<string> = (value, name) => {
  const address = stringOption({ maxLength: maximumAddressLength })(value, name)
  const problem = problemWithAddress(address)
  if (problem === undefined) return address
  throw new KeelsonError('INVALID_OPTION', `${name}: ${problem}`)
}

/** Why nothing can be sent to an address of a host's; undefined for one that is in order. */
export function problemWithAddress(address: unknown): string | undefined {
  try {
    if (typeof address === 'string' && address.length <= maximumAddressLength) {
      const { host } = parseAddress(address)
      return isUnspecified(host)
        ? `nobody can be reached at ${host}, which stands for all interfaces; name one address`
        : undefined
    }
  } catch {
    // As for what is no text.
  }
  return `an address is 'host:port', or '[host]:port' for IPv6, with a port of 1 to 65535, not ${showValue(address)}`
}

const tokenOption: OptionCheck<Uint8Array> = (value, name) => {
  const token = value === undefined ? new Uint8Array(0) : value
  if (token instanceof Uint8Array && token.length <= maximumTokenBytes) return copyBytes(token)
  throw new KeelsonError('INVALID_OPTION', `${name} takes a Uint8Array of at most ${maximumTokenBytes} bytes`)
}

const metadataOption: OptionCheck<Uint8Array> = (value, name) => {
  const metadata = value === undefined ? new Uint8Array(0) : value
  if (metadata instanceof Uint8Array) return copyBytes(metadata)
  throw new KeelsonError('INVALID_OPTION', `${name} takes a Uint8Array`)
}
