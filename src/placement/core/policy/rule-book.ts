import { KeelsonError } from '../../../core/errors.ts'
import { arrayOption, checkOptions, integerOption, optional, stringOption } from '../../../core/options.ts'
import { checkId, idOption, type RangeId, type TableId } from '../../../model/ids.ts'
import { maximumVoters } from '../model/cluster.ts'
import { conflictsOf } from './conflicts.ts'
import { type Contradiction, type EffectivePolicy, inherit } from './effective.ts'
import { checkRules, type PlacementRule } from './rule.ts'

/** A table, and the name that it is filed under. */
export interface TableScope {
  /** The table. */
  readonly tableId: TableId
  /** The zone whose rules hold for it; none when it is filed nowhere. */
  readonly zone?: string
}

/** What a {@link RuleBook} is made of. */
export interface RuleBookInput {
  /** The rules, in any order. */
  readonly rules: readonly PlacementRule[]
  /** Tables that are filed under a zone. One that is not named here has the rules of the cluster and its own. */
  readonly tables?: readonly TableScope[]
  /** Voters where no rule says how many. Default: 3. */
  readonly defaultVoters?: number
}

/** Ranges that have the same rules: what is worked out once for all of them. */
export interface RuleClass {
  /** Number of the class: 0 for the rules of the cluster alone. */
  readonly index: number
  /** What holds for its ranges. */
  readonly policy: EffectivePolicy
}

/**
 * Rules by scope, taken together for every table and range that they name. A book is made whole or not at all: rules that
 * exclude each other are refused before any range is moved by them.
 */
export class RuleBook {
  /** All rules, by id. */
  readonly rules: ReadonlyMap<string, PlacementRule>
  /** Tables that are filed under a zone. */
  readonly tables: readonly TableScope[]
  /** What can hold for a range, by the number of the class. */
  readonly classes: readonly RuleClass[]
  readonly #byTable: ReadonlyMap<TableId, RuleClass>
  readonly #byRange: ReadonlyMap<RangeId, RuleClass>

  /**
   * @throws KeelsonError `INVALID_OPTION` when rules contradict each other; details: `rule`, `otherRule` (their ids) and `why`
   */
  constructor(input: RuleBookInput) {
    const { rules, tables, defaultVoters } = checkOptions<Required<RuleBookInput>>('RuleBook', input, {
      rules: checkRules,
      tables: arrayOption(
        (value, name) =>
          checkOptions<{ tableId: TableId; zone: string | undefined }>(name, value, {
            tableId: idOption,
            zone: optional(stringOption({ maxLength: 128 })),
          }) as TableScope,
        { fallback: [] },
      ),
      defaultVoters: integerOption({ min: 1, max: maximumVoters, fallback: 3 }),
    })
    this.tables = Object.freeze([...tables])
    this.rules = new Map(rules.map((rule) => [rule.id, rule]))
    const layers = new Layers(rules, tables)
    const classes: RuleClass[] = []
    const known = new Map<string, RuleClass>()
    const classOf = (stack: readonly (readonly PlacementRule[])[]): RuleClass => {
      const key = JSON.stringify(stack.filter((layer) => layer.length > 0).map((l) => l.map(({ id }) => id)))
      let found = known.get(key)
      if (found === undefined) {
        const refuse = (contradiction: Contradiction): never => refuseRules(contradiction)
        const policy = inherit(stack, refuse)
        for (const conflict of conflictsOf(policy, defaultVoters)) refuseRules(conflict)
        found = Object.freeze({ index: classes.length, policy })
        classes.push(found)
        known.set(key, found)
      }
      return found
    }
    classOf(layers.of(undefined))
    // The rules of a zone are judged even where no table is filed under it yet.
    for (const zone of layers.zones) classOf(layers.ofZone(zone))
    this.#byTable = new Map(layers.tables.map((tableId) => [tableId, classOf(layers.of(tableId))]))
    this.#byRange = new Map(layers.ranges.map((rangeId) => [rangeId, classOf(layers.ofRange(rangeId))]))
    this.classes = Object.freeze(classes)
  }

