import type { Message } from '../../../../src/raft/core/messages.ts'
import type { RaftCore } from '../../../../src/raft/core/raft.ts'
import { FramePacker } from '../../../../src/raft/host/frame.ts'
import type { Beat, BeatReply } from '../../../../src/raft/host/host-messages.ts'
import { NodeLiveness } from '../../../../src/raft/host/node-liveness.ts'
import { type Informed, type NodeEvent, NodeNews } from '../../../../src/raft/host/node-news.ts'
import { NodeLinks, type Peer } from './links.ts'

/** Signs of life between nodes, and what a replica hears of other nodes: `NodeLiveness` and `NodeNews` of the host. */
export abstract class NodeSigns extends NodeLinks {
  liveness: NodeLiveness | undefined
  protected news: NodeNews<Informed> | undefined
  #newsHeard = 0
  #livenessTimer: { readonly dueMs: number; cancel(): void } | undefined
  /** While its replica leads and rests: the nodes that it counts on. */
  #restsWith: readonly Peer[] | undefined
  #atRest = false

  protected override forget(): void {
    super.forget()
    this.liveness = undefined
    this.news?.close()
    this.news = undefined
    this.#livenessTimer?.cancel()
    this.#livenessTimer = undefined
    this.#restsWith = undefined
    this.#atRest = false
  }

  /** To be called when a core begins. */
  protected watchNodes(core: RaftCore): void {
    this.liveness = this.makeLiveness(core)
    this.news = this.#makeNews(core)
    this.#newsHeard = 0
  }

  makeLiveness(core: RaftCore): NodeLiveness {
    return new NodeLiveness({ ...core.options, random: this.env.random })
  }

  protected armLiveness(): void {
    const dueMs = this.liveness?.nextDeadlineMs ?? Number.POSITIVE_INFINITY
    if (this.#livenessTimer?.dueMs === dueMs) return
    this.#livenessTimer?.cancel()
    this.#livenessTimer = undefined
    if (dueMs === Number.POSITIVE_INFINITY) return
    const timer = this.env.timers.schedule(dueMs - this.nowMs, () => {
      this.#livenessTimer = undefined
      this.env.timers.defer(() => this.#advanceLiveness())
    })
    this.#livenessTimer = { dueMs, cancel: () => timer.cancel() }
  }

  #advanceLiveness(): void {
    const { core, liveness } = this
    if (core === undefined || liveness === undefined) return
    const { beats, events } = liveness.advance(this.nowMs, this.env.clock.wallMs())
    for (const { to, beat } of beats) this.#sendBeat(to, beat)
    this.news?.publish(events)
    this.armLiveness()
  }

  #sendBeat(to: Peer, beat: Beat | BeatReply): void {
    const { core } = this
    if (core !== undefined && beat.kind === 'beatReply') {
      this.judge((invariants) => invariants.pledged(core.replicaId, beat.epoch))
    }
    const packer = new FramePacker(to.incarnation)
    packer.addBeat(beat)
    const bytes = packer.finish(this.marks.to(to))
    this.sendPacket(to.nodeId, { type: 'frame', incarnation: this.incarnation, bytes })
  }

  protected takeBeat(core: RaftCore, from: Peer, beat: Beat | BeatReply): void {
    const { liveness } = this
    if (liveness === undefined) return
    if (beat.kind === 'beatReply') this.news?.publish(liveness.replyReceived(from, beat, this.nowMs))
    else {
      const wallMs = this.env.clock.wallMs()
      const { beats, events } = liveness.beatReceived(from, beat, this.nowMs, wallMs)
      this.news?.publish(events)
      for (const each of beats) this.#sendBeat(from, each)
    }
    this.armLiveness()
  }

  /** Whoever leads counts on a replica that rests without asking it. */
  endEpochs(): void {
    this.news?.publish(this.liveness?.endEpochs() ?? [])
  }

  /** What came over the connection to a replica, or was sent over it, may be lost. */
  connectionClosed(core: RaftCore, replicaId: number): void {
    const peer = this.peerOf(replicaId)
    if (peer === undefined) return core.peerDown(replicaId, this.nowMs)
    const { nodeId } = peer
    this.news?.publish([...(this.liveness?.lost(nodeId) ?? []), { type: 'peerLost', nodeId }])
  }

  // What becomes of other nodes

