import { KeelsonError } from '../core/errors.ts'
import type { PlacementRule, RuleListing, RuleSet } from '../placement/index.ts'
import { connectionFlags, connectionHelp, withCluster } from './connection.ts'
import { readJson } from './files.ts'
import { json, table } from './text.ts'
import { type Command, noMore, oneOf, Usage } from './words.ts'

/** The rules by which ranges are placed. */
export const rules: Command = {
  about: 'the rules by which ranges are placed: lists them, sets some, takes some away',
  help: `keelson rules --cluster ID --seeds HOST:PORT,…
keelson rules set FILE --cluster ID --seeds HOST:PORT,…
keelson rules remove RULE… --cluster ID --seeds HOST:PORT,…

FILE has rules, and zones of tables, as JSON; - is standard input. It may be what 'keelson rules --json' printed, with some of it
changed. Each rule takes the place of the one of its id; those that it does not name stay. All of it is taken or nothing:

  { "rules": [{ "id": "all", "scope": { "type": "cluster" }, "voters": 3, "spread": ["zone"] }],
    "tables": [{ "tableId": 1, "zone": "europe" }] }

What would exclude another rule is refused, and both are named.

${connectionHelp}`,
  flags: connectionFlags,
  run: async ([verb, ...more], flags, { out, input }) => {
    if (verb === undefined) {
      const found = await withCluster(flags, (admin, call) => admin.rules.list(call))
      out(flags.json === true ? json(found) : rulesText(found))
      return
    }
    if (oneOf(verb, ['set', 'remove'], 'rules') === 'remove') {
      if (more.length === 0) throw new Usage('which rule is to be taken away?')
      await withCluster(flags, (admin, call) => admin.rules.remove(more, call))
      out(flags.json === true ? json({ removed: more }) : `taken away: ${more.join(', ')}\n`)
      return
    }
    const [path, ...rest] = more
    if (path === undefined) throw new Usage('rules set takes a file, or -')
    noMore(rest)
    const { defaultVoters, ...set } = Object(readJson(path, input, 'rules as JSON')) as RuleSet &
      Partial<RuleListing>
    await withCluster(flags, async (admin, call) => {
      if (defaultVoters !== undefined)
        checkDefault(defaultVoters, (await admin.rules.list(call)).defaultVoters)
      await admin.rules.set(set, call)
    })
    const [ruleCount, tableCount] = [set.rules?.length ?? 0, set.tables?.length ?? 0]
    out(
      flags.json === true
        ? json({ set: { rules: ruleCount, tables: tableCount } })
        : `set: ${ruleCount} rules, and the zones of ${tableCount} tables\n`,
    )
  },
}

/** A listing says it, and nobody can change it so. */
function checkDefault(wanted: unknown, now: number): void {
  if (wanted === now) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `defaultVoters is ${now} and cannot be set; a rule of the cluster with voters says how many ranges have`,
  )
}

function rulesText({ rules: all, tables, defaultVoters }: RuleListing): string {
  const rows = all.map((rule) => [rule.id, scopeOf(rule), wordsOf(rule)])
  const zones = tables.map(({ tableId, zone }) => `table ${tableId} is filed under zone ${zone}\n`).join('')
  return `${table(['RULE', 'FOR', 'SAYS'], rows)}${zones}${defaultVoters} voters where no rule says how many\n`
}

function scopeOf({ scope }: PlacementRule): string {
  switch (scope.type) {
    case 'cluster':
      return 'the cluster'
    case 'zone':
      return `zone ${scope.zone}`
    case 'table':
      return `table ${scope.tableId}`
    case 'range':
      return `range ${scope.rangeId}`
  }
}

/** What is left of a rule, as it was written. */
function wordsOf({ id: _, scope: __, override, ...says }: PlacementRule): string {
  return Object.entries(override === true ? { ...says, override } : says)
    .map(([name, value]) => `${name} ${JSON.stringify(value)}`)
    .join(', ')
}
