import type { Random } from '../../core/random.ts'
import type { NodeId } from '../../model/ids.ts'
import { voterRank } from './digest.ts'
import { type Claim, isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { BallotMessage } from './messages.ts'
import type { SendTo } from './send.ts'
import type { Statement } from './statement.ts'

/** Members that are asked for their vote: a sample tells a majority from a minority. */
const voters = 15

/** Probe intervals that a vote takes, and that pass before the next one once one was decided. */
const voteIntervals = 2
const restIntervals = 10

/** For whom a member voted: for us, for the other one, or for a third that neither of us is. */
export type Ballot = 'ours' | 'theirs' | 'neither'

/** A vote under way. */
interface Vote {
  readonly rival: Statement
  readonly sequence: number
  /** Where those who were asked are. */
  readonly asked: ReadonlyMap<NodeId, string>
  readonly ballots: Map<NodeId, Ballot>
  readonly againAtMs: number
  readonly endsAtMs: number
  askedAgain: boolean
  /** The other one spoke while the vote went on: it lives. */
  heard: boolean
  /** What the members said whom the other one could ask, where we know nobody who could be asked. */
  verdict: Ballot | undefined
}

/**
 * Decides who keeps a name that two living processes use (as serf does): each asks some members whom they knew by it first, and
 * the one with fewer votes falls silent. A tie goes to the lower incarnation, then to the lower address.
 *
 * Both ask the same members, whom the name itself selects, so that both count the same votes and never fall silent both. A vote to
 * which too few answer decides nothing, and one of whom nothing is heard any more takes nobody's name. A process that knows
 * nobody else, such as one whose only seed is its namesake, waits twice as long for what the other one's vote says.
 */
export class NameVote {
  readonly #membership: Membership
  readonly #random: Random
  readonly #send: SendTo
  #vote: Vote | undefined
  #restsUntilMs = Number.NEGATIVE_INFINITY
  /** How the other process calls its vote. */
  #contest: { readonly rival: Statement; readonly sequence: number } | undefined

  constructor(membership: Membership, random: Random, send: SendTo) {
    this.#membership = membership
    this.#random = random
    this.#send = send
  }

  get deadlineMs(): number {
    const vote = this.#vote
    if (vote === undefined) return Number.POSITIVE_INFINITY
    return vote.askedAgain ? vote.endsAtMs : vote.againAtMs
  }

  /** Calls for votes against another process, unless a vote is under way or was not long ago. */
  begin(rival: Statement, nowMs: number): void {
    if (this.#vote !== undefined) {
      if (sameProcess(this.#vote.rival, rival)) this.#vote.heard = true
      return
    }
    if (nowMs < this.#restsUntilMs) return
    const sequence = this.#random.uint32()
    const asked = this.chooseVoters()
    const patience = asked.size === 0 ? 2 : 1
    const lengthMs = this.#membership.tuning.probeIntervalMs * voteIntervals * patience
    this.#vote = {
      rival,
      sequence,
      asked,
      ballots: new Map(),
      againAtMs: nowMs + lengthMs / 2,
      endsAtMs: nowMs + lengthMs,
      askedAgain: false,
      heard: false,
      verdict: undefined,
    }
    this.#membership.emit('conflict', rival.entry('alive').member, [], 'a vote decides who keeps the name')
    this.#ask(this.#vote)
    // The other one learns of it too, however news travel.
    this.#callRival(this.#vote)
  }

  /** True while a vote goes on, or was decided so short a time ago that there is none. */
  isHeld(nowMs: number): boolean {
    return this.#vote !== undefined || nowMs < this.#restsUntilMs
  }

  /** Notes by which name the other process wants to hear how our vote ends. */
  noteContest(rival: Statement, sequence: number): void {
    this.#contest = { rival, sequence }
  }

  /** The other process says how its vote ended: that counts where we know nobody who could be asked. */
  onVerdict({ sequence, incarnation, address }: BallotMessage): void {
    const vote = this.#vote
    if (vote === undefined || sequence !== vote.sequence || vote.asked.size > 0) return
    vote.verdict = this.#membership.voice.isOwn({ incarnation, address }) ? 'ours' : 'theirs'
  }

  /** Answers whoever asks whom we knew first by its name. */
  onContest(from: string, nodeId: string, sequence: number, nowMs: number): void {
    const claim = this.#membership.settledClaim(nodeId, nowMs)
    if (claim !== undefined) this.#send(from, [{ kind: 'ballot', sequence, ...claim }])
  }

  onBallot({ sequence, incarnation, address }: BallotMessage, voter: NodeId): void {
    const vote = this.#vote
    if (vote === undefined || sequence !== vote.sequence || !vote.asked.has(voter)) return
    const claim = { incarnation, address }
    if (sameProcess(claim, this.#membership.statement)) vote.ballots.set(voter, 'ours')
    else vote.ballots.set(voter, sameProcess(claim, vote.rival) ? 'theirs' : 'neither')
  }

  advanceTo(nowMs: number): void {
    const vote = this.#vote
    if (vote === undefined) return
    if (nowMs >= vote.againAtMs && !vote.askedAgain) {
      vote.askedAgain = true
      this.#ask(vote)
      // Whoever lost a vote is silent from then on.
      if (vote.asked.size === 0) {
        vote.heard = false
        this.#callRival(vote)
      }
    }
    if (nowMs < vote.endsAtMs) return
    this.#vote = undefined
    // Whoever said goodbye meanwhile, or is held out, has no name to keep.
    if (this.#membership.voice.state === 'member') this.#decide(vote, nowMs)
  }

  /** @internal The members of the smallest hashes with the name: the same for both, as far as their views agree. */
  chooseVoters(): Map<NodeId, string> {
    const { table, nodeId } = this.#membership
    const ranked: { readonly rank: number; readonly nodeId: NodeId; readonly address: string }[] = []
    for (const { member } of table.entries()) {
      if (!isLive(member) || member.nodeId === nodeId) continue
      const rank = voterRank(nodeId, member.nodeId)
      // Of many thousands only a few need sorting.
      if (rank > (ranked[voters - 1]?.rank ?? Number.POSITIVE_INFINITY)) continue
      ranked.push({ rank, nodeId: member.nodeId, address: member.address })
      ranked.sort((a, b) => a.rank - b.rank || (a.nodeId < b.nodeId ? -1 : 1))
      ranked.length = Math.min(ranked.length, voters)
    }
    return new Map(ranked.map((voter) => [voter.nodeId, voter.address]))
  }

  /** @internal False while too few have answered to tell what most would say. */
  isDecisive(ballots: ReadonlyMap<NodeId, Ballot>, asked: number): boolean {
    return asked === 0 || ballots.size > asked / 2
  }

  /** @internal */
  wins(rival: Statement, ballots: ReadonlyMap<NodeId, Ballot>): boolean {
    const [ours, theirs] = [countOf(ballots, 'ours'), countOf(ballots, 'theirs')]
    if (ours !== theirs) return ours > theirs
    const { incarnation, address } = this.#membership.statement
    return incarnation === rival.incarnation ? address < rival.address : incarnation < rival.incarnation
  }

  clone(membership: Membership, random: Random, send: SendTo): NameVote {
    const copy = new NameVote(membership, random, send)
    copy.#vote = this.#vote && { ...this.#vote, ballots: new Map(this.#vote.ballots) }
    copy.#restsUntilMs = this.#restsUntilMs
    copy.#contest = this.#contest
    return copy
  }

  /** Asks whoever has not answered yet. */
  #ask({ asked, ballots, sequence }: Vote): void {
    for (const [nodeId, address] of asked) {
      if (!ballots.has(nodeId)) this.#send(address, [{ kind: 'contest', sequence }], nodeId)
    }
  }

  #callRival({ rival, sequence }: Vote): void {
    this.#send(rival.address, [
      { kind: 'alive', statement: this.#membership.statement },
      { kind: 'contest', sequence },
    ])
  }

  /** The other one may know nobody who could be asked. */
  #tellRival({ rival, asked }: Vote, keeper: Statement): void {
    const contest = this.#contest
    if (asked.size === 0 || contest === undefined || !sameProcess(contest.rival, rival)) return
    const { incarnation, address } = keeper
    this.#send(rival.address, [{ kind: 'ballot', sequence: contest.sequence, incarnation, address }])
  }

  #decide(vote: Vote, nowMs: number): void {
    const { rival, ballots, asked, heard, verdict } = vote
    const { tuning, voice, statement } = this.#membership
    const votes =
      verdict !== undefined
        ? 'the votes of those whom it knows'
        : `${countOf(ballots, 'ours')} votes to ${countOf(ballots, 'theirs')}`
    if (!this.isDecisive(ballots, asked.size)) {
      this.#say(rival, `only ${ballots.size} of ${asked.size} members voted: another vote will follow`)
      return
    }
    this.#restsUntilMs = nowMs + tuning.probeIntervalMs * restIntervals
    if (verdict === undefined ? this.wins(rival, ballots) : verdict === 'ours') {
      this.#tellRival(vote, statement)
      voice.restate({})
      this.#say(rival, `the name stays with us, by ${votes}`)
    } else if (!heard && verdict === undefined) {
      this.#restsUntilMs = nowMs
      this.#say(rival, `nothing is heard of the other one any more: the name stays with us, by ${votes}`)
    } else {
      this.#tellRival(vote, rival)
      voice.fallSilent()
      this.#say(
        rival,
        `the name stays with the other one, by ${votes}; this process is silent from now on: give it a name of its own`,
      )
    }
  }

  #say(rival: Statement, reason: string): void {
    this.#membership.emit('conflict', rival.entry('alive').member, [], reason)
  }
}

function countOf(ballots: ReadonlyMap<NodeId, Ballot>, wanted: Ballot): number {
  let count = 0
  for (const ballot of ballots.values()) if (ballot === wanted) count++
  return count
}

function sameProcess(a: Claim, b: Claim): boolean {
  return a.incarnation === b.incarnation && a.address === b.address
}
