import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { NodeId, ReplicaId } from '../../model/ids.ts'
import type { Configuration } from '../core/membership-types.ts'
import type { Message } from '../core/messages.ts'
import type { ConfigurationState, RaftMachine } from '../core/types.ts'
import type { Peer } from './peers.ts'
import type { EndedCover, NodeEvent, ReplicaPort } from './replica-port.ts'

const noReplicas: readonly ReplicaId[] = []

/** What a {@link ReplicaRest} sees of its replica. */
export interface RestingReplica {
  readonly core: RaftMachine
  readonly replicaId: ReplicaId
  readonly stopped: boolean
  readonly configuration: ConfigurationState
  peerOf(replicaId: ReplicaId): Peer | undefined
  callsLost(nodeId: NodeId): void
}

/**
 * What a replica has to do with the signs of life between its node and the others, so that its group can rest: it asks for
 * the epochs that its leader's messages carry, takes none that does not stand, and counts what the nodes have pledged.
 */
export class ReplicaRest<R extends RestingReplica> {
  readonly #replica: R
  readonly #port: ReplicaPort<R>
  /** While the replica leads and rests: the configuration whose nodes it counts on. */
  #restsWith: Configuration | undefined
  /** Whom messages of this turn are for whose nodes are gone. */
  #goneReplicas: readonly ReplicaId[] = noReplicas

  constructor(replica: R, port: ReplicaPort<R>) {
    this.#replica = replica
    this.#port = port
  }

  /** What became of other nodes since the news of this number. @returns whether any of it concerned the replica */
  hearNews(heard: number, nowMs: number): boolean {
    let isConcerned = false
    for (const event of this.#port.nodes.newsSince(heard)) {
      if (this.#hear(event, nowMs)) isConcerned = true
    }
    if (isConcerned) this.#port.schedule(this.#replica)
    return isConcerned
  }

  #hear(event: NodeEvent, nowMs: number): boolean {
    switch (event.type) {
      case 'coverEnded':
        return this.#coverEnded(event, nowMs)
      case 'supported':
        return this.#nodeSupports(event.peer, event.epoch, nowMs)
      case 'supportLost':
        return this.#supportLost(event.peer, nowMs)
      case 'peerLost':
        return this.#peerLost(event.nodeId, nowMs)
    }
  }

