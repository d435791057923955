import { KeelsonError } from '../../core/errors.ts'
import type { NodeId } from '../../model/ids.ts'
import { differingBuckets, stateRanks } from './digest.ts'
import { isExpulsion } from './expulsion.ts'
import { isLive } from './member-table.ts'
import type { SwimOutput } from './output.ts'
import { amplification } from './reception.ts'
import { inlineMetadataBytes } from './statement.ts'
import type { SwimCore } from './swim-core.ts'
import type { SwimEvent, SwimMember } from './types.ts'

/** What really happened to a node, as the simulator knows. */
export type SwimFate = 'up' | 'crashed' | 'left' | 'removed'

/** A broken invariant, by name. */
export type SwimInvariantName =
  | 'versions only grow'
  | 'only the owner raises its version'
  | 'who left stays away'
  | 'no false death on a healthy network'
  | 'only the unreachable are expelled'
  | 'who was removed stays away'
  | 'what is told is told once'
  | 'what is told is told to all'
  | 'metadata arrive'
  | 'packets fit'
  | 'one of a name speaks'
  | 'who was known first keeps its name'
  | 'both hear of the conflict'
  | 'news spreads'
  | 'news comes to rest'
  | 'every crash is detected by all'
  | 'views are equal after quiet'
  | 'a replay draws no view'
  | 'a replay draws no flood'
  | 'events tell the view'
  | 'who tells later says so'
  | 'the unwell distrust themselves'
  | 'the well trust themselves'
  | 'a suspect hears of it first'
  | 'every crash is detected in time'
  | 'who is reached through others is not suspected'
  | 'partitions heal'
  | 'to heal declares nobody dead'
  | 'the unreachable are expelled'
  | 'who comes back hears what it said before'
  | 'a veto keeps clusters apart'
  | 'nobody answers in vain'
  | 'no false death beyond the published rate'

/** What a node is told about itself. */
const aboutSelf: ReadonlySet<string> = new Set(['conflict', 'expelled', 'removed', 'refused'])

/** Members of a view that is compared with the events about it. */
const maximumCompared = 256

/**
 * Judges the members of a simulated cluster. After each input of a core call {@link SwimInvariants.check} with its output;
 * after a time without faults call {@link SwimInvariants.checkQuiet}. A breach throws KeelsonError `INVARIANT_VIOLATED` with
 * the invariant's name in its details.
 */
export class SwimInvariants {
  /** True while no fault is active and enough time has passed since the last one: then nobody may be declared dead. */
  healthy = false
  readonly #maximumPacketBytes: number
  /** Highest version that each owner ever had, over its restarts. */
  readonly #owned = new Map<NodeId, number>()
  readonly #fates = new Map<NodeId, SwimFate>()
  /** By process, since a restarted node may see older things again: four times the version, and the rank of the state. */
  readonly #seen = new WeakMap<SwimCore, Map<NodeId, number>>()
  /** Nodes that really cannot be reached reliably, or could not not long ago. */
  readonly #unreliable = new Set<NodeId>()
  /** The version that removed a node for good. */
  readonly #removedAt = new Map<NodeId, number>()
  /** By process: the user events that were delivered. */
  readonly #told = new WeakMap<SwimCore, Set<string>>()
  /** By process: the highest Lamport time of what it was told. */
  readonly #toldTimes = new WeakMap<SwimCore, number>()
  /** By process: whom it held under suspicion after its last input. */
  readonly #suspects = new WeakMap<SwimCore, ReadonlySet<NodeId>>()
  /** By process: the view as its events told it, and when it was compared with the view last. */
  readonly #shown = new WeakMap<
    SwimCore,
    { readonly members: Map<NodeId, SwimMember>; readonly at: Uint32Array }
  >()
  /** Processes that were told that another one uses their name. */
  readonly #warned = new WeakSet<SwimCore>()
  /** Processes that lost their name. */
  readonly #silenced = new WeakSet<SwimCore>()

  /** No member may send a packet of more than `maximumPacketBytes`. */
  constructor(maximumPacketBytes: number) {
    this.#maximumPacketBytes = maximumPacketBytes
  }

