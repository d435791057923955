import { type CallOptions, sleep, throwIfAborted } from '../../core/async.ts'
import { text } from '../../core/bytes.ts'
import type { Environment } from '../../core/environment.ts'
import { type KeelsonError, toKeelsonError } from '../../core/errors.ts'
import { Lifetime } from '../../core/lifetime.ts'
import type { KeyValue, MetadataStore } from '../../interfaces/metadata-store.ts'
import { follow } from '../../jobs/follow.ts'
import type { ControllerEpoch } from '../../metadata/epoch.ts'
import { listKeys } from '../../metadata/follow.ts'
import type { RangeId, TableId } from '../../model/ids.ts'
import type { PlacementRule } from '../core/policy/rule.ts'
import type { RuleBook } from '../core/policy/rule-book.ts'
import { bookOf, bookWrites } from './placement-rules.ts'
import { decodeBook, encodeHead, headKey, type StoredBook, wholeBook } from './stored-book.ts'

/** The rules of a cluster, as a leader plans by them. */
export interface RulesInForce {
  /** All of them. */
  readonly book: RuleBook
  /**
   * Those that the planner goes by. Tables of which nothing is said but how many voters their ranges have are not in it: a new
   * table must not cost a look at all ranges. Another object only where it says something else.
   */
  readonly planning: RuleBook
  /** Voters by table, where nothing else is said of the table. */
  readonly voters: ReadonlyMap<TableId, number>
  /** Ranges that have rules of their own. */
  readonly ranges: ReadonlySet<RangeId>
}

/** Options of {@link RulesView.start}. */
export interface RulesViewOptions {
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Where the rules are. */
  readonly store: MetadataStore
  /** The epoch of this leader, which its writes compare. */
  readonly epoch: ControllerEpoch
  /** The rules that the server was opened with: what a new cluster begins with. */
  readonly opened: RuleBook | undefined
  /** Voters where no rule says how many, as the server was opened. */
  readonly defaultVoters: number
  /** Stops it, as `close` does. */
  readonly signal?: AbortSignal
}

/** Follows the stored rules on the leader, and sees that a new cluster begins with those that it was opened with. */
export class RulesView implements AsyncDisposable {
  readonly #options: RulesViewOptions
  readonly #life: Lifetime
  readonly #entries = new Map<string, KeyValue>()
  #current: RulesInForce | undefined
  #headRevision = 0
  #planningKey = ''
  /** Nothing of what the server was opened with can be stored: the rules are as they are. */
  #contradicted = false
  /** The reason why it stopped by itself; undefined when it was asked to. */
  readonly stopped: Promise<KeelsonError | undefined>

  /** Follows the rules at once. */
  static start(options: RulesViewOptions): RulesView {
    return new RulesView(options)
  }

  private constructor(options: RulesViewOptions) {
    this.#options = options
    this.#life = new Lifetime(options.env.logger, 'the view of the rules of placement', options.signal)
    this.stopped = this.#life.run(() => this.#follow())
  }

  /** The rules as they are now; undefined before they were read. */
  current(): RulesInForce | undefined {
    return this.#current
  }

