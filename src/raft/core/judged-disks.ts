import type { LogPosition } from '../../interfaces/log-store.ts'
import type { ReplicaId } from '../../model/ids.ts'
import { DurableModel } from './durable-model.ts'
import type { Message } from './messages.ts'
import type { RaftCore } from './raft.ts'
import { moveKey } from './seen.ts'
import type { RaftWrite } from './types.ts'
import { violated } from './violation.ts'

/** Judges what replicas promise: it is on their disks by then, survives each crash, and is never promised twice. */
export class JudgedDisks {
  readonly #disks: Map<ReplicaId, DurableModel> = new Map()
  /** Of replicas that crashed: where their logs end at the least. */
  readonly #leastLastIndex: Map<ReplicaId, number> = new Map()
  /** Votes that left, by `voter/term`. */
  readonly #votes: Map<string, ReplicaId> = new Map()
  /** The epochs that replicas told their leaders last, under which they rest. */
  readonly #epochs: Map<ReplicaId, number> = new Map()

  /** What a disk holds, where anybody has told. */
  get(replicaId: ReplicaId): DurableModel | undefined {
    return this.#disks.get(replicaId)
  }

  /** The host took this write from the core. Its entries are on the disk only after `durable`. */
  issued(replicaId: ReplicaId, write: RaftWrite): void {
    this.#disk(replicaId).inFlight.push(write)
  }

  /** Everything up to this write survives a crash from now on. */
  durable(replicaId: ReplicaId, writeId: number): void {
    this.#disk(replicaId).persist(writeId)
  }

  /** A message left its sender, which may be quarantined. */
  sent(message: Message, quarantined: boolean): void {
    if (quarantined && isPromise(message)) {
      violated(
        'the quarantined promise nothing',
        `${message.from} is quarantined, and sends a ${message.kind} to ${message.to}`,
      )
    }
    if (message.kind === 'heartbeatReply' && message.epoch !== undefined) {
      this.#epochs.set(message.from, message.epoch)
    }
    const disk = this.#disks.get(message.from)
    const grants = (message.kind === 'voteReply' && message.granted) || message.kind === 'vote'
    if (grants) {
      const candidate = message.kind === 'vote' ? message.from : message.to
      const key = `${message.from}/${message.term}`
      const earlier = this.#votes.get(key) ?? candidate
      if (earlier !== candidate) {
        violated(
          'one vote a term',
          `${message.from} voted for ${earlier} and ${candidate} in term ${message.term}`,
        )
      }
      this.#votes.set(key, candidate)
      if (disk !== undefined) {
        const { term, votedFor } = disk.hardState
        if (term < message.term || (term === message.term && votedFor !== candidate)) {
          violated('promises are durable', `${message.from} votes in ${message.term} before its disk knows`)
        }
      }
    }
    if (message.kind === 'appendReply' && message.accepted && disk !== undefined) {
      // What the leader of a later term cut off meanwhile can be in no majority of the earlier one.
      if (message.index > disk.lastIndex && disk.hardState.term <= message.term) {
        violated(
          'promises are durable',
          `${message.from} acknowledges ${message.index}, but its disk ends at ${disk.lastIndex}`,
        )
      }
    }
  }

  /** The node of a replica, which may be quarantined, pledged itself for all that rest under an epoch. */
  pledged(replicaId: ReplicaId, epoch: number, quarantined: boolean): void {
    if (!quarantined || this.#epochs.get(replicaId) !== epoch) return
    violated(
      'the quarantined promise nothing',
      `${replicaId} is quarantined, and its node pledges itself under ${epoch}, under which it rests`,
    )
  }

  /** The state is that of a snapshot now. */
  snapshotInstalled(replicaId: ReplicaId, position: LogPosition): void {
    const disk = this.#disks.get(replicaId)
    if (
      disk !== undefined &&
      position.index > disk.compacted.index &&
      !disk.has(position.index, position.term)
    ) {
      disk.reset(position)
    }
  }

  crashed(replicaId: ReplicaId): void {
    const disk = this.#disks.get(replicaId)
    if (disk === undefined) return
    this.#leastLastIndex.set(replicaId, disk.leastLastIndex)
    disk.inFlight.length = 0
  }

  forget(replicaId: ReplicaId): void {
    this.#disks.delete(replicaId)
    this.#leastLastIndex.delete(replicaId)
    this.#epochs.delete(replicaId)
    for (const key of this.#votes.keys()) if (key.startsWith(`${replicaId}/`)) this.#votes.delete(key)
  }

  rename(from: ReplicaId, to: ReplicaId): void {
    moveKey(this.#disks, from, to)
    moveKey(this.#leastLastIndex, from, to)
    moveKey(this.#epochs, from, to)
    for (const [key, candidate] of this.#votes) {
      const [voter, term] = key.split('/')
      if (Number(voter) === from) this.#votes.set(`${to}/${term}`, candidate)
    }
  }

  /** A replica starts with what its disk has. */
  restarted(core: RaftCore): void {
    const disk = this.#disk(core.replicaId)
    const { term, votedFor } = disk.hardState
    if (core.term < term || (core.term === term && core.votedFor !== votedFor && votedFor !== 0)) {
      violated('one vote a term', `${core.replicaId} forgot its vote for ${votedFor} in term ${term}`)
    }
    const leastLastIndex = this.#leastLastIndex.get(core.replicaId) ?? disk.lastIndex
    this.#leastLastIndex.delete(core.replicaId)
    if (core.lastIndex < leastLastIndex) {
      violated('promises are durable', `${core.replicaId} lost durable entries after ${core.lastIndex}`)
    }
    disk.reset(core.log.compacted)
    for (let index = disk.compacted.index + 1; index <= core.lastIndex; index++) {
      disk.terms.push(core.log.termAt(index) as number)
    }
    disk.hardState = { term: core.term, votedFor: core.votedFor, commit: core.commitIndex }
  }

  #disk(replicaId: ReplicaId): DurableModel {
    let disk = this.#disks.get(replicaId)
    if (disk === undefined) {
      disk = new DurableModel()
      this.#disks.set(replicaId, disk)
    }
    return disk
  }
}

/** Somebody counts on what it says. */
function isPromise(message: Message): boolean {
  switch (message.kind) {
    case 'vote':
    case 'heartbeatReply':
      return true
    case 'voteReply':
      return message.granted
    case 'appendReply':
      return message.accepted
    default:
      return false
  }
}
