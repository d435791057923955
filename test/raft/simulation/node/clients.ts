import { chance } from '../../../../src/core/random.ts'
import { entryKinds, type LogEntry } from '../../../../src/interfaces/log-store.ts'
import type { RaftCore } from '../../../../src/raft/core/raft.ts'
import type { ReadReady } from '../../../../src/raft/core/types.ts'
import { encodeEnvelope } from '../../../../src/raft/group/envelope.ts'
import { encodeSessionEntry } from '../../../../src/raft/group/session-entry.ts'
import { encodeCommand, later, type Outcome } from '../machine.ts'
import type { ClientReply, ClientRequest } from '../wire.ts'
import { NodeSigns } from './signs.ts'

interface PendingProposal {
  readonly term: number
  readonly client: string
  readonly attempt: number
}

interface PendingRead {
  readonly client: string
  readonly attempt: number
  readonly key: string
}

/** What clients ask of a node, and its answers. */
export abstract class NodeClients extends NodeSigns {
  #proposals = new Map<number, PendingProposal>()
  #readsAsked = new Map<number, PendingRead>()
  protected readsReady: ReadReady[] = []
  protected lastContext = 0

  protected override forget(): void {
    super.forget()
    this.#proposals = new Map()
    this.#readsAsked = new Map()
    this.readsReady = []
  }

  protected request(client: string, request: ClientRequest): void {
    const { core } = this
    const refuse = (): void => {
      const leader = core === undefined ? 0 : core.leader
      const hint = leader === 0 ? undefined : this.peerOf(leader)?.nodeId
      this.reply(client, { attempt: request.attempt, refused: true, leader: hint })
    }
    if (core === undefined) return refuse()
    if (request.type === 'read') {
      if (!this.#read(core, client, request.attempt, request.key)) refuse()
      return
    }
    if (core.role !== 'leader') return refuse()
    const proposal =
      request.type === 'register'
        ? {
            kind: entryKinds.session,
            data: encodeSessionEntry({
              type: 'register',
              maximumSessions: request.maximumSessions,
              resultsPerSession: 3,
              unusedBefore: 0,
            }),
          }
        : {
            kind: entryKinds.command,
            data: encodeEnvelope(
              encodeCommand(request.command),
              0,
              request.session === 0 ? undefined : { session: request.session, sequence: request.sequence },
              request.acknowledgedBelow,
            ),
          }
    if (request.type !== 'register' && this.writesLater(core)) {
      proposal.data[0] = later
      this.world.count('command of a later release')
    }
    this.hearNews(core)
    const answer = core.propose([proposal], this.nowMs)
    if (!answer.accepted) return refuse()
    this.input('proposed', answer.firstIndex, 'for', client)
    this.#proposals.set(answer.firstIndex, { term: answer.term, client, attempt: request.attempt })
    this.changed()
  }

  /** @returns whether the read is under way */
  #read(core: RaftCore, client: string, attempt: number, key: string): boolean {
    const { leaseReads, followerReads } = this.world.settings
    const mode = chance(this.random, leaseReads) ? 'lease' : 'readIndex'
    const from = chance(this.random, followerReads) ? 'any' : 'leader'
    const context = ++this.lastContext
    this.hearNews(core)
    this.judge((invariants) => invariants.readAsked(core.replicaId, context))
    this.observeWall(core)
    if (core.role === 'leader') this.takeNodePledges(core, mode === 'lease')
    this.armLiveness()
    if (mode === 'lease' && chance(this.random, 0.5)) {
      const index = core.leaseReadIndex(this.nowMs, core.wallMs)
      if (index !== undefined && index <= this.machine.applied.index) {
        this.world.count('read at once')
        this.judge((invariants) => invariants.lease(core))
        this.judge((invariants) => invariants.readServed(core.replicaId, context, index))
        this.reply(client, { attempt, value: this.machine.get(key), read: true })
        return true
      }
    }
    const answer = core.requestRead(context, this.nowMs, { mode, from })
    if (!answer.accepted) return false
    this.input('read asked', context, mode, from)
    this.#readsAsked.set(context, { client, attempt, key })
    this.changed()
    return true
  }

  reply(client: string, reply: ClientReply): void {
    this.world.network.send(this.name, client, { type: 'reply', reply })
  }

  protected answer(entry: LogEntry, outcome: Outcome): void {
    const proposal = this.#proposals.get(entry.index)
    if (proposal === undefined) return
    this.#proposals.delete(entry.index)
    const { client, attempt } = proposal
    // Another entry has the place for ever: what was proposed there never takes effect.
    if (proposal.term === entry.term) this.reply(client, { attempt, outcome })
    else this.reply(client, { attempt, refused: true, leader: undefined })
  }

  // Reads that may be served

  protected serveReads(): void {
    const left: ReadReady[] = []
    for (const read of this.readsReady) {
      if (this.mayServe(read)) this.#serveRead(read)
      else left.push(read)
    }
    this.readsReady = left
  }

  mayServe(read: ReadReady): boolean {
    return read.index <= this.machine.applied.index
  }

  #serveRead(read: ReadReady): void {
    const asked = this.#readsAsked.get(read.context)
    if (asked === undefined) return
    this.#readsAsked.delete(read.context)
    this.world.count(this.leads ? 'read served' : 'read served by a follower')
    this.input('read served', read.context, 'at', read.index)
    this.reply(asked.client, { attempt: asked.attempt, value: this.machine.get(asked.key), read: true })
  }

  protected failRead(context: number): void {
    const asked = this.#readsAsked.get(context)
    if (asked === undefined) return
    this.#readsAsked.delete(context)
    this.reply(asked.client, { attempt: asked.attempt, refused: true, leader: undefined })
  }
}