  /** The rules, and among them everything that was set before it was asked. @throws KeelsonError `ABORTED`, `CLOSED` */
  async latest(call: CallOptions = {}): Promise<RulesInForce> {
    const head = await this.#options.store.get(headKey, call)
    for (;;) {
      throwIfAborted(this.#life.signal)
      if (this.#current !== undefined && this.#headRevision >= (head?.modRevision ?? 0)) return this.#current
      await sleep(this.#options.env.timers, pollMs, call.signal)
    }
  }

  /** Stops following. Idempotent. */
  async close(): Promise<void> {
    this.#life.stop()
    await this.stopped
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #follow(): Promise<void> {
    const { env, store } = this.#options
    const { signal } = this.#life
    for await (const step of follow(store, env, wholeBook, { signal })) {
      if (step.type === 'snapshot') {
        this.#entries.clear()
        for (const entry of step.entries) this.#entries.set(text(entry.key), entry)
        await this.#begin()
      } else {
        for (const event of step.events) {
          const key = text(event.entry.key)
          if (event.type === 'put') this.#entries.set(key, event.entry)
          else this.#entries.delete(key)
        }
      }
      this.#take()
    }
  }

  /** Sees that what the server was opened with is stored: its rules once in the life of a cluster, the number always. */
  async #begin(): Promise<void> {
    const { env } = this.#options
    while (!this.#life.signal.aborted) {
      try {
        if (await this.#tryToBegin()) return
      } catch (thrown) {
        const error = toKeelsonError(thrown)
        if (!error.retryable) throw error
        await sleep(env.timers, retryMs, this.#life.signal).catch(() => {})
      }
    }
  }

  /** False: somebody else wrote, or there is more to write. */
  async #tryToBegin(): Promise<boolean> {
    const { store, epoch } = this.#options
    const call = { signal: this.#life.signal }
    const before = decodeBook((await listKeys(store, wholeBook, call)).entries)
    const after = this.#beginning(before)
    const writes = bookWrites(before, after)
    const same = before.begun === after.begun && before.defaultVoters === after.defaultVoters
    if (same && writes.length === 0) return true
    const some = writes.slice(0, writesTogether)
    const head = { ...after, begun: after.begun && some.length === writes.length }
    const { succeeded } = await epoch.txn(
      {
        if: [{ key: headKey, target: 'modRevision', is: '=', operand: before.headRevision }],
        then: [...some, { type: 'put', key: headKey, value: encodeHead(head) }],
      },
      call,
    )
    return succeeded && some.length === writes.length
  }

  /** The rules with what this server was opened with, as far as they bear it. */
  #beginning(before: StoredBook): StoredBook {
    const { opened, defaultVoters, env } = this.#options
    const numbered = { ...before, defaultVoters }
    const rules = new Map(before.rules)
    const zones = new Map(before.zones)
    for (const [id, rule] of opened?.rules ?? []) if (!rules.has(id)) rules.set(id, rule)
    for (const { tableId, zone } of opened?.tables ?? [])
      if (zone !== undefined && !zones.has(tableId)) zones.set(tableId, zone)
    const begun = { ...numbered, rules, zones, begun: true }
    if (before.begun && opened !== undefined && bookWrites(before, begun).length > 0)
      env.logger.warn(
        {},
        'this server was opened with rules of placement that are not in force; set them, or leave them out',
      )
    for (const after of before.begun ? [numbered] : [begun, { ...numbered, begun: true }]) {
      try {
        bookOf(after)
        return after
      } catch (thrown) {
        const error = toKeelsonError(thrown)
        env.logger.error(
          { error: error.toJSON() },
          'what this server was opened with contradicts the rules of placement in force',
        )
      }
    }
    this.#contradicted = true
    return before
  }

  #take(): void {
    const stored = decodeBook(this.#entries.values())
    // What a cluster begins with is there before anybody plans.
    if (!stored.begun && !this.#contradicted) return
    const book = bookOf(stored)
    const voters = plainNumbers(stored)
    const left = [...stored.rules.values()].filter((rule) => !isPlainNumber(rule, voters))
    const key = JSON.stringify([left, [...stored.zones], stored.defaultVoters])
    const known = key === this.#planningKey ? this.#current : undefined
    this.#planningKey = key
    this.#headRevision = stored.headRevision
    this.#current = {
      book,
      voters,
      planning: known?.planning ?? bookOf({ ...stored, rules: new Map(left.map((rule) => [rule.id, rule])) }),
      ranges: new Set(left.flatMap(({ scope }) => (scope.type === 'range' ? [scope.rangeId] : []))),
    }
  }
}

const retryMs = 200
const pollMs = 20
const writesTogether = 500

/** Voters by table, of tables of which nothing else is said. */
function plainNumbers({ rules, zones }: StoredBook): ReadonlyMap<TableId, number> {
  const numbers = new Map<TableId, number>()
  const others = new Set<TableId>(zones.keys())
  for (const rule of rules.values()) {
    const { scope, voters } = rule
    if (scope.type !== 'table' && scope.type !== 'range') continue
    const { tableId } = scope
    if (tableId === undefined) continue
    if (voters === undefined || !saysNoMore(rule) || numbers.has(tableId)) others.add(tableId)
    else numbers.set(tableId, voters)
  }
  for (const tableId of others) numbers.delete(tableId)
  return numbers
}

function isPlainNumber({ scope }: PlacementRule, voters: ReadonlyMap<TableId, number>): boolean {
  return scope.type === 'table' && voters.has(scope.tableId)
}

/** Whether a rule is for a table and says how many voters its ranges have, and nothing else. */
function saysNoMore({ id: _, scope, voters: __, override, ...rest }: PlacementRule): boolean {
  return (
    scope.type === 'table' && override !== true && Object.values(rest).every((value) => value === undefined)
  )
}
