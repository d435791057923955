import type { PeerIdentity } from '../../interfaces/transport.ts'
import type { ReplicaId } from '../../model/ids.ts'
import type { Configuration } from '../core/membership-types.ts'
import type { Message } from '../core/messages.ts'
import type { ConfigurationState, RaftMachine } from '../core/types.ts'
import type { Peer } from './peers.ts'
import type { ReplicaPort } from './replica-port.ts'

const noReplicas: readonly ReplicaId[] = []

/** What a {@link ReplicaRest} sees of its replica. */
export interface RestingReplica {
  readonly core: RaftMachine
  readonly replicaId: ReplicaId
  readonly stopped: boolean
  readonly configuration: ConfigurationState
  peerOf(replicaId: ReplicaId): Peer | undefined
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

  /** A message as it is sent: one that asks a replica to rest carries the epoch of its node. */
  withEpoch(peer: Peer, message: Message): Message {
    if (message.kind !== 'heartbeat' || message.idle === undefined) return message
    const { nodes } = this.#port
    const epoch = nodes.epochFor(peer)
    this.#keepInTouch()
    if (epoch === 0 && nodes.isGone(peer)) this.#goneReplicas = [...this.#goneReplicas, message.to]
    return { ...message, epoch }
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
  takeNodePledges(): void {
    const { core } = this.#replica
    if (core.role !== 'leader') return
    const nowMs = this.#port.env.clock.monotonicMs()
    for (const replica of this.#replica.configuration.latest?.replicas ?? []) {
      const { replicaId } = replica
      const pledge = replicaId === this.#replica.replicaId ? undefined : this.#port.nodes.supportOf(replica)
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
  ledOn({ nodeId, incarnation }: Peer): ReplicaId {
    if (this.#replica.stopped || this.#replica.core.role !== 'leader') return 0
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