  /**
   * What holds for a range.
   *
   * @param tableId the table that it belongs to, if any
   * @throws KeelsonError `INVALID_ARGUMENT`
   */
  classOf(rangeId: RangeId, tableId?: TableId): RuleClass {
    checkId(rangeId, 'the id of a range')
    const own = this.#byRange.get(rangeId)
    if (own !== undefined) return own
    const table = tableId === undefined ? undefined : this.#byTable.get(tableId)
    return table ?? (this.classes[0] as RuleClass)
  }
}

/** Rules sorted by scope. */
class Layers {
  readonly #cluster: readonly PlacementRule[]
  readonly #byZone = new Map<string, PlacementRule[]>()
  readonly #byTable = new Map<TableId, PlacementRule[]>()
  readonly #zoneOf: ReadonlyMap<TableId, string | undefined>
  readonly #byRange = new Map<RangeId, PlacementRule[]>()
  readonly #tableOfRange = new Map<RangeId, TableId>()

  constructor(rules: readonly PlacementRule[], tables: readonly TableScope[]) {
    const cluster: PlacementRule[] = []
    for (const rule of [...rules].sort((a, b) => (a.id < b.id ? -1 : 1))) {
      const { scope } = rule
      if (scope.type === 'cluster') cluster.push(rule)
      else if (scope.type === 'zone') push(this.#byZone, scope.zone, rule)
      else if (scope.type === 'table') push(this.#byTable, scope.tableId, rule)
      else this.#addToRange(scope.rangeId, scope.tableId, rule)
    }
    this.#cluster = cluster
    this.#zoneOf = new Map(tables.map(({ tableId, zone }) => [tableId, zone]))
  }

  /** Tables that anything is said of. */
  get tables(): readonly TableId[] {
    const named = [...this.#byTable.keys(), ...this.#zoneOf.keys(), ...this.#tableOfRange.values()]
    return [...new Set(named)].sort((a, b) => a - b)
  }

  get zones(): readonly string[] {
    return [...this.#byZone.keys()].sort()
  }

  ofZone(zone: string): readonly (readonly PlacementRule[])[] {
    return [this.#cluster, this.#byZone.get(zone) ?? []]
  }

  get ranges(): readonly RangeId[] {
    return [...this.#byRange.keys()].sort((a, b) => a - b)
  }

  ofRange(rangeId: RangeId): readonly (readonly PlacementRule[])[] {
    return [...this.of(this.#tableOfRange.get(rangeId)), this.#byRange.get(rangeId) ?? []]
  }

  #addToRange(rangeId: RangeId, tableId: TableId | undefined, rule: PlacementRule): void {
    const known = this.#tableOfRange.get(rangeId)
    const [other] = this.#byRange.get(rangeId) ?? []
    if (tableId !== undefined && known !== undefined && known !== tableId) {
      refuseRules({
        rules: [(other as PlacementRule).id, rule.id],
        why: `range ${rangeId} belongs to table ${known} in one and to table ${tableId} in the other`,
      })
    }
    if (tableId !== undefined) this.#tableOfRange.set(rangeId, tableId)
    push(this.#byRange, rangeId, rule)
  }

  of(tableId: TableId | undefined): readonly (readonly PlacementRule[])[] {
    if (tableId === undefined) return [this.#cluster]
    const zone = this.#zoneOf.get(tableId)
    const own = this.#byTable.get(tableId) ?? []
    return zone === undefined ? [this.#cluster, own] : [...this.ofZone(zone), own]
  }
}

function push<K>(map: Map<K, PlacementRule[]>, key: K, rule: PlacementRule): void {
  const there = map.get(key)
  if (there === undefined) map.set(key, [rule])
  else there.push(rule)
}

function refuseRules({ rules, why }: Contradiction): never {
  const [one, other] = rules
  const subject =
    one === other ? `rule '${one}' contradicts itself` : `rules '${one}' and '${other}' exclude each other`
  throw new KeelsonError(
    'INVALID_OPTION',
    `${subject}: ${why}; change one of them, or let the narrower one override`,
    {
      details: { rule: one, otherRule: other, why },
    },
  )
}
