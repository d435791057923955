import type { AnswerOrigin, ImaginedChange, WhatIfAnswer } from '../control-plane/index.ts'
import { describeMove, nodeText, planText, rangeText } from '../placement/index.ts'
import { connectionFlags, connectionHelp, withCluster } from './connection.ts'
import { readJson } from './files.ts'
import { andMore, json, moment } from './text.ts'
import { type Command, noMore, oneOf, Usage, wholeNumber, wholeWord } from './words.ts'

const defaultMoves = 20
const whatIfSeconds = 130

/** Why something is as it is. */
export const explain: Command = {
  about: 'why a range or a node is as it is, why not otherwise, and what comes next',
  help: `keelson explain range N --cluster ID --seeds HOST:PORT,…
keelson explain node NAME --cluster ID --seeds HOST:PORT,…

${connectionHelp}`,
  flags: connectionFlags,
  run: async ([kind, which, ...more], flags, { out }) => {
    const of = oneOf(kind, ['range', 'node'], 'explain')
    if (which === undefined) throw new Usage(`which ${of} is to be explained?`)
    noMore(more)
    if (of === 'range') {
      const rangeId = wholeWord(which, 'explain range', 1)
      const answer = await withCluster(flags, ({ placement }, call) => placement.explain(rangeId, call))
      out(flags.json === true ? json(answer) : `${rangeText(answer.explanation)}\n${origin(answer.madeBy)}`)
      return
    }
    const answer = await withCluster(flags, ({ placement }, call) => placement.explainNode(which, call))
    out(flags.json === true ? json(answer) : `${nodeText(answer.explanation)}\n${origin(answer.madeBy)}`)
  },
}

/** What the leader wants to do. */
export const plan: Command = {
  about: 'what the leader wants to move and why, what it cannot, and how good any plan could be',
  help: `keelson plan [--limit N] --cluster ID --seeds HOST:PORT,…

  --limit N               moves to show, at most 500; default: ${defaultMoves}

${connectionHelp}`,
  flags: [...connectionFlags, 'limit'],
  run: async (words, flags, { out }) => {
    noMore(words)
    const moves = wholeNumber(flags, 'limit', 0) ?? defaultMoves
    const answer = await withCluster(flags, ({ placement }, call) => placement.plan({ ...call, moves }))
    if (flags.json === true) {
      out(json(answer))
      return
    }
    const { plan: told, bounds, moveCount, underWay } = answer
    out(`${planText(told, moves, bounds)}\n`)
    out(andMore(moveCount, told.moves.length, 'moves', '; --limit shows them'))
    out(andMore(told.blockedCount, told.blocked.length, 'ranges are blocked', ''))
    out(`${underWay} moves under way\n${origin(answer.madeBy)}`)
  },
}

/** What would come of a change. */
export const whatIf: Command = {
  about: 'what would come of a loss, of new nodes or of more load; nothing is changed',
  help: `keelson what-if lose node NAME… --cluster ID --seeds HOST:PORT,…
keelson what-if lose domain TIER=VALUE --cluster ID --seeds HOST:PORT,…
keelson what-if --change FILE --cluster ID --seeds HOST:PORT,…

  --change FILE           a change as JSON, - for standard input. All that is in it happens at once:
                          { "loseNodes": ["db1"], "loseDomain": { "tier": "zone", "value": "b" },
                            "addNodes": [{ "nodeId": "db9", "locality": "zone=a", "capacity": { "bytes": 1000000 } }],
                            "drainNodes": ["db2"], "overloadStores": { "db3": "overloaded" }, "growLoad": { "bytes": 1.5 } }
  --limit N               moves to show, at most 100; default: ${defaultMoves}
  --rounds N              plans that are carried out, at most; default: 1000
  --seed N                decides among nodes that are equally good; default: 0

${connectionHelp}`,
  flags: [...connectionFlags, 'change', 'limit', 'rounds', 'seed'],
  run: async (words, flags, terminal) => {
    if (flags.change !== undefined) noMore(words)
    const change =
      flags.change === undefined
        ? lossOf(words)
        : (readJson(flags.change, terminal.input, 'a change as JSON') as ImaginedChange)
    const [maximumRounds, seed] = [wholeNumber(flags, 'rounds', 1), wholeNumber(flags, 'seed', 0)]
    const limit = wholeNumber(flags, 'limit', 0) ?? defaultMoves
    const options = {
      ...(maximumRounds === undefined ? {} : { maximumRounds }),
      ...(seed === undefined ? {} : { seed }),
    }
    const answer = await withCluster(
      flags,
      ({ placement }, call) => placement.whatIf(change, { ...options, ...call }),
      whatIfSeconds,
    )
    terminal.out(flags.json === true ? json(answer) : whatIfText(answer, limit))
  },
}

/** The change that a few words say. */
function lossOf([verb, kind, ...which]: readonly string[]): ImaginedChange {
  if (verb === undefined)
    throw new Usage('what-if takes --change FILE, or lose node NAME…, or lose domain TIER=VALUE')
  oneOf(verb, ['lose'], 'what-if')
  const of = oneOf(kind, ['node', 'domain'], 'what-if lose')
  if (of === 'node') {
    if (which.length === 0) throw new Usage('which node is lost?')
    return { loseNodes: which }
  }
  const [domain = '', ...more] = which
  noMore(more)
  const [, tier, value] = /^([^=]+)=(.+)$/.exec(domain) ?? []
  if (tier === undefined || value === undefined)
    throw new Usage(`what-if lose domain takes TIER=VALUE, such as zone=b, not '${domain}'`)
  return { loseDomain: { tier, value } }
}

function whatIfText({ result, madeBy }: WhatIfAnswer, limit: number): string {
  const { explained, moves, moveCount, blocked, blockedCount } = result
  const lines = [...explained]
  for (const move of moves.slice(0, limit))
    lines.push(`  range ${move.rangeId}: ${describeMove(move)}; ${move.reason}`)
  const told = Math.min(limit, moves.length)
  if (moveCount > told) lines.push(`  and ${moveCount - told} more moves`)
  for (const { rangeId, why } of blocked) lines.push(`  range ${rangeId} is blocked: ${why}`)
  if (blockedCount > blocked.length) lines.push(`  and ${blockedCount - blocked.length} more are blocked`)
  return `${lines.join('\n')}\n${origin(madeBy)}`
}

function origin({ leader, epoch, plannedAtMs }: AnswerOrigin): string {
  return `by ${leader} under epoch ${epoch}, which planned last at ${moment(plannedAtMs)}\n`
}
