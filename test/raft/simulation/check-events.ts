import type { HardState, LogEntry, LogPosition } from '../../../src/interfaces/log-store.ts'
import { votesInIncoming, votesInOutgoing } from '../../../src/model/replica-roles.ts'
import type { Configuration } from '../../../src/raft/core/membership-types.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftRole } from '../../../src/raft/core/types.ts'
import { type RaftEvent, traceFormat } from './events.ts'

/** What a trace was found to tell. */
export interface TraceSummary {
  readonly events: number
  /** How many of each kind of event, and of each kind of message that was received. */
  readonly counts: ReadonlyMap<string, number>
}

/** What a replica has written, of which the disk has not said yet that it is durable. */
interface Write {
  readonly writeId: number
  readonly reset: LogPosition | undefined
  readonly from: number
  readonly terms: readonly number[]
  readonly hardState: HardState | undefined
}

/** The terms of a log, from `first` on. */
interface Terms {
  first: number
  terms: number[]
}

interface Disk {
  hardState: { readonly term: number; readonly votedFor: number }
  readonly log: Terms
}

/** One life of one replica, as its events tell it. */
interface Life {
  last: RaftEvent
  role: RaftRole
  readonly log: Terms
  readonly configurations: { readonly index: number; readonly configuration: Configuration }[]
  readonly disk: Disk
  readonly writes: Write[]
  /** What it takes in at the moment: a message, or the position of a snapshot. */
  input: Message | LogPosition | undefined
  readonly votes: Set<number>
  readonly matches: Map<number, number>
}

/**
 * Holds a trace against rules that need nothing but the trace: the state of each replica is worked out again from its
 * events, above all from the messages that it received, and compared with what they say. So a trace that passes is whole:
 * every term and every commit index has its cause in it.
 *
 * @throws Error that names the line
 */
export function checkEvents(lines: Iterable<string>): TraceSummary {
  const checker = new Checker()
  let number = 0
  for (const line of lines) {
    number++
    try {
      checker.take(JSON.parse(line) as RaftEvent & { readonly format?: number })
    } catch (cause) {
      throw new Error(`line ${number}: ${(cause as Error).message}: ${line.slice(0, 300)}`, { cause })
    }
  }
  return checker.summary()
}

class Checker {
  #sequence = 0
  #timeMs = 0
  #begun = false
  readonly #lives = new Map<string, Life>()
  /** By node, incarnation, recovery and replica: what survives a crash. */
  readonly #disks = new Map<string, Disk>()
  readonly #sent = new Set<string>()
  /** By recovery and term. */
  readonly #leaders = new Map<string, string>()
  /** By recovery, index and term: the entry and the term before it. */
  readonly #entries = new Map<string, string>()
  readonly #counts = new Map<string, number>()

  summary(): TraceSummary {
    return { events: this.#sequence, counts: this.#counts }
  }

  take(event: RaftEvent & { readonly format?: number }): void {
    if (!this.#begun) {
      need(
        (event.event as string) === 'trace' && event.format === traceFormat,
        'a trace begins with its format',
      )
      this.#begun = true
      return
    }
    need(event.sequence === this.#sequence + 1, 'an event is missing')
    need(event.timeMs >= this.#timeMs, 'time goes back')
    this.#sequence = event.sequence
    this.#timeMs = event.timeMs
    this.#count(event.event)
    if (event.event === 'init') return this.#begin(event)
    const life = this.#lives.get(event.node)
    need(life !== undefined, 'a replica does something before it has begun')
    const replica = event.event === 'takeId' ? event.before : event.replica
    need(
      life.last.replica === replica && life.last.incarnation === event.incarnation,
      'it is another replica',
    )
    this.#checkTerm(life, event)
    this.#takeBody(life, event)
    need(event.role === life.role, `its role should be ${life.role}`)
    need(event.last === lastOf(life.log), `its log should end at ${lastOf(life.log)}`)
    need(event.commit <= event.last, 'it committed what it does not have')
    life.last = event
  }

  #count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1)
  }

  #begin(event: RaftEvent & { readonly event: 'init' }): void {
    need(!this.#lives.has(event.node), 'it begins twice')
    const { compacted, terms } = event
    const log: Terms = { first: compacted.index + 1, terms: [] }
    for (let index = log.first; index <= event.last; index++) {
      log.terms.push(terms.findLast((run) => run.index <= index)?.term ?? 0)
    }
    need((log.terms.at(-1) ?? compacted.term) === event.lastTerm, 'its terms do not end with the last one')
    const known = this.#disks.get(diskKey(event))
    if (known !== undefined) {
      const { term, votedFor } = known.hardState
      need(event.term >= term, `its disk had term ${term}`)
      need(event.term > term || votedFor === 0 || event.vote === votedFor, `it had voted for ${votedFor}`)
    }
    const disk: Disk = {
      hardState: { term: event.term, votedFor: event.vote },
      log: { first: log.first, terms: log.terms.slice() },
    }
    this.#disks.set(diskKey(event), disk)
    this.#lives.set(event.node, {
      last: event,
      role: 'follower',
      log,
      configurations: event.configurations.map((place) => ({
        index: place.index,
        configuration: place.configuration as Configuration,
      })),
      disk,
      writes: [],
      input: undefined,
      votes: new Set(),
      matches: new Map(),
    })
  }

