import type { Random } from '../../core/random.ts'
import { isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { BallotMessage } from './messages.ts'
import type { SendTo } from './prober.ts'
import type { Statement } from './statement.ts'

/** Members that are asked for their vote: a sample tells a majority from a minority. */
const voters = 15

/** Probe intervals that a vote takes, and that pass before the next one. */
const voteIntervals = 2
const restIntervals = 10

/**
 * Decides who keeps a name that two living processes use (as serf does): each asks some members whom they knew by it first, and
 * the one with fewer votes falls silent. A tie goes to the lower incarnation, then to the lower address.
 */
export class NameVote {
  readonly #membership: Membership
  readonly #random: Random
  readonly #send: SendTo
  #rival: Statement | undefined
  #sequence = 0
  #endsAtMs = Number.POSITIVE_INFINITY
  #restsUntilMs = Number.NEGATIVE_INFINITY
  /** By voter: true for us. */
  #ballots = new Map<string, boolean>()

  constructor(membership: Membership, random: Random, send: SendTo) {
    this.#membership = membership
    this.#random = random
    this.#send = send
  }

  get deadlineMs(): number {
    return this.#endsAtMs
  }

  /** Calls for votes against another process, unless a vote is under way or was not long ago. */
  begin(rival: Statement, nowMs: number): void {
    if (this.#rival !== undefined || nowMs < this.#restsUntilMs) return
    const { table, tuning, voice } = this.#membership
    this.#rival = rival
    this.#sequence = this.#random.uint32()
    this.#ballots = new Map()
    this.#endsAtMs = nowMs + tuning.probeIntervalMs * voteIntervals
    this.#restsUntilMs = nowMs + tuning.probeIntervalMs * restIntervals
    this.#membership.emit('conflict', rival.entry('alive').member, [], 'a vote decides who keeps the name')
    for (const { member } of table.pick(voters, this.#random, ({ member: each }) => isLive(each)))
      if (member.nodeId !== voice.self.nodeId)
        this.#send(member.address, [{ kind: 'contest', sequence: this.#sequence }], member.nodeId)
  }

  /** Answers whoever asks whom we knew first by its name. */
  onContest(from: string, nodeId: string, sequence: number, nowMs: number): void {
    const claim = this.#membership.settledClaim(nodeId, nowMs)
    if (claim !== undefined) this.#send(from, [{ kind: 'ballot', sequence, ...claim }])
  }

  onBallot({ sequence, incarnation, address }: BallotMessage, voter: string): void {
    const rival = this.#rival
    if (rival === undefined || sequence !== this.#sequence || this.#ballots.size >= voters) return
    const { statement } = this.#membership
    const ours = incarnation === statement.incarnation && address === statement.address
    const theirs = incarnation === rival.incarnation && address === rival.address
    if (ours || theirs) this.#ballots.set(voter, ours)
  }

  advanceTo(nowMs: number): void {
    const rival = this.#rival
    if (rival === undefined || nowMs < this.#endsAtMs) return
    this.#rival = undefined
    this.#endsAtMs = Number.POSITIVE_INFINITY
    // Whoever said goodbye meanwhile, or is held out, has no name to keep.
    if (this.#membership.voice.state !== 'member') return
    const ours = [...this.#ballots.values()].filter((each) => each).length
    const theirs = this.#ballots.size - ours
    const votes = `${ours} votes to ${theirs}`
    const { voice } = this.#membership
    if (this.wins(rival, ours, theirs)) {
      voice.restate({})
      this.#membership.emit(
        'conflict',
        rival.entry('alive').member,
        [],
        `the name stays with us, by ${votes}`,
      )
      return
    }
    voice.fallSilent()
    const reason = `the name stays with the other one, by ${votes}; this process is silent from now on: give it a name of its own`
    this.#membership.emit('conflict', rival.entry('alive').member, [], reason)
  }

  /** @internal */
  wins(rival: Statement, ours: number, theirs: number): boolean {
    if (ours !== theirs) return ours > theirs
    const { incarnation, address } = this.#membership.statement
    return incarnation === rival.incarnation ? address < rival.address : incarnation < rival.incarnation
  }

  clone(membership: Membership, random: Random, send: SendTo): NameVote {
    const copy = new NameVote(membership, random, send)
    copy.#rival = this.#rival
    copy.#sequence = this.#sequence
    copy.#endsAtMs = this.#endsAtMs
    copy.#restsUntilMs = this.#restsUntilMs
    copy.#ballots = new Map(this.#ballots)
    return copy
  }
}
