import type { LogEntry, LogPosition } from '../../../src/interfaces/log-store.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { RaftRole, RaftWrite } from '../../../src/raft/core/types.ts'
import type { NodeState } from './node/state.ts'
import type { Node } from './node.ts'

/** Version of the schema; docs/simulation.md describes it. */
export const traceFormat = 1

/** What every event of a replica carries. `term` to `lastTerm` are as they are right after it. */
export interface EventHeader {
  /** From 1, without gaps. */
  readonly sequence: number
  /** Virtual. */
  readonly timeMs: number
  readonly node: string
  readonly incarnation: number
  /** The recovery from a lost quorum that it goes along with, 0 for none: each begins another history. */
  readonly recovery: number
  readonly replica: number
  readonly role: RaftRole
  readonly term: number
  readonly vote: number
  readonly commit: number
  readonly last: number
  readonly lastTerm: number
}

/** What happens to a replica, by the name of its event, with the fields that come with it. */
export type EventBody =
  | {
      readonly event: 'init'
      readonly compacted: LogPosition
      /** The first position of each term after `compacted`. */
      readonly terms: readonly LogPosition[]
      readonly configurations: readonly { readonly index: number; readonly configuration: unknown }[]
      readonly quarantined: boolean
    }
  | { readonly event: 'stop' }
  /** An empty replica takes up a later id; `replica` is the new one. */
  | { readonly event: 'takeId'; readonly before: number }
  | { readonly event: 'becomeFollower'; readonly leader: number }
  | { readonly event: 'becomePreCandidate' | 'becomeCandidate' | 'becomeLeader' }
  | { readonly event: 'send' | 'receive'; readonly message: unknown }
  | { readonly event: 'append'; readonly entries: readonly unknown[] }
  | { readonly event: 'truncate'; readonly from: number }
  | { readonly event: 'reset'; readonly position: LogPosition }
  | { readonly event: 'commit'; readonly before: number }
  | { readonly event: 'applyConfiguration'; readonly index: number; readonly configuration: unknown }
  | { readonly event: 'rollbackConfiguration'; readonly index: number; readonly configuration: unknown }
  | {
      readonly event: 'write'
      readonly writeId: number
      readonly reset?: LogPosition
      readonly entries?: readonly [from: number, to: number]
      readonly hardState?: unknown
    }
  | { readonly event: 'durable'; readonly writeId: number }
  | { readonly event: 'restore'; readonly position: LogPosition }

export type RaftEvent = EventHeader & EventBody

/**
 * Tells what happens to the replicas of a run as lines of JSON, one event each, in the order in which it happens, so that
 * others can hold a run against a formal specification. It looks on: a run does the same with it and without.
 */
export class RaftEvents {
  readonly #write: (line: string) => void
  readonly #nowMs: () => number
  #sequence = 0

  constructor(
    write: (line: string) => void,
    nowMs: () => number,
    head: { readonly seed: number; readonly raft: unknown },
  ) {
    this.#write = write
    this.#nowMs = nowMs
    write(JSON.stringify({ event: 'trace', format: traceFormat, ...head }))
  }