  /** Before this replica another one is told, which may take its time to come to rest again. */
  #makeNews(core: RaftCore): NodeNews<Informed> {
    const { settings } = this.world
    const delays = this.world.simulation.random(`news ${this.name} ${this.lives}`)
    let heard = 0
    let awakeUntilMs = 0
    const other: Informed = {
      get newsHeard() {
        return heard
      },
      get rests() {
        return env.clock.monotonicMs() >= awakeUntilMs
      },
      hearNews(nowMs) {
        heard = news.lastNumber
        awakeUntilMs = nowMs + delays.float() * settings.newsDelayMs
        return true
      },
    }
    const heardHere = (): number => this.#newsHeard
    const replica: Informed = {
      get newsHeard() {
        return heardHere()
      },
      get rests() {
        return core.atRest
      },
      hearNews: () => this.hearNews(core),
    }
    const { env } = this
    const news = new NodeNews({
      env,
      replicas: () => [other, replica],
      waiting: () => (core.atRest ? [] : [replica]),
      patienceMs: 1_000,
      maximumWoken: 1,
    })
    return news
  }

  /** A replica knows what became of the others before it does anything. */
  hearNews(core: RaftCore): boolean {
    const news = this.news
    if (news === undefined || this.core !== core) return false
    const heard = this.#newsHeard
    if (heard === news.lastNumber) return false
    this.#newsHeard = news.lastNumber
    for (const event of news.since(heard)) this.#hear(core, event)
    this.changed()
    return true
  }

  #hear(core: RaftCore, event: NodeEvent): void {
    const { replicas = [] } = core.configuration ?? {}
    if (event.type === 'coverEnded') {
      this.input('node', event.type, event.epoch)
      core.coverEnded(event.epoch, event.untilMs, event.heardMs, this.nowMs)
    } else if (event.type === 'peerLost') {
      this.input('node', event.type, event.nodeId)
      for (const replica of replicas) {
        if (replica.nodeId !== event.nodeId || replica.replicaId === core.replicaId) continue
        core.peerDown(replica.replicaId, this.nowMs, this.liveness?.watches(replica))
      }
    } else if (core.role === 'leader') {
      const { peer } = event
      this.input('node', event.type, peer.nodeId)
      const replica = replicas.find(
        ({ nodeId, incarnation }) => nodeId === peer.nodeId && incarnation === peer.incarnation,
      )
      if (replica === undefined || replica.replicaId === core.replicaId) return
      if (event.type === 'supported') core.peerUp(replica.replicaId, event.epoch, this.nowMs)
      else core.peerDown(replica.replicaId, this.nowMs, true)
    }
  }

  // Epochs and pledges

  /** A replica rests only under an epoch of its node that has not ended. */
  checkEpoch(peer: Peer, message: Message): Message {
    if (message.kind !== 'heartbeat' || message.epoch === undefined) return message
    return this.liveness?.supports(peer, message.epoch) === true ? message : { ...message, epoch: 0 }
  }

  /** A replica may rest under an epoch of its node. */
  withEpoch(peer: Peer, message: Message): Message {
    if (message.kind !== 'heartbeat') return message
    const isIdle = message.idle === true
    const epoch = isIdle ? (this.liveness?.epochOf(peer, this.nowMs) ?? 0) : 0
    // Those who rest already get no heartbeat, but their nodes must hear of this one.
    for (const replica of isIdle ? (this.core?.configuration?.replicas ?? []) : []) {
      if (replica.nodeId !== this.name) this.liveness?.epochOf(replica, this.nowMs)
    }
    this.armLiveness()
    if (epoch === 0 && this.liveness?.isGone(peer, this.nowMs) === true && this.core?.isIdle() === true) {
      const { core } = this
      this.env.timers.defer(() => {
        if (core === undefined || this.core !== core || this.liveness?.isGone(peer, this.nowMs) !== true)
          return
        core.peerDown(message.to, this.nowMs, true)
        this.changed()
      })
    }
    return isIdle ? { ...message, epoch } : message
  }

  /** A vote needs the end of the epoch under which the replica may rest. */
  uncover(core: RaftCore): void {
    const leader = core.mayUncover(this.nowMs) ? this.peerOf(core.coverLeader) : undefined
    if (leader === undefined || this.liveness?.mayEndEpoch(leader.nodeId, this.nowMs) !== true) return
    this.news?.publish(this.liveness.endEpoch(leader.nodeId))
  }

  takeNodePledges(core: RaftCore, forRead = false): void {
    for (const replica of core.configuration?.replicas ?? []) {
      const isWanted = forRead && core.atRest
      const pledge = isWanted
        ? this.liveness?.pledgeFor(replica, this.nowMs)
        : this.liveness?.supportOf(replica)
      if (pledge !== undefined)
        core.nodePledged(replica.replicaId, pledge.epoch, pledge.sent, pledge.pledgeMs, this.nowMs)
    }
  }

  protected countRest(core: RaftCore): void {
    if (core.atRest !== this.#atRest) {
      this.#atRest = core.atRest
      this.world.count(`${core.role} ${core.atRest ? 'went to rest' : 'woke up'}`)
    }
    const rests = core.atRest && core.role === 'leader'
    if (rests === (this.#restsWith !== undefined)) return
    const peers = this.#restsWith ?? core.configuration?.replicas ?? []
    this.#restsWith = rests ? peers : undefined
    for (const peer of peers) {
      if (peer.nodeId !== this.name) this.liveness?.count(peer, rests ? 1 : -1, this.nowMs)
    }
    this.armLiveness()
  }
}