  /** Notes what happened to a node. */
  setFate(nodeId: NodeId, fate: SwimFate): void {
    this.#fates.set(nodeId, fate)
  }

  /** Notes that a node can be reached only now and then, so that the others may expel it. */
  setUnreliable(nodeId: NodeId, unreliable: boolean): void {
    if (unreliable) this.#unreliable.add(nodeId)
    else this.#unreliable.delete(nodeId)
  }

  /** Judges what one core just did. */
  check(core: SwimCore, output: SwimOutput): void {
    const { self } = core
    this.#checkOwn(core)
    this.#checkSilence(core, output)
    for (const { bytes, reliable } of output.packets) {
      if (reliable || bytes.length <= this.#maximumPacketBytes) continue
      this.#fail('packets fit', self.nodeId, `sent a packet of ${bytes.length} bytes`)
    }
    for (const delivery of output.deliveries) {
      if (delivery.kind !== 'event') continue
      this.#checkTold(core, `${delivery.origin} ${delivery.id}`, delivery.name)
      this.#checkTime(core, delivery.origin, delivery.time)
    }
    for (const event of output.events) if (!aboutSelf.has(event.type)) this.#checkEvent(core, event)
    this.#checkShown(core, output.events)
    this.#checkBuddy(core, output)
  }

  /** Judges what a test found out itself. */
  demand(holds: boolean, name: SwimInvariantName, observer: NodeId, what: string): void {
    if (!holds) this.#fail(name, observer, what)
  }

  /** Judges a cluster after a time without faults, long enough for suspicions, gossip and an exchange of views. */
  checkQuiet(cores: readonly SwimCore[]): void {
    const [first] = cores
    const versions = new Map(cores.map(({ self }) => [self.nodeId, self.version]))
    for (const core of cores) {
      const observer = core.self.nodeId
      for (const [nodeId, fate] of this.#fates) {
        const member = core.member(nodeId)
        if (fate === 'up') this.#checkLive(observer, member, nodeId, versions.get(nodeId))
        else if (member !== undefined && member.state !== 'dead' && member.state !== 'left') {
          const name = fate === 'crashed' ? 'every crash is detected by all' : 'who left stays away'
          this.#fail(name, observer, `holds ${nodeId} ${member.state}, which has ${fate}`)
        }
      }
      if (core.pendingUpdates > 0 && cores.length > 1) {
        this.#fail('news comes to rest', observer, `still spreads ${core.pendingUpdates} updates`)
      }
      if (core.viewDigest !== first?.viewDigest) {
        this.#fail('views are equal after quiet', observer, `differs from ${first?.self.nodeId}`)
      }
    }
  }

  /**
   * Judges two processes of one name, of which most knew `first` first, when they have had time to meet and to hold a vote: one
   * goes on, and that one; the other is silent; both said that there was a conflict.
   */
  checkTwins(first: SwimCore, second: SwimCore): void {
    const { nodeId } = first.self
    if (first.silent === second.silent) {
      const what = first.silent ? 'fell silent twice' : 'is still spoken for by two processes'
      this.#fail('one of a name speaks', nodeId, what)
    }
    if (first.silent)
      this.#fail('who was known first keeps its name', nodeId, 'lost its name to a newcomer of the same name')
    if (!this.#warned.has(first) || !this.#warned.has(second))
      this.#fail('both hear of the conflict', nodeId, 'was not told that another process uses its name')
  }

  /**
   * Judges whether most know a node's newest statement, some seconds after it was made on a healthy network. Gossip may miss
   * a few, which the exchange of views then tells.
   */
  checkSpread(cores: readonly SwimCore[], nodeId: NodeId): void {
    const version = this.#owned.get(nodeId)
    const know = cores.filter((core) => core.member(nodeId)?.version === version).length
    if (know >= cores.length * 0.6) return
    this.#fail('news spreads', nodeId, `is known at version ${version} by ${know} of ${cores.length} only`)
  }

  /** Judges whether all were told something, a while after it was told on a healthy network. */
  checkTold(cores: readonly SwimCore[], name: string): void {
    for (const core of cores) {
      if (this.#told.get(core)?.has(name) === true) continue
      this.#fail('what is told is told to all', core.self.nodeId, `was not told '${name}'`)
    }
  }

  /**
   * Judges what a member is about to send to where a packet of so many bytes seemed to come from that was recorded and sent on to it.
   */
  checkReplay(core: SwimCore, from: string, bytes: number): void {
    const drawn = core.packer.packets.reduce(
      (sum, each) => sum + (each.to === from ? each.bytes.length : 0),
      0,
    )
    if (drawn > bytes * amplification)
      this.#fail(
        'a replay draws no flood',
        core.self.nodeId,
        `answers a packet of ${bytes} bytes by ${drawn}`,
      )
    const told = core.packer.packets.some(
      ({ to, content }) => to === from && content.messages.some(({ kind }) => kind === 'state'),
    )
    if (told || core.antiEntropy.views.some(({ to }) => to === from))
      this.#fail('a replay draws no view', core.self.nodeId, 'told its view to whoever sent on a packet')
  }

  #checkSilence(core: SwimCore, { events, packets }: SwimOutput): void {
    if (events.some(({ type }) => type === 'conflict')) this.#warned.add(core)
    if (this.#silenced.has(core) && packets.length > 0)
      this.#fail('one of a name speaks', core.self.nodeId, 'speaks though it lost its name')
    if (core.silent) this.#silenced.add(core)
  }

  /** What is told because of something else has a higher time. */
  #checkTime(core: SwimCore, origin: NodeId, time: number): void {
    const before = this.#toldTimes.get(core) ?? 0
    if (origin === core.self.nodeId && time <= before)
      this.#fail(
        'who tells later says so',
        origin,
        `told something at ${time}, after what was told at ${before}`,
      )
    this.#toldTimes.set(core, Math.max(before, time))
  }