  /** Terms, votes and commit indexes move on, each for a reason. */
  #checkTerm(life: Life, event: RaftEvent): void {
    const { last, input } = life
    need(event.term >= last.term, 'its term goes back')
    need(
      event.commit === last.commit || event.event === 'commit',
      'its commit index moved without being told',
    )
    if (event.term > last.term) {
      const campaign = event.event === 'becomeCandidate' && event.term === last.term + 1
      const told = event.event === 'becomeFollower' && input !== undefined && event.term === input.term
      need(campaign || told, 'nothing that it received has this term')
      need(event.vote === (campaign ? event.replica : 0), 'it voted before it was asked')
      return
    }
    if (event.vote === last.vote) return
    need(last.vote === 0, 'it voted twice in a term')
    const asked = isMessage(input) && input.kind === 'vote' && input.from === event.vote
    need(asked && input.term === event.term, 'nobody asked for this vote')
  }

  #takeBody(life: Life, event: RaftEvent): void {
    const { log } = life
    switch (event.event) {
      case 'init':
        return
      case 'stop':
        this.#lives.delete(event.node)
        return
      case 'takeId':
        need(event.last === 0, 'only an empty replica takes up another id')
        this.#disks.set(diskKey(event), life.disk)
        return
      case 'receive':
        return this.#receive(life, event, event.message as Message)
      case 'send':
        return this.#send(life, event, event.message as Message)
      case 'becomeFollower':
        life.role = 'follower'
        return
      case 'becomePreCandidate':
      case 'becomeCandidate':
        need(life.role !== 'leader', 'a leader campaigns')
        life.role = event.event === 'becomeCandidate' ? 'candidate' : 'preCandidate'
        life.votes.clear()
        return
      case 'becomeLeader':
        return this.#lead(life, event)
      case 'append':
        return this.#append(life, event, event.entries as readonly LogEntry[])
      case 'truncate':
        need(life.role !== 'leader', 'a leader cuts its log')
        need(event.from > event.commit, 'it cuts off what is committed')
        log.terms.length = event.from - log.first
        return
      case 'reset':
        cutTo(log, event.position)
        return
      case 'commit':
        return this.#commit(life, event)
      case 'applyConfiguration':
        life.configurations.push({ index: event.index, configuration: event.configuration as Configuration })
        return
      case 'rollbackConfiguration':
        while ((life.configurations.at(-1)?.index ?? 0) > event.index) life.configurations.pop()
        need(life.configurations.at(-1)?.index === event.index, 'that configuration was never in force')
        return
      case 'write': {
        const [from, to] = event.entries ?? [lastOf(log) + 1, lastOf(log)]
        const terms = log.terms.slice(from - log.first, to + 1 - log.first)
        const { writeId, reset } = event
        life.writes.push({ writeId, reset, from, terms, hardState: event.hardState as HardState | undefined })
        return
      }
      case 'durable':
        life.input = undefined
        return this.#store(life, event.writeId)
      case 'restore':
        life.input = event.position
        // The state of the snapshot is durable, and stands for the log up to there.
        if (termAt(life.disk.log, event.position.index) !== event.position.term)
          cutTo(life.disk.log, event.position)
        return
    }
  }

  #receive(life: Life, event: RaftEvent, message: Message): void {
    need(this.#sent.has(keyOf(event, message)), 'nobody sent this message')
    need(message.to === event.replica, 'it is for another replica')
    this.#count(`receive ${message.kind}`)
    life.input = message
    if (message.term !== event.term) return
    if (message.kind === 'voteReply' && message.granted) life.votes.add(message.from)
    if (message.kind === 'appendReply' && message.accepted) {
      life.matches.set(message.from, Math.max(message.index, life.matches.get(message.from) ?? 0))
    }
  }

  /** What a message promises is on the disk. */
  #send(life: Life, event: RaftEvent, message: Message): void {
    this.#sent.add(keyOf(event, message))
    need(message.from === event.replica && message.term <= event.term, 'it speaks for somebody else')
    const { hardState, log } = life.disk
    if (message.kind === 'vote' || (message.kind === 'voteReply' && message.granted)) {
      const candidate = message.kind === 'vote' ? message.from : message.to
      const holds = hardState.term === message.term && hardState.votedFor === candidate
      need(holds || hardState.term > message.term, 'its vote is not durable')
    }
    if (message.kind === 'appendReply' && message.accepted && hardState.term <= message.term) {
      need(message.index <= lastOf(log), 'it acknowledges what is not durable')
    }
  }

  #lead(life: Life, event: RaftEvent): void {
    need(life.role === 'candidate', 'only a candidate is elected')
    const key = `${event.recovery}/${event.term}`
    need(!this.#leaders.has(key), `${this.#leaders.get(key)} led in this term`)
    this.#leaders.set(key, event.node)
    const { hardState } = life.disk
    if (hardState.term === event.term && hardState.votedFor === event.replica) life.votes.add(event.replica)
    need(
      isQuorum(life, (voter) => life.votes.has(voter)),
      'no majority voted for it',
    )
    life.role = 'leader'
    life.matches.clear()
  }

  #append(life: Life, event: RaftEvent, entries: readonly LogEntry[]): void {
    const { log } = life
    for (const { index, term, kind, data } of entries) {
      need(index === lastOf(log) + 1, 'its log has a gap')
      need(term <= event.term, 'its log is ahead of its term')
      const before = termAt(log, index - 1)
      const key = `${event.recovery}/${index}/${term}`
      const content = `${before} ${kind} ${String(data)}`
      // The term of the last compacted entry is not known here.
      const known = this.#entries.get(key)
      if (before !== undefined) {
        need(known === undefined || known === content, 'another log has something else there')
        this.#entries.set(key, content)
      }
      log.terms.push(term)
    }
    if (life.role !== 'leader') {
      const input = life.input
      const sent = isMessage(input) && input.kind === 'append' ? input.entries : []
      need(
        entries.every(({ index, term }) =>
          sent.some((entry) => entry.index === index && entry.term === term),
        ),
        'it appends what it did not receive',
      )
    } else
      need(
        entries.every(({ term }) => term === event.term),
        'a leader appends in its own term',
      )
  }

  #commit(life: Life, event: RaftEvent & { readonly event: 'commit' }): void {
    const { input, disk, matches, role } = life
    need(event.before === life.last.commit && event.commit > event.before, 'its commit index does not grow')
    if (role === 'leader') {
      need(termAt(life.log, event.commit) === event.term, 'it counts for an entry of an earlier term')
      const durable = lastOf(disk.log)
      const has = (voter: number): boolean =>
        (voter === event.replica ? durable : (matches.get(voter) ?? 0)) >= event.commit
      need(isQuorum(life, has), 'no majority has acknowledged that')
      return
    }
    if (isMessage(input)) {
      const known =
        input.kind === 'append' || input.kind === 'heartbeat'
          ? input.commit
          : input.kind === 'snapshotOffer'
            ? input.position.index
            : 0
      need(event.commit <= known && input.term === event.term, 'it was not told that this is committed')
    } else need(input !== undefined && event.commit <= input.index, 'the snapshot does not reach so far')
  }

  #store({ disk, writes }: Life, writeId: number): void {
    need(
      writes.some((write) => write.writeId === writeId),
      'that was never written',
    )
    while (writes.length > 0 && (writes[0] as Write).writeId <= writeId) {
      const { reset, from, terms, hardState } = writes.shift() as Write
      const { log } = disk
      if (reset !== undefined) cutTo(log, reset)
      if (terms.length > 0) {
        log.terms.length = Math.max(0, Math.min(log.terms.length, from - log.first))
        log.terms.push(...terms.slice(Math.max(0, log.first - from)))
      }
      if (hardState !== undefined) disk.hardState = hardState
    }
  }
}

function need(holds: boolean, problem: string): asserts holds {
  if (!holds) throw new Error(problem)
}

function lastOf({ first, terms }: Terms): number {
  return first + terms.length - 1
}

function termAt({ first, terms }: Terms, index: number): number | undefined {
  return terms[index - first]
}

/** Nothing is left but what comes after a position. */
function cutTo(log: Terms, { index }: LogPosition): void {
  log.first = index + 1
  log.terms = []
}

function diskKey({ node, incarnation, recovery, replica }: RaftEvent): string {
  return `${node}/${incarnation}/${recovery}/${replica}`
}

function isMessage(input: Message | LogPosition | undefined): input is Message {
  return input !== undefined && 'kind' in input
}

function keyOf({ recovery }: RaftEvent, message: Message): string {
  return `${recovery} ${JSON.stringify(message)}`
}

function isQuorum({ configurations }: Life, counts: (replicaId: number) => boolean): boolean {
  const replicas = configurations.at(-1)?.configuration.replicas ?? []
  return [votesInIncoming, votesInOutgoing].every((votes) => {
    const voters = replicas.filter(votes)
    return voters.filter(({ replicaId }) => counts(replicaId)).length * 2 > voters.length
  })
}
