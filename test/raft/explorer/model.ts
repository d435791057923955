import type { ReplicaId } from '../../../src/model/ids.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { ExplorableModel } from '../../../src/simulation/explore.ts'
import type { CoreClass } from '../support/cluster.ts'
import type { Bounds } from './bounds.ts'
import { Catalog } from './catalog.ts'
import { describeEntries, describeMember, describeMessage } from './describe.ts'
import { firstTerm, isSpent, type OwnInput, ownInputs, type Use, uses } from './inputs.ts'
import { type Committed, Judge, type Witness } from './judge.ts'
import { LogTable } from './log-table.ts'
import { broken, type Input, type Member, Members } from './member.ts'
import { renamings } from './shape.ts'

/**
 * A whole group with its network: numbers of things in catalogs. Beside the members and the messages under way it has what
 * only the judge knows: what was ever committed, who ever led, and how much of the bounds is used up.
 */
export interface World {
  /** One for each node, in the order of the first replica ids. */
  readonly members: readonly number[]
  /** Under way, ascending. No two are the same: a message that equals one under way is one with it. */
  readonly messages: readonly number[]
  readonly committed: number
  /** Who led in each term: three bits a term, from the first elected one on. */
  readonly leaders: number
  /** How often each thing was done that the bounds count: three bits each. */
  readonly used: number
  /** One more than what was committed when the read was asked for that is not answered; 0 for none. */
  readonly read: number
}

/** Something that can happen in a {@link World}. */
export type Action =
  | (Effect & { readonly kind: 'own'; readonly own: number })
  /** `again`: it stays under way. */
  | (Effect & { readonly kind: 'receive' | 'again'; readonly message: number })
  | { readonly kind: 'lose'; readonly message: number }

interface Effect {
  readonly node: number
  readonly mirrored: boolean
  /** What is under way afterwards. */
  readonly messages: readonly number[]
}

/** A member that was seen, and what is known of its future. */
interface Known extends Witness {
  readonly member: Member
  readonly own: readonly OwnInput[]
  readonly ownResults: (Result | undefined)[]
  readonly results: Map<number, Result>
  readonly spent: Map<number, boolean>
}

/** What an input does to a member, worked out once. */
interface Result {
  readonly error: unknown
  readonly member: number
  /** Messages that left, each once. */
  readonly sent: readonly number[]
  readonly read: number | 'failed' | undefined
  /** Nothing came of it. */
  readonly idle: boolean
}

/** A few replicas within {@link Bounds}, for `explore`: the cores themselves, everything around them as small as it can be. */
export class RaftModel implements ExplorableModel<World, Action> {
  readonly bounds: Bounds
  readonly logs: LogTable = new LogTable()
  readonly #maker: Members
  readonly #judge: Judge
  readonly #members: Catalog<Known>
  readonly #messages: Catalog<Message>
  readonly #committed: Catalog<Committed>
  /** For each renaming, the new name of each first member. */
  readonly #names: readonly (readonly ReplicaId[])[]
  readonly #fingerprint = new Uint32Array(6)
  readonly #sums = new Uint32Array(4)

  constructor(bounds: Bounds, options: { readonly Core?: CoreClass; readonly symmetry?: boolean } = {}) {
    this.bounds = bounds
    this.#maker = new Members(bounds, options.Core ?? RaftCore)
    this.#judge = new Judge(this.logs)
    const ids = Array.from({ length: bounds.members }, (_, i) => i + 1)
    const voters = ids.slice(0, bounds.members - bounds.learners)
    const learners = ids.slice(voters.length)
    const equals = bounds.elected ? [voters.slice(0, 1), voters.slice(1), learners] : [voters, learners]
    const all = renamings(options.symmetry === false ? [] : equals)
    this.#names = all.map((rename) => [0, ...ids].map(rename))
    this.#members = new Catalog(all)
    this.#messages = new Catalog(all)
    this.#committed = new Catalog(all)
  }