  /** Whoever asks a suspect tells it that it is one (Lifeguard's buddy system): it then answers for itself at once. */
  #checkBuddy(core: SwimCore, { packets }: SwimOutput): void {
    const { suspicions } = core.membership
    const before = this.#suspects.get(core)
    if (before !== undefined) {
      for (const { recipient, content } of packets) {
        if (recipient === undefined || !before.has(recipient) || !suspicions.has(recipient)) continue
        const asked = content.messages.some(({ kind }) => kind === 'ping')
        const told = content.messages.some(
          (message) => message.kind === 'suspect' && message.nodeId === recipient,
        )
        if (asked && !told)
          this.#fail(
            'a suspect hears of it first',
            core.self.nodeId,
            `asked ${recipient} and did not tell it`,
          )
      }
    }
    const now = Array.from(suspicions, ([nodeId]) => nodeId)
    if (now.length > 0) this.#suspects.set(core, new Set(now))
    else if (before !== undefined) this.#suspects.delete(core)
  }

  /** A host that listens knows what the view holds. Looked at when the view has changed; large ones only by the other checks. */
  #checkShown(core: SwimCore, events: readonly SwimEvent[]): void {
    const { table } = core.membership
    if (table.size > maximumCompared) return
    const shown = this.#shown.get(core)
    if (shown === undefined) {
      const members = new Map(Array.from(table.entries(), ({ member }) => [member.nodeId, member]))
      this.#shown.set(core, { members, at: table.buckets.slice() })
      return
    }
    for (const { type, member } of events) if (!aboutSelf.has(type)) shown.members.set(member.nodeId, member)
    if (differingBuckets(table.buckets, shown.at) === 0) return
    shown.at.set(table.buckets)
    for (const { member } of table.entries()) {
      const told = shown.members.get(member.nodeId)
      if (told === member || member.nodeId === core.self.nodeId || tells(told, member)) continue
      const held = `holds ${member.nodeId} ${member.state} at version ${member.version}`
      this.#fail(
        'events tell the view',
        core.self.nodeId,
        `${held}, and told of it ${told?.state ?? 'nothing'}`,
      )
    }
  }

  #checkTold(core: SwimCore, id: string, name: string): void {
    const told = this.#told.get(core) ?? new Set()
    this.#told.set(core, told)
    if (told.has(id)) this.#fail('what is told is told once', core.self.nodeId, `was told '${name}' again`)
    told.add(id).add(name)
  }

  #checkLive(
    observer: NodeId,
    member: SwimMember | undefined,
    nodeId: NodeId,
    version = this.#owned.get(nodeId),
  ): void {
    if (member?.state === 'alive' && member.version === version) {
      if (member.metadata.length === member.metadataBytes) return
      this.#fail(
        'metadata arrive',
        observer,
        `has ${member.metadata.length} of ${member.metadataBytes} bytes of ${nodeId}`,
      )
    }
    const held = member === undefined ? 'unknown' : `${member.state} at version ${member.version}`
    this.#fail(
      'views are equal after quiet',
      observer,
      `holds ${nodeId} ${held}, which is up at version ${version}`,
    )
  }

  #checkOwn(core: SwimCore): void {
    const { nodeId, version } = core.self
    const seen = this.#seenBy(core)
    if (version < (seen.get(nodeId) ?? 0) / 4) {
      this.#fail('versions only grow', nodeId, `went back to version ${version} of itself`)
    }
    seen.set(nodeId, version * 4)
    this.#owned.set(nodeId, Math.max(version, this.#owned.get(nodeId) ?? 0))
  }

  #checkEvent(core: SwimCore, { type, member }: SwimEvent): void {
    const { nodeId, version, state } = member
    const observer = core.self.nodeId
    // What a node says about itself was judged already.
    if (nodeId === observer) return
    const seen = this.#seenBy(core)
    const before = seen.get(nodeId)
    const now = version * 4 + stateRanks[state]
    if (before !== undefined && now < before) {
      if (before % 4 === stateRanks.left) {
        this.#fail('who left stays away', observer, `holds ${nodeId} ${state} again at version ${version}`)
      }
      this.#fail('versions only grow', observer, `takes ${nodeId} back to ${state} at version ${version}`)
    }
    seen.set(nodeId, now)
    if (isExpulsion(version)) {
      if (state === 'dead' && !this.#unreliable.has(nodeId) && this.healthy) {
        this.#fail('only the unreachable are expelled', observer, `expelled ${nodeId}, which can be reached`)
      }
    } else if (version > (this.#owned.get(nodeId) ?? 0)) {
      this.#fail(
        'only the owner raises its version',
        observer,
        `holds ${nodeId} at version ${version}, which it never had`,
      )
    }
    const fate = this.#fates.get(nodeId)
    if (type === 'left' && isExpulsion(version)) this.#removedAt.set(nodeId, version)
    if (
      type === 'joined' &&
      fate === 'removed' &&
      version > (this.#removedAt.get(nodeId) ?? Number.POSITIVE_INFINITY)
    )
      this.#fail('who was removed stays away', observer, `took ${nodeId} in again`)
    if (type === 'failed' && this.healthy && fate === 'up') {
      this.#fail('no false death on a healthy network', observer, `declared ${nodeId} dead, which is up`)
    }
  }

  #seenBy(core: SwimCore): Map<NodeId, number> {
    const known = this.#seen.get(core)
    if (known !== undefined) return known
    const seen = new Map<NodeId, number>()
    this.#seen.set(core, seen)
    return seen
  }

  #fail(name: SwimInvariantName, observer: NodeId, what: string): never {
    throw new KeelsonError('INVARIANT_VIOLATED', `SWIM invariant '${name}': ${observer} ${what}`, {
      details: { invariant: name, observer },
    })
  }
}

/** Whether an event said of a member what the view holds of it; of the dead nobody need have heard. */
function tells(told: SwimMember | undefined, held: SwimMember): boolean {
  if (!isLive(held)) return told === undefined || !isLive(told)
  if (told === undefined || told.state !== held.state) return false
  return (
    told.incarnation === held.incarnation &&
    told.address === held.address &&
    told.metadataBytes === held.metadataBytes &&
    // Long ones may come with any statement in a simulation, where both ends share it.
    (held.metadataBytes > inlineMetadataBytes || told.metadata.every((byte, i) => byte === held.metadata[i]))
  )
}
