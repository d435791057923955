import { utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { invariant } from '../../../src/core/invariant.ts'
import type { Random } from '../../../src/core/random.ts'
import { entryKinds, type HardState, type LogEntry } from '../../../src/interfaces/log-store.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { bootstrapState } from '../../../src/raft/core/configuration.ts'
import type { RaftInvariantName } from '../../../src/raft/core/invariants.ts'
import type { MembershipChange } from '../../../src/raft/core/membership-types.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { DeferredMessage, RaftOptions, RaftWrite } from '../../../src/raft/core/types.ts'
import { type CoreClass, descriptor } from '../support/cluster.ts'
import type { Bounds } from './bounds.ts'

/** What survives a crash. The state machine does not: it is applied again from the log. */
export interface Disk {
  readonly hardState: HardState | undefined
  /** From index 1 on. */
  readonly log: readonly LogEntry[]
}

/** A replica with its disk and what a host keeps for it. Nothing in it ever changes: a step makes another one. */
export interface Member {
  /** 0 for a node that has no replica yet. */
  readonly replicaId: ReplicaId
  /** Undefined while it is down. */
  readonly core: RaftCore | undefined
  readonly disk: Disk
  /** Writes that the disk has not finished, oldest first. */
  readonly writes: readonly RaftWrite[]
  readonly withheld: readonly DeferredMessage[]
  /** The core has had input since its last turn. */
  readonly turnDue: boolean
}

/** What can happen to one replica. */
export type Input =
  | { readonly kind: 'receive'; readonly message: Message }
  /** The election timer runs out. */
  | { readonly kind: 'timeout' }
  /** An election timeout goes by, and nothing is done about it yet. */
  | { readonly kind: 'age' }
  /** The heartbeat timer of a leader runs out. */
  | { readonly kind: 'heartbeat' }
  | { readonly kind: 'propose'; readonly text: string }
  | {
      readonly kind: 'change'
      readonly changes: readonly MembershipChange[]
      readonly autoLeave?: boolean
    }
  | { readonly kind: 'read' }
  | { readonly kind: 'transfer'; readonly to: ReplicaId }
  /** The disk finishes its oldest write, and the core is told. */
  | { readonly kind: 'persist' }
  /** Whatever the core has to do is done. */
  | { readonly kind: 'turn' }
  /** `survivors`: how many of the writes under way are on the disk nevertheless. */
  | { readonly kind: 'crash'; readonly survivors: number }
  | { readonly kind: 'restart' }

/** What an input led to. */
export interface Outcome {
  readonly member: Member
  /** What left. */
  readonly sent: readonly Message[]
  /** What was handed out to be applied. */
  readonly applied: readonly LogEntry[]
  /** Where the read may be served; `failed` when it will not be. */
  readonly read: number | 'failed' | undefined
  readonly refused: boolean
}

const heartbeatIntervalMs = 1

/** An hour in which nothing but the explorer lets time pass. */
const raftOptions: Partial<RaftOptions> = {
  electionTimeoutMs: 1_000_000,
  heartbeatIntervalMs,
  commitNoticeMs: 0,
  // Groups that rest need hosts that watch over each other.
  quiescence: false,
}

/**
 * Of two equal rivals the one with the higher id gives way: the one place where ids are compared. Here neither does, or
 * worlds would not be the same in the mirror. What giving way leads to is seen all the same: a refused pre-vote leads there.
 */
function withoutRanks(Core: CoreClass): CoreClass {
  return class extends Core {
    override isOutranked(): boolean {
      return false
    }
  }
}

/** Election timeouts are all the same: which one runs out first is not theirs to say. */
const noRandom: Random = {
  float: () => 0.5,
  integer: () => 0,
  uint32: () => 0,
  bytes: (length) => new Uint8Array(length),
}

/** Makes and drives the replicas of one explored world. */
export class Members {
  readonly #bounds: Bounds
  readonly #Core: CoreClass

  constructor(bounds: Bounds, Core: CoreClass) {
    this.#bounds = bounds
    this.#Core = withoutRanks(Core)
  }

  /** The first members, in the order of their ids, and then nodes that have no replica. */
  initial(): Member[] {
    const { members, learners, spares } = this.#bounds
    const ids = Array.from({ length: members }, (_, i) => i + 1)
    const state = bootstrapState(
      ids.map((id) => descriptor(id, id > members - learners ? 'learner' : 'voter')),
    )
    const disk: Disk = { hardState: state.hardState, log: state.entries }
    return [
      ...ids.map((id) => this.#start(id, disk)),
      ...Array.from({ length: spares }, (): Member => down(0, { hardState: undefined, log: [] })),
    ]
  }

  /** The members after the first one was elected and everything has come to rest. */
  elected(): Member[] {
    const members = this.initial()
    const messages: Message[] = []
    const take = (node: number, input: Input): void => {
      const { member, sent } = this.step(members[node] as Member, input, false)
      members[node] = member
      messages.push(...sent)
      if (member.writes.length > 0) take(node, { kind: 'persist' })
      if (member.turnDue) take(node, { kind: 'turn' })
    }
    take(0, { kind: 'timeout' })
    for (let message = messages.shift(); message !== undefined; message = messages.shift()) {
      take(message.to - 1, { kind: 'receive', message })
    }
    return members
  }

  #start(replicaId: ReplicaId, disk: Disk): Member {
    const core = new this.#Core({
      replicaId,
      restored: {
        ...(disk.hardState === undefined ? {} : { hardState: disk.hardState }),
        compacted: { index: 0, term: 0 },
        appliedIndex: 0,
        entries: disk.log,
      },
      options: { ...raftOptions, preVote: this.#bounds.preVote, checkQuorum: this.#bounds.checkQuorum },
      random: noRandom,
      nowMs: 0,
    })
    return { ...down(replicaId, disk), core, turnDue: true }
  }

  /**
   * What an input does to a member.
   *
   * @param mirrored the core goes through its peers from the highest id down, else from the lowest up
   * @throws KeelsonError `INVARIANT_VIOLATED` when what one replica can tell alone is broken, and whatever the core throws
   */
  step(before: Member, input: Input, mirrored: boolean): Outcome {
    const turn = new Turn(this.#received(before, input))
    const { core } = turn
    if (core !== undefined) {
      // Whatever order its former steps have left.
      const peers = [...core.progress].sort(([one], [other]) => one - other)
      core.progress = new Map(mirrored ? peers.reverse() : peers)
    }
    if (input.kind === 'crash') return turn.crash(input.survivors)
    if (input.kind === 'persist') turn.persist()
    else if (core !== undefined) turn.refused = !act(core, input)
    if (!this.#bounds.turns || input.kind === 'turn') {
      do turn.drain()
      while (this.#bounds.quickDisks && turn.persist())
    } else turn.turnDue = true
    return turn.outcome()
  }

  /** The member that takes the input: a copy, or one that begins with it. */
  #received(before: Member, input: Input): Member {
    if (input.kind === 'restart') return this.#start(before.replicaId, before.disk)
    if (before.replicaId === 0 && input.kind === 'receive') return this.#start(input.message.to, before.disk)
    return before.core === undefined ? before : { ...before, core: before.core.clone() }
  }
}

function down(replicaId: ReplicaId, disk: Disk): Member {
  return { replicaId, core: undefined, disk, writes: [], withheld: [], turnDue: false }
}

/** Gives an input to a core. Returns whether it was taken. */
function act(core: RaftCore, input: Input): boolean {
  const { nowMs } = core
  switch (input.kind) {
    case 'receive':
      core.step(input.message, nowMs)
      return true
    case 'timeout':
      core.advanceTo(Math.max(nowMs, core.electionDeadlineMs))
      return true
    case 'age':
      core.observeTime(nowMs + core.options.electionTimeoutMs)
      return true
    case 'heartbeat':
      core.advanceTo(Math.max(nowMs + heartbeatIntervalMs, core.heartbeatDeadlineMs))
      return true
    case 'propose':
      return core.propose([{ kind: entryKinds.command, data: utf8(input.text) }], nowMs).accepted
    case 'change':
      return core.changeMembership(input.changes, { autoLeave: input.autoLeave ?? true }, nowMs).accepted
    case 'read':
      return core.requestRead(1, nowMs).accepted
    case 'transfer':
      return core.transferLeadership(input.to, nowMs).accepted
    default:
      return true
  }
}

/** One step of one member. */
class Turn {
  readonly core: RaftCore | undefined
  readonly #replicaId: ReplicaId
  #disk: Disk
  readonly #writes: RaftWrite[]
  #withheld: DeferredMessage[]
  readonly #sent: Message[] = []
  readonly #applied: LogEntry[] = []
  #read: number | 'failed' | undefined
  turnDue: boolean
  refused = false

  constructor(member: Member) {
    this.core = member.core
    this.#replicaId = member.replicaId
    this.#disk = member.disk
    this.#writes = member.writes.slice()
    this.#withheld = member.withheld.slice()
    this.turnDue = member.turnDue
  }

  outcome(): Outcome {
    const member: Member = {
      replicaId: this.#replicaId,
      core: this.core,
      disk: this.#disk,
      writes: this.#writes,
      withheld: this.#withheld,
      turnDue: this.turnDue,
    }
    const { refused } = this
    return { member, sent: this.#sent, applied: this.#applied, read: this.#read, refused }
  }

  crash(survivors: number): Outcome {
    for (const write of this.#writes.slice(0, survivors)) this.#store(write)
    return { ...this.outcome(), member: down(this.#replicaId, this.#disk) }
  }

  /** Takes what the core has to do until there is nothing more. */
  drain(): void {
    const { core } = this
    if (core === undefined) return
    this.turnDue = false
    for (let ready = core.takeReady(); ready !== undefined; ready = core.takeReady()) {
      invariant(ready.fetches.length === 0, 'all entries are in memory')
      if (ready.write !== undefined) this.#writes.push(ready.write)
      for (const message of ready.messages) this.#send(message)
      this.#withheld.push(...ready.messagesAfter)
      this.#release(core.log.persistedWriteId)
      for (const entry of ready.committed) this.#apply(entry)
      const last = ready.committed.at(-1)
      if (last !== undefined) core.applied(last.index, core.nowMs)
      for (const { index } of ready.reads) this.#read = index
      if (ready.failedReads.length > 0) this.#read = 'failed'
    }
  }

  /** The oldest write is durable. Returns whether there was one. */
  persist(): boolean {
    const write = this.#writes.shift()
    if (write === undefined || this.core === undefined) return false
    this.#store(write)
    this.#release(write.writeId)
    this.core.persisted(write.writeId, this.core.nowMs)
    return true
  }

  #store({ entries = [], hardState, reset }: RaftWrite): void {
    invariant(reset === undefined, 'nothing is compacted, so no snapshot is needed')
    const before = this.#disk
    const first = entries[0]?.index ?? Infinity
    const log = [...before.log.filter((entry) => entry.index < first), ...entries]
    this.#disk = { hardState: hardState ?? before.hardState, log }
    const [old, now] = [before.hardState, this.#disk.hardState]
    if (old === undefined || now === undefined) return
    if (now.term < old.term)
      this.#fail('terms never regress', `its disk went from ${old.term} to ${now.term}`)
    if (now.term === old.term && old.votedFor !== 0 && now.votedFor !== old.votedFor) {
      this.#fail(
        'one vote a term',
        `its disk changed the vote of ${now.term} from ${old.votedFor} to ${now.votedFor}`,
      )
    }
  }

  #release(writeId: number): void {
    for (const deferred of this.#withheld) if (deferred.writeId <= writeId) this.#send(deferred.message)
    this.#withheld = this.#withheld.filter((deferred) => deferred.writeId > writeId)
  }

  /** A promise that leaves is on the disk. */
  #send(message: Message): void {
    this.#sent.push(message)
    const { hardState, log } = this.#disk
    const term = hardState?.term ?? 0
    if (message.kind === 'vote' || (message.kind === 'voteReply' && message.granted)) {
      const candidate = message.kind === 'vote' ? message.from : message.to
      if (term < message.term || (term === message.term && hardState?.votedFor !== candidate)) {
        this.#fail(
          'promises are durable',
          `it votes for ${candidate} in ${message.term} before its disk knows`,
        )
      }
    }
    if (message.kind === 'appendReply' && message.accepted && term <= message.term) {
      if (message.index > log.length) {
        this.#fail(
          'promises are durable',
          `it acknowledges ${message.index}, but its disk ends at ${log.length}`,
        )
      }
    }
  }

  #apply(entry: LogEntry): void {
    this.#applied.push(entry)
    if (this.#disk.log[entry.index - 1]?.term !== entry.term) {
      this.#fail('applied is committed and durable', `it applies ${entry.index}, which is not on its disk`)
    }
  }

  #fail(name: RaftInvariantName, problem: string): never {
    throw broken(name, `replica ${this.#replicaId}: ${problem}`)
  }
}

export function broken(name: RaftInvariantName, problem: string): KeelsonError {
  return new KeelsonError('INVARIANT_VIOLATED', `${name}: ${problem}`, { details: { invariant: name } })
}