  /** How many different members and messages were seen. */
  get sizes(): { readonly members: number; readonly messages: number } {
    return { members: this.#members.size, messages: this.#messages.size }
  }

  member(number: number): Member {
    return this.#members.get(number).member
  }

  message(number: number): Message {
    return this.#messages.get(number)
  }

  /** What an action does at its node, for printing; undefined for a loss. */
  inputOf(world: World, action: Action): { readonly node: number; readonly input: Input } | undefined {
    if (action.kind === 'lose') return undefined
    if (action.kind === 'own') {
      const own = this.#members.get(world.members[action.node] as number).own[action.own] as OwnInput
      return { node: action.node, input: own.input }
    }
    const message = this.message(action.message)
    return { node: this.#nodeOf(message), input: { kind: 'receive', message } }
  }

  initial(): World {
    const { elected } = this.bounds
    const members = (elected ? this.#maker.elected() : this.#maker.initial()).map((member) =>
      this.#know(member),
    )
    const witnesses = members.map((number) => this.#members.get(number))
    const bootstrap: Committed = { log: 0, terms: [] }
    const committed = witnesses.reduce((known, witness) => this.#judge.commit(known, witness), bootstrap)
    return {
      members,
      messages: [],
      committed: this.#knowCommitted(committed),
      leaders: elected ? 1 : 0,
      used: 0,
      read: 0,
    }
  }

  *actions(world: World): Iterable<Action> {
    for (const [node, number] of world.members.entries()) {
      const known = this.#members.get(number)
      for (const [own, { use, ordinal }] of known.own.entries()) {
        if (use !== undefined && !this.#isLeft(world, use)) continue
        if (ordinal !== undefined && ordinal !== this.#usedOf(world, use as Use) + 1) continue
        for (const mirrored of this.#variants(known)) {
          const result = this.#ownResult(number, own, mirrored)
          if (result.idle) continue
          for (const messages of this.#underWay(world, node, result, 0)) {
            yield { kind: 'own', node, own, mirrored, messages }
          }
        }
      }
    }
    for (const message of world.messages) {
      if (this.#isLeft(world, 'losses')) yield { kind: 'lose', message }
      const node = this.#nodeOf(this.message(message))
      const number = world.members[node] as number
      if (!this.#canReceive(number, message)) continue
      for (const mirrored of this.#variants(this.#members.get(number))) {
        const result = this.#receiveResult(number, message, mirrored)
        for (const messages of this.#underWay(world, node, result, message)) {
          yield { kind: 'receive', node, message, mirrored, messages }
        }
        if (result.idle || !this.#isLeft(world, 'duplicates')) continue
        for (const messages of this.#underWay(world, node, result, 0)) {
          yield { kind: 'again', node, message, mirrored, messages }
        }
      }
    }
  }

  next(world: World, action: Action): World {
    if (action.kind === 'lose') {
      const messages = world.messages.filter((message) => message !== action.message)
      return { ...world, messages, used: this.#use(world.used, 'losses') }
    }
    const { node, mirrored, messages } = action
    const number = world.members[node] as number
    if (action.kind === 'own') {
      const { use, input } = this.#members.get(number).own[action.own] as OwnInput
      const result = this.#ownResult(number, action.own, mirrored)
      const used = use === undefined ? world.used : this.#use(world.used, use)
      const read = input.kind === 'read' ? this.#committed.get(world.committed).terms.length + 1 : world.read
      return this.#take({ ...world, used, read, messages }, node, result)
    }
    const result = this.#receiveResult(number, action.message, mirrored)
    const used = action.kind === 'again' ? this.#use(world.used, 'duplicates') : world.used
    return this.#take({ ...world, used, messages }, node, result)
  }

  /** The world in which a member has become another one, judged. */
  #take(world: World, node: number, result: Result): World {
    if (result.error !== undefined) throw result.error
    const members = world.members.with(node, result.member)
    const witnesses = members.map((number) => this.#members.get(number))
    const before = this.#members.get(world.members[node] as number)
    const after = witnesses[node] as Known
    for (const other of witnesses) this.#judge.checkMatching(after.log, other.log)
    const old = this.#committed.get(world.committed)
    const now = this.#judge.commit(old, after)
    const committed = now === old ? world.committed : this.#knowCommitted(now)
    if (isDirectCommit(before, after)) this.#judge.checkDurable(after, witnesses)
    const leaders = this.#noteLeader(world, before, after)
    if (leaders !== world.leaders) this.#judge.checkElected(now, after)
    if (now !== old) for (const witness of witnesses) this.#judge.checkComplete(now, committed, witness)
    else this.#judge.checkComplete(now, committed, after)
    const read = this.#answerRead(world, result)
    return { members, messages: world.messages, committed, leaders, used: world.used, read }
  }

  #noteLeader({ leaders }: World, before: Known, after: Known): number {
    const { core, replicaId } = after
    if (core?.role !== 'leader') return leaders
    const shift = (core.term - firstTerm - 1) * 3
    const known = (leaders >>> shift) & 7
    const led = before.core?.role === 'leader' && before.core.term === core.term
    if (known === 0 && !led) return leaders | ((this.#nodeOfReplica(replicaId) + 1) << shift)
    if (led && known === this.#nodeOfReplica(replicaId) + 1) return leaders
    throw broken('election safety', `${known} and ${replicaId} lead in term ${core.term}`)
  }

  #answerRead(world: World, { read }: Result): number {
    if (read === undefined) return world.read
    if (read !== 'failed' && read < world.read - 1) {
      throw broken(
        'linearizable reads',
        `a read is served at ${read}, but ${world.read - 1} was committed before`,
      )
    }
    return 0
  }

  /**
   * The least of the hashes of all mirror images. The hash of one is the sum of its parts' hashes: each part says in itself
   * which replica it is of or for, so that their order does not matter.
   */
  fingerprint(world: World): Uint32Array {
    const least = this.#fingerprint
    const sums = this.#sums
    for (let renaming = 0; renaming < this.#names.length; renaming++) {
      sums.fill(0)
      for (const member of world.members) this.#members.addHash(sums, member, renaming)
      for (const message of world.messages) this.#messages.addHash(sums, message, renaming)
      this.#committed.addHash(sums, world.committed, renaming)
      sums[0] = (sums[0] as number) + this.#leadersHash(world.leaders, renaming)
      if (renaming === 0 || isLess(sums, least)) for (let i = 0; i < 4; i++) least[i] = sums[i] as number
    }
    least[4] = world.used
    least[5] = world.read
    return least
  }

  #leadersHash(leaders: number, renaming: number): number {
    if (leaders === 0) return 0
    const names = this.#names[renaming] as readonly ReplicaId[]
    let hash = 0
    for (let rest = leaders; rest !== 0; rest >>>= 3) {
      const node = rest & 7
      // The node that had no replica has no mirror image.
      hash = hash * 8 + (names[node] ?? node)
    }
    return Math.imul(hash, 0x9e3779b1)
  }

  pack({ members, messages, committed, leaders, used, read }: World): number[] {
    return [committed, leaders, used, read, ...members, ...messages]
  }

  unpack(words: ArrayLike<number>): World {
    const [committed, leaders, used, read, ...rest] = Array.from(words) as [number, number, number, number]
    const nodes = this.bounds.members + this.bounds.spares
    const [members, messages] = [rest.slice(0, nodes), rest.slice(nodes)]
    return { members, messages, committed, leaders, used, read }
  }

  // What is used up

  #usedOf(world: World, use: Use): number {
    return (world.used >>> (uses.indexOf(use) * 3)) & 7
  }

  #isLeft(world: World, use: Use): boolean {
    return this.#usedOf(world, use) < this.bounds[use]
  }

  #use(used: number, use: Use): number {
    return used + (1 << (uses.indexOf(use) * 3))
  }

  // Members and what they do

  #know(member: Member): number {
    return this.#members.add(describeMember(member), () => {
      const diskLog = this.logs.of(member.disk.log)
      const { core, replicaId } = member
      return {
        member,
        replicaId,
        core,
        log: core === undefined ? diskLog : this.logs.of(core.log.entries),
        diskLog,
        own: ownInputs(member, this.bounds),
        ownResults: [],
        results: new Map(),
        spent: new Map(),
      }
    })
  }

  #knowCommitted(committed: Committed): number {
    const shape = { list: [describeEntries(this.logs.entries(committed.log)), committed.terms.join(',')] }
    return this.#committed.add(shape, () => committed)
  }

  /**
   * Where a core goes through its peers in the order of their ids and stops at one of them (the heir of a leader that is
   * removed), it does not treat them alike. So that mirror images stay mirror images, both orders are tried.
   */
  #variants({ core }: Known): readonly boolean[] {
    const chooses = core?.role === 'leader' && !core.isVoter() && core.progress.size > 1
    return chooses ? [false, true] : [false]
  }

  #ownResult(number: number, own: number, mirrored: boolean): Result {
    const { own: inputs, ownResults } = this.#members.get(number)
    const at = own * 2 + Number(mirrored)
    const known = ownResults[at]
    if (known !== undefined) return known
    const result = this.#workOut(number, (inputs[own] as OwnInput).input, mirrored)
    ownResults[at] = result
    return result
  }

  #receiveResult(number: number, message: number, mirrored: boolean): Result {
    const { results } = this.#members.get(number)
    const at = message * 2 + Number(mirrored)
    const known = results.get(at)
    if (known !== undefined) return known
    const result = this.#workOut(number, { kind: 'receive', message: this.message(message) }, mirrored)
    results.set(at, result)
    return result
  }