  /** Connections to a node broke. */
  #peerLost(nodeId: NodeId, nowMs: number): boolean {
    this.#replica.callsLost(nodeId)
    const lost = this.#others().filter((replica) => replica.nodeId === nodeId)
    for (const replica of lost) {
      this.#replica.core.peerDown(replica.replicaId, nowMs, this.#port.nodes.watches(replica))
    }
    return lost.length > 0
  }

  /** The node of the leader that this replica may rest under pledges nothing any more under this epoch. */
  #coverEnded({ epoch, untilMs, heardMs }: EndedCover, nowMs: number): boolean {
    const { core } = this.#replica
    if (core.coverEpoch !== epoch) return false
    core.coverEnded(epoch, untilMs, heardMs, nowMs)
    return true
  }

  /** A node that follows is there: replicas on it that do not rest under this epoch are spoken to. */
  #nodeSupports(node: Peer, epoch: number, nowMs: number): boolean {
    const replicaId = this.#ledOn(node)
    if (replicaId === 0) return false
    this.#replica.core.peerUp(replicaId, epoch, nowMs)
    return true
  }

  /** Nothing is heard any more of a node that follows. */
  #supportLost(node: Peer, nowMs: number): boolean {
    const replicaId = this.#ledOn(node)
    if (replicaId === 0) return false
    this.#replica.core.peerDown(replicaId, nowMs, true)
    return true
  }

  /** A message as it is sent: one that asks a replica to rest carries the epoch of its node. */
  withEpoch(peer: Peer, message: Message): Message {
    if (message.kind !== 'heartbeat') return message
    const { nodes } = this.#port
    const { idle, to } = message
    const epoch = idle === true ? nodes.epochFor(peer) : 0
    if (idle === true) this.#keepInTouch()
    // A leader that was elected without a node cannot tell what its replica has: it need not wait for it.
    if (epoch === 0 && nodes.isGone(peer) && this.#replica.core.isIdle()) {
      this.#goneReplicas = [...this.#goneReplicas, to]
    }
    return idle === true ? { ...message, epoch } : message
  }

  /** Those who rest already hear no heartbeat as long as others keep the leader awake: their nodes must. */
  #keepInTouch(): void {
    for (const replica of this.#others()) this.#port.nodes.epochFor(replica)
  }

  /** A replica rests only under an epoch of its own node that has not ended. */
  checkEpoch(peer: PeerIdentity, message: Message): Message {
    if (message.kind !== 'heartbeat' || message.epoch === undefined) return message
    return this.#port.nodes.supports(peer, message.epoch) ? message : { ...message, epoch: 0 }
  }

  /** A vote needs the end of the epoch under which this replica may rest. */
  uncover(nowMs: number): void {
    const { core } = this.#replica
    if (core.coverEpoch === 0 || !core.mayUncover(nowMs)) return
    const leader = this.#replica.peerOf(core.coverLeader)
    if (leader !== undefined) this.#port.nodes.uncover(leader.nodeId, nowMs)
  }

  /** What the other nodes have pledged holds for this group, too, where its replicas rest. */
  takeNodePledges(forRead: boolean): void {
    const { core } = this.#replica
    if (core.role !== 'leader') return
    const { nodes } = this.#port
    const isWanted = forRead && core.atRest
    const nowMs = this.#port.env.clock.monotonicMs()
    for (const replica of this.#replica.configuration.latest?.replicas ?? []) {
      const { replicaId } = replica
      if (replicaId === this.#replica.replicaId) continue
      const pledge = isWanted ? nodes.pledgeFor(replica) : nodes.supportOf(replica)
      if (pledge === undefined) continue
      core.nodePledged(replicaId, pledge.epoch, pledge.sent, pledge.pledgeMs, nowMs)
    }
  }

  /** All that a turn had to say is said. */
  turnEnds(nowMs: number): void {
    if (this.#goneReplicas.length > 0) this.#doWithout(nowMs)
    this.#countRest()
  }

  /** The group may rest without those whose nodes are gone. */
  #doWithout(nowMs: number): void {
    const gone = this.#goneReplicas
    this.#goneReplicas = noReplicas
    for (const replicaId of gone) this.#replica.core.peerDown(replicaId, nowMs, true)
    this.#port.schedule(this.#replica)
  }

  /** The nodes that a group counts on while it rests are kept in touch with. */
  #countRest(): void {
    const { core, stopped } = this.#replica
    const rests = !stopped && core.atRest && core.role === 'leader'
    if (rests === (this.#restsWith !== undefined)) return
    const configuration = this.#restsWith ?? this.#replica.configuration.latest
    this.#restsWith = rests ? configuration : undefined
    for (const replica of this.#others(configuration)) this.#port.nodes.count(replica, rests ? 1 : -1)
  }

  /** The replica has stopped. Whoever rests under it would wait for it for as long as this node is there. */
  stop(): void {
    this.#countRest()
    const { core, replicaId: from } = this.#replica
    if (core.role !== 'leader') return
    const { term } = core
    for (const replica of this.#others()) {
      const { replicaId: to } = replica
      this.#port.send(this.#replica, replica, { kind: 'notLeading', from, to, term, ledTerm: term })
    }
  }

  /** The replica on a node, if this one leads it; else 0. */
  #ledOn({ nodeId, incarnation }: Peer): ReplicaId {
    if (this.#replica.core.role !== 'leader') return 0
    const replica = this.#replica.configuration.latest?.replicas.find(
      (each) => each.nodeId === nodeId && each.incarnation === incarnation,
    )
    if (replica === undefined || replica.replicaId === this.#replica.replicaId) return 0
    return replica.replicaId
  }

  #others(configuration = this.#replica.configuration.latest): (Peer & { readonly replicaId: ReplicaId })[] {
    const { replicaId } = this.#replica
    return configuration?.replicas.filter((replica) => replica.replicaId !== replicaId) ?? []
  }
}