  /** A replica starts. Its core tells of itself from now on. */
  started(node: Node, core: RaftCore): void {
    const { log, configurations } = core
    this.#tell(node, core, {
      event: 'init',
      compacted: log.compacted,
      terms: log.runs,
      configurations: configurations.places.map(({ index, configuration }) => ({ index, configuration })),
      quarantined: core.quarantined,
    })
    this.#listen(node, core)
  }

  stopped(node: Node, core: RaftCore): void {
    this.#tell(node, core, { event: 'stop' })
  }

  received(node: Node, core: RaftCore, message: Message): void {
    this.#tell(node, core, { event: 'receive', message: plain(message) })
  }

  sent(node: Node, core: RaftCore, message: Message): void {
    this.#tell(node, core, { event: 'send', message: plain(message) })
  }

  issued(node: Node, core: RaftCore, { writeId, reset, entries, hardState }: RaftWrite): void {
    const [first, last] = [entries?.[0], entries?.at(-1)]
    this.#tell(node, core, {
      event: 'write',
      writeId,
      ...(reset === undefined ? {} : { reset }),
      ...(first === undefined || last === undefined ? {} : { entries: [first.index, last.index] }),
      ...(hardState === undefined ? {} : { hardState }),
    })
  }

  durable(node: Node, core: RaftCore, writeId: number): void {
    this.#tell(node, core, { event: 'durable', writeId })
  }

  /** The state machine was switched to a snapshot; the core hears of it next. */
  restored(node: NodeState, core: RaftCore, position: LogPosition): void {
    this.#tell(node, core, { event: 'restore', position })
  }

  #tell(node: NodeState, core: RaftCore, body: EventBody, role: RaftRole = core.role): void {
    const event: RaftEvent = {
      sequence: ++this.#sequence,
      timeMs: Number(this.#nowMs().toFixed(3)),
      node: node.name,
      incarnation: node.incarnation,
      recovery: node.recoveryGeneration,
      replica: core.replicaId,
      role,
      term: core.term,
      vote: core.votedFor,
      commit: core.commitIndex,
      last: core.lastIndex,
      lastTerm: core.log.lastTerm,
      ...body,
    }
    this.#write(JSON.stringify(event))
  }

  /**
   * Puts itself before or behind the small steps of one core, so that each event has the state of its moment, also when
   * one input leads to several.
   */
  #listen(node: Node, core: RaftCore): void {
    const tell = (body: EventBody, role?: RaftRole): void => this.#tell(node, core, body, role)
    const { log, configurations } = core
    behind(core, 'becomeFollower', () => {
      const { role, term, leader } = core
      return () => {
        if (role === 'follower' && term === core.term && leader === core.leader) return
        tell({ event: 'becomeFollower', leader: core.leader })
      }
    })
    behind(core, 'takeId', () => {
      const { replicaId } = core
      return () => tell({ event: 'takeId', before: replicaId })
    })
    // In both campaigns, once role, term and vote are what they will be, and before anything follows from it.
    behind(core, 'startCampaign', () => () => {
      tell({ event: core.role === 'candidate' ? 'becomeCandidate' : 'becomePreCandidate' })
    })
    before(core, 'becomeLeader', () => tell({ event: 'becomeLeader' }, 'leader'))
    before(core, 'committed', (index) => tell({ event: 'commit', before: index }))
    behind(log, 'append', (entries) => () => {
      if (entries.length > 0) tell({ event: 'append', entries: entries.map(plainEntry) })
    })
    behind(log, 'truncateFrom', (from) => () => tell({ event: 'truncate', from }))
    behind(
      log,
      'reset',
      ({ index, term }) =>
        () =>
          tell({ event: 'reset', position: { index, term } }),
    )
    behind(configurations, 'append', (index) => () => {
      tell({ event: 'applyConfiguration', index, configuration: configurations.latest?.configuration })
    })
    behind(configurations, 'truncateFrom', () => () => {
      const { index = 0, configuration } = configurations.latest ?? {}
      tell({ event: 'rollbackConfiguration', index, configuration })
    })
    behind(configurations, 'reset', (index, configuration) => () => {
      tell({ event: 'applyConfiguration', index, configuration })
    })
  }
}

type InputOf<F> = F extends (...input: infer A) => unknown ? A : never

/** Has `tell` called before each call of a method of this one object. */
function before<T extends object, K extends keyof T>(
  target: T,
  name: K,
  tell: (...input: InputOf<T[K]>) => void,
): void {
  behind(target, name, (...input) => {
    tell(...input)
    return () => {}
  })
}

/** Has `listen` called before each call of a method of this one object, and what it returns after it. */
function behind<T extends object, K extends keyof T>(
  target: T,
  name: K,
  listen: (...input: InputOf<T[K]>) => () => void,
): void {
  const original = target[name] as (...input: InputOf<T[K]>) => unknown
  const value = (...input: InputOf<T[K]>): unknown => {
    const then = listen(...input)
    const result = original.apply(target, input)
    then()
    return result
  }
  Object.defineProperty(target, name, { value, configurable: true, writable: true, enumerable: false })
}

/** How nodes pledge themselves for groups that rest is no matter of the algorithm, and their hosts have a hand in it. */
const fieldsOfHosts = new Set(['idle', 'epoch'])

/** A message with its fields in one order, whether it was made or decoded. */
function plain(message: Message): unknown {
  const fields = Object.entries(message)
    .filter(([name]) => !fieldsOfHosts.has(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(
    fields.map(([name, value]) => [name, name === 'entries' ? (value as LogEntry[]).map(plainEntry) : value]),
  )
}

function plainEntry({ index, term, kind, data }: LogEntry): unknown {
  return {
    index,
    term,
    kind,
    data: Buffer.from(data.buffer, data.byteOffset, data.length).toString('base64'),
  }
}