  #workOut(number: number, input: Input, mirrored: boolean): Result {
    const before = this.#members.get(number)
    try {
      const outcome = this.#maker.step(before.member, input, mirrored)
      const member = this.#know(outcome.member)
      const after = this.#members.get(member)
      this.#judge.checkStep(before, after)
      this.#judge.checkLog(after.log)
      const sent = new Set(
        outcome.sent.map((message) => this.#messages.add(describeMessage(message), () => message)),
      )
      const idle = outcome.refused || (member === number && sent.size === 0 && outcome.read === undefined)
      return { error: undefined, member, sent: [...sent], read: outcome.read, idle }
    } catch (error) {
      return { error, member: number, sent: [], read: undefined, idle: false }
    }
  }

  // Messages

  #nodeOf({ to }: Message): number {
    return this.#nodeOfReplica(to)
  }

  /** Later ids are all of the one node that had no replica. */
  #nodeOfReplica(replicaId: ReplicaId): number {
    return Math.min(replicaId - 1, this.bounds.members)
  }

  #canReceive(number: number, message: number): boolean {
    const { member } = this.#members.get(number)
    if (member.core !== undefined) return true
    const { kind } = this.message(message)
    return member.replicaId === 0 && (kind === 'append' || kind === 'heartbeat')
  }

  /** It will never do anything any more at the member that it goes to. */
  #isSpent(number: number, message: number): boolean {
    const { spent, member } = this.#members.get(number)
    const known = spent.get(message)
    if (known !== undefined) return known
    const result = isSpent(member, this.message(message)) && this.#receiveResult(number, message, false).idle
    spent.set(message, result)
    return result
  }

  /**
   * What is under way after a step: what the member has no use for any more is gone, and of what it sends all has room, or
   * each choice of as much as has room is tried.
   */
  #underWay(world: World, node: number, result: Result, taken: number): readonly (readonly number[])[] {
    const { members } = world
    const rest = world.messages.filter((message) => {
      if (message === taken) return false
      return this.#nodeOf(this.message(message)) !== node || !this.#isSpent(result.member, message)
    })
    const fresh = result.sent.filter((message) => {
      if (rest.includes(message)) return false
      const to = this.#nodeOf(this.message(message))
      return !this.#isSpent(members[to] as number, message)
    })
    if (fresh.length === 0) return [rest]
    const room = Math.max(0, this.bounds.messages - rest.length)
    return choices(fresh, room).map((chosen) => [...rest, ...chosen].sort((a, b) => a - b))
  }
}

/** All ways to take `count` of the items, or all of them where there are no more. */
function choices<T>(items: readonly T[], count: number): (readonly T[])[] {
  if (items.length <= count) return [items]
  if (count === 0) return [[]]
  const [first, ...rest] = items as readonly [T, ...T[]]
  return [...choices(rest, count - 1).map((chosen) => [first, ...chosen]), ...choices(rest, count)]
}

function isLess(a: Uint32Array, b: Uint32Array): boolean {
  for (let i = 0; i < 4; i++) {
    if (a[i] !== b[i]) return (a[i] as number) < (b[i] as number)
  }
  return false
}

/** A leader that is one, or was one before the step in the same term, has committed more. */
function isDirectCommit(before: Known, after: Known): boolean {
  const [old, now] = [before.core, after.core]
  if (old === undefined || now === undefined || old.term !== now.term) return false
  return (old.role === 'leader' || now.role === 'leader') && now.commitIndex > old.commitIndex
}
