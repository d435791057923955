import { prefixEnd, text, utf8 } from '../../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../../core/codec.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { KeySelector, KeyValue } from '../../interfaces/metadata-store.ts'
import { keyPrefixes, pathKey, pathPrefix } from '../../metadata/keys.ts'
import type { TableId } from '../../model/ids.ts'
import { maximumNonVoters } from '../core/model/cluster.ts'
import { checkRules, type PlacementRule } from '../core/policy/rule.ts'
import type { TableScope } from '../core/policy/rule-book.ts'

const formatVersion = 1

/** What stands over all rules. It is written with every change, so that two changes at a time never miss each other. */
export interface BookHead {
  /** Voters where no rule says how many. */
  readonly defaultVoters: number
  /** The rules that the first leader was opened with are among those that are stored. */
  readonly begun: boolean
}

/** The rules of a cluster as the store has them at one revision. */
export interface StoredBook extends BookHead {
  /** Of the head's last change; 0: there is none. */
  readonly headRevision: number
  /** By id. */
  readonly rules: ReadonlyMap<string, PlacementRule>
  /** Zones by table. */
  readonly zones: ReadonlyMap<TableId, string>
}

/** Voters where nobody has said anything else. */
export const voterDefault = 3

/** Everything that is stored of rules. */
export const wholeBook: KeySelector = Object.freeze({
  key: pathPrefix(keyPrefixes.placement),
  end: prefixEnd(pathPrefix(keyPrefixes.placement)) ?? null,
})

/** Key of what stands over all rules. */
export const headKey: Uint8Array = pathKey(keyPrefixes.placement, 'head')

const rulesPrefix = `${keyPrefixes.placement}rules/`
const tablesPrefix = `${keyPrefixes.placement}tables/`

/** Key of a rule. */
export function ruleKey(id: string): Uint8Array {
  return utf8(`${rulesPrefix}${encodeURIComponent(id)}`)
}

/** Key of the zone of a table. */
export function zoneKey(tableId: TableId): Uint8Array {
  return pathKey(tablesPrefix, tableId)
}

export function encodeHead({ defaultVoters, begun }: BookHead): Uint8Array {
  return encodePlain([formatVersion, defaultVoters, begun ? 1 : 0])
}

export function encodeRule(rule: PlacementRule): Uint8Array {
  return encodePlain([formatVersion, JSON.stringify(rule)])
}

export function encodeZone(zone: string): Uint8Array {
  return encodePlain([formatVersion, zone])
}

/** The rules out of all their entries. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION` */
export function decodeBook(entries: Iterable<KeyValue>): StoredBook {
  const rules = new Map<string, PlacementRule>()
  const zones = new Map<TableId, string>()
  let head: BookHead = { defaultVoters: voterDefault, begun: false }
  let headRevision = 0
  for (const { key, value, modRevision } of entries) {
    const path = text(key)
    const fields = fieldsOf(value)
    if (path.startsWith(rulesPrefix)) {
      const rule = decodeRule(fields.string('rule'))
      rules.set(rule.id, rule)
    } else if (path.startsWith(tablesPrefix)) {
      zones.set(Number(path.slice(tablesPrefix.length)), fields.string('zone'))
    } else {
      head = { defaultVoters: fields.uint('default voters'), begun: fields.uint('begun') === 1 }
      headRevision = modRevision
    }
  }
  return { ...head, headRevision, rules, zones }
}

/** Zones as a book takes them. */
export function tablesOf(zones: ReadonlyMap<TableId, string>): readonly TableScope[] {
  return [...zones].sort(([a], [b]) => a - b).map(([tableId, zone]) => ({ tableId, zone }))
}

function fieldsOf(value: Uint8Array): Fields {
  const fields = new Fields(decodePlain(value, 'a stored rule of placement'), 'a stored rule of placement')
  const format = fields.uint('format')
  if (format === formatVersion) return fields
  throw new KeelsonError(
    'FORMAT_VERSION',
    `a stored rule of placement has format ${format}, but this release knows ${formatVersion}: use a newer release`,
  )
}

function decodeRule(json: string): PlacementRule {
  try {
    const [rule] = checkRules([withinBounds(JSON.parse(json))], 'the stored rules')
    if (rule !== undefined) return rule
  } catch (cause) {
    throw new KeelsonError('MALFORMED', `a stored rule of placement cannot be read: ${json.slice(0, 200)}`, {
      cause,
    })
  }
  throw new KeelsonError('MALFORMED', 'a stored rule of placement is empty')
}

/** Earlier releases took one replica without a vote more than a range can be said to have. */
function withinBounds(rule: unknown): unknown {
  const { nonVoters } = (rule ?? {}) as Partial<PlacementRule>
  return nonVoters === maximumNonVoters + 1 ? { ...(rule as object), nonVoters: maximumNonVoters } : rule
}
