import { checkArray, checkMembers, checkObject } from '../../core/arguments.ts'
import type { CallOptions } from '../../core/async.ts'
import { KeelsonError } from '../../core/errors.ts'
import { checkCall, showValue } from '../../core/options.ts'
import type { MetadataStore, Operation } from '../../interfaces/metadata-store.ts'
import { listKeys } from '../../metadata/follow.ts'
import { checkId, type TableId } from '../../model/ids.ts'
import { checkRules, type PlacementRule } from '../core/policy/rule.ts'
import { RuleBook, type TableScope } from '../core/policy/rule-book.ts'
import {
  type BookHead,
  decodeBook,
  encodeHead,
  encodeRule,
  encodeZone,
  headKey,
  ruleKey,
  type StoredBook,
  tablesOf,
  wholeBook,
  zoneKey,
} from './stored-book.ts'

/** The rules of a cluster. */
export interface RuleListing {
  /** By ascending id. */
  readonly rules: readonly PlacementRule[]
  /** Tables that are filed under a zone, by ascending id. */
  readonly tables: readonly TableScope[]
  /** Voters where no rule says how many. */
  readonly defaultVoters: number
}

/** Rules and tables that are set together. */
export interface RuleSet {
  /** Rules: each takes the place of the one of its id, if there is one. Default: none. */
  readonly rules?: readonly PlacementRule[]
  /** Tables to be filed under a zone, or under none any more. Default: none. */
  readonly tables?: readonly TableScope[]
}

const maximumChanges = 500
/** Somebody else may change rules at the same time; this often it is tried again. */
const attempts = 16

/**
 * The rules by which a running cluster places its ranges. They stand in the metadata store: whoever leads plans by them, from
 * a moment after they were set. What would make them contradict each other is refused before it is stored.
 */
export class PlacementRules {
  readonly #store: MetadataStore

  /** Works through any store of the cluster: a server's, a node's or a client's. */
  constructor(options: { readonly store: MetadataStore }) {
    this.#store = options.store
  }

  /** All rules as they are now. */
  async list(call: CallOptions = {}): Promise<RuleListing> {
    checkCall('list', call)
    const { rules, zones, defaultVoters } = await this.#read(call)
    return {
      rules: [...rules.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      tables: tablesOf(zones),
      defaultVoters,
    }
  }

  /**
   * Sets rules, and files tables under zones: all of it or nothing. It can be repeated.
   *
   * @throws KeelsonError `INVALID_OPTION` for a rule that says nothing sensible, or when rules exclude each other; details then:
   *   `rule`, `otherRule` (their ids) and `why`. `LIMIT_EXCEEDED` with more than 500 at a time, `CONFLICT` while others change rules
   */
  async set(change: RuleSet, call: CallOptions = {}): Promise<void> {
    checkCall('set', call)
    const checked = checkSet(change)
    await this.#write((book) => withChange(book, checked), call)
  }

  /** Says whether {@link PlacementRules.set} would take a change, and changes nothing. @throws as `set` */
  async check(change: RuleSet, call: CallOptions = {}): Promise<void> {
    checkCall('check', call)
    const { rules, zones, defaultVoters } = withChange(await this.#read(call), checkSet(change))
    bookOf({ rules, zones, defaultVoters })
  }

  /**
   * Takes rules away, all of them or none.
   *
   * @throws KeelsonError `NOT_FOUND` for an id that no rule has; `INVALID_OPTION` when what is left contradicts itself, as for `set`
   */
  async remove(ids: readonly string[], call: CallOptions = {}): Promise<void> {
    checkCall('remove', call)
    checkArray(ids, 'the ids of rules', maximumChanges)
    await this.#write((book) => {
      const rules = new Map(book.rules)
      for (const id of ids) {
        if (!rules.delete(id))
          throw new KeelsonError(
            'NOT_FOUND',
            `there is no rule ${showValue(id)}; list the rules to see their ids`,
          )
      }
      return { ...book, rules }
    }, call)
  }

  async #read(call: CallOptions): Promise<StoredBook> {
    const { entries } = await listKeys(this.#store, wholeBook, call)
    return decodeBook(entries)
  }

  async #write(change: (book: StoredBook) => StoredBook, call: CallOptions): Promise<void> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const before = await this.#read(call)
      const after = change(before)
      bookOf(after)
      const writes = bookWrites(before, after)
      if (writes.length === 0) return
      const { succeeded } = await this.#store.txn(
        {
          if: [{ key: headKey, target: 'modRevision', is: '=', operand: before.headRevision }],
          then: [...writes, { type: 'put', key: headKey, value: encodeHead(after) }],
        },
        call,
      )
      if (succeeded) return
    }
    throw new KeelsonError('CONFLICT', 'others change the rules of placement all the time; try again', {
      retryable: true,
    })
  }
}

/** The book that stored rules make. @throws KeelsonError `INVALID_OPTION` */
export function bookOf({
  rules,
  zones,
  defaultVoters,
}: Pick<StoredBook, 'rules' | 'zones'> & Pick<BookHead, 'defaultVoters'>): RuleBook {
  return new RuleBook({ rules: [...rules.values()], tables: tablesOf(zones), defaultVoters })
}

/** What has to be written so that one state of the rules becomes another. */
export function bookWrites(before: StoredBook, after: StoredBook): readonly Operation[] {
  const writes: Operation[] = []
  for (const [id, rule] of after.rules) {
    const known = before.rules.get(id)
    if (known === undefined || JSON.stringify(known) !== JSON.stringify(rule))
      writes.push({ type: 'put', key: ruleKey(id), value: encodeRule(rule) })
  }
  for (const id of before.rules.keys())
    if (!after.rules.has(id)) writes.push({ type: 'delete', select: { key: ruleKey(id) } })
  for (const [tableId, zone] of after.zones)
    if (before.zones.get(tableId) !== zone)
      writes.push({ type: 'put', key: zoneKey(tableId), value: encodeZone(zone) })
  for (const tableId of before.zones.keys())
    if (!after.zones.has(tableId)) writes.push({ type: 'delete', select: { key: zoneKey(tableId) } })
  return writes
}

function checkSet(change: RuleSet): Required<RuleSet> {
  checkMembers(change, 'rules to be set', ['rules', 'tables'])
  const rules = checkRules(change.rules ?? [], 'the rules to be set')
  const tables = checkArray<TableScope>(change.tables ?? [], 'the tables to be filed')
  for (const table of tables) {
    checkMembers(checkObject(table, 'a table to be filed', ['tableId']), 'a table to be filed', [
      'tableId',
      'zone',
    ])
    checkId(table.tableId, 'the id of a table to be filed')
  }
  if (rules.length + tables.length > maximumChanges) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `${rules.length + tables.length} rules and tables are too many at a time; set at most ${maximumChanges} together`,
    )
  }
  // The book itself says what is wrong with one of them.
  new RuleBook({ rules: [], tables })
  return { rules, tables }
}

function withChange(book: StoredBook, change: Required<RuleSet>): StoredBook {
  const rules = new Map(book.rules)
  const zones = new Map<TableId, string>(book.zones)
  for (const rule of change.rules) rules.set(rule.id, rule)
  for (const { tableId, zone } of change.tables) {
    if (zone === undefined) zones.delete(tableId)
    else zones.set(tableId, zone)
  }
  return { ...book, rules, zones }
}
