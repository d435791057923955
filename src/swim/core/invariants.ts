import { KeelsonError } from '../../core/errors.ts'
import type { NodeId } from '../../model/ids.ts'
import type { SwimCore } from './swim-core.ts'
import type { MemberState, SwimEvent, SwimMember, SwimOutput } from './types.ts'

/** What really happened to a node, as the simulator knows. */
export type SwimFate = 'up' | 'crashed' | 'left'

/** A broken invariant, by name. */
export type SwimInvariantName =
  | 'versions only grow'
  | 'only the owner raises its version'
  | 'who left stays away'
  | 'no false death on a healthy network'
  | 'packets fit'
  | 'news spreads'
  | 'news comes to rest'
  | 'every crash is detected by all'
  | 'views are equal after quiet'

interface Seen {
  readonly version: number
  readonly rank: number
}

const ranks: Readonly<Record<MemberState, number>> = { alive: 0, suspect: 1, dead: 2, left: 3 }

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
  /** By process: a restarted node may see older things again. */
  readonly #seen = new WeakMap<SwimCore, Map<NodeId, Seen>>()

  /** No member may send a packet of more than `maximumPacketBytes`. */
  constructor(maximumPacketBytes: number) {
    this.#maximumPacketBytes = maximumPacketBytes
  }

  /** Notes what happened to a node. */
  setFate(nodeId: NodeId, fate: SwimFate): void {
    this.#fates.set(nodeId, fate)
  }

  /** Judges what one core just did. */
  check(core: SwimCore, output: SwimOutput): void {
    const { self } = core
    this.#checkOwn(core)
    for (const { bytes } of output.packets) {
      if (bytes.length <= this.#maximumPacketBytes) continue
      this.#fail('packets fit', self.nodeId, `sent a packet of ${bytes.length} bytes`)
    }
    for (const event of output.events) if (event.type !== 'conflict') this.#checkEvent(core, event)
  }

  /** Judges a cluster after a time without faults, long enough for suspicions, gossip and an exchange of views. */
  checkQuiet(cores: readonly SwimCore[]): void {
    const [first] = cores
    for (const core of cores) {
      const observer = core.self.nodeId
      for (const [nodeId, fate] of this.#fates) {
        const member = core.member(nodeId)
        if (fate === 'up') this.#checkLive(observer, nodeId, member)
        else if (member !== undefined && member.state !== 'dead' && member.state !== 'left') {
          const name = fate === 'left' ? 'who left stays away' : 'every crash is detected by all'
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
   * Judges whether most know a node's newest statement, some seconds after it was made on a healthy network. Gossip may miss
   * a few, which the exchange of views then tells.
   */
  checkSpread(cores: readonly SwimCore[], nodeId: NodeId): void {
    const version = this.#owned.get(nodeId)
    const know = cores.filter((core) => core.member(nodeId)?.version === version).length
    if (know >= cores.length * 0.6) return
    this.#fail('news spreads', nodeId, `is known at version ${version} by ${know} of ${cores.length} only`)
  }

  #checkLive(observer: NodeId, nodeId: NodeId, member: SwimMember | undefined): void {
    if (member?.state === 'alive' && member.version === this.#owned.get(nodeId)) return
    const held = member === undefined ? 'unknown' : `${member.state} at version ${member.version}`
    this.#fail(
      'views are equal after quiet',
      observer,
      `holds ${nodeId} ${held}, which is up at version ${this.#owned.get(nodeId)}`,
    )
  }

  #checkOwn(core: SwimCore): void {
    const { nodeId, version } = core.self
    const seen = this.#seenBy(core)
    if (version < (seen.get(nodeId)?.version ?? 0)) {
      this.#fail('versions only grow', nodeId, `went back to version ${version} of itself`)
    }
    seen.set(nodeId, { version, rank: 0 })
    this.#owned.set(nodeId, Math.max(version, this.#owned.get(nodeId) ?? 0))
  }

  #checkEvent(core: SwimCore, { type, member }: SwimEvent): void {
    const { nodeId, version, state } = member
    const observer = core.self.nodeId
    const seen = this.#seenBy(core)
    const before = seen.get(nodeId)
    const rank = ranks[state]
    if (before !== undefined) {
      const back = version < before.version || (version === before.version && rank < before.rank)
      if (back && before.rank === ranks.left) {
        this.#fail('who left stays away', observer, `holds ${nodeId} ${state} again at version ${version}`)
      }
      if (back)
        this.#fail('versions only grow', observer, `takes ${nodeId} back to ${state} at version ${version}`)
    }
    seen.set(nodeId, { version, rank })
    if (version > (this.#owned.get(nodeId) ?? 0)) {
      this.#fail(
        'only the owner raises its version',
        observer,
        `holds ${nodeId} at version ${version}, which it never had`,
      )
    }
    if (type === 'failed' && this.healthy && this.#fates.get(nodeId) === 'up') {
      this.#fail('no false death on a healthy network', observer, `declared ${nodeId} dead, which is up`)
    }
  }

  #seenBy(core: SwimCore): Map<NodeId, Seen> {
    const known = this.#seen.get(core)
    if (known !== undefined) return known
    const seen = new Map<NodeId, Seen>()
    this.#seen.set(core, seen)
    return seen
  }

  #fail(name: SwimInvariantName, observer: NodeId, what: string): never {
    throw new KeelsonError('INVARIANT_VIOLATED', `SWIM invariant '${name}': ${observer} ${what}`, {
      details: { invariant: name, observer },
    })
  }
}
