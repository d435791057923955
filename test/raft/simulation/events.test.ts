import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { AppendReply, Message } from '../../../src/raft/core/messages.ts'
import { checkEvents } from './check-events.ts'
import type { RaftEvent } from './events.ts'
import { runSeed } from './run.ts'
import type { Settings } from './settings.ts'

/** So much happens that some runs have everything, whatever else changes about them. */
const adjust = (settings: Settings): Settings => ({
  ...settings,
  operatorIntervalMs: 80,
  emphasis: ['leader cut off', 'crash by kill'],
})

function traceOf(seed: number): { readonly lines: string[]; readonly hash: string } {
  const lines: string[] = []
  const { hash, failure } = runSeed({ seed, adjust, onEvent: (line) => lines.push(line) })
  assert.equal(failure, undefined, failure?.message)
  return { lines, hash }
}

suite('the trace of a run', () => {
  const seeds = [1, 3, 6, 7, 9]
  const traces = new Map(seeds.map((seed) => [seed, traceOf(seed)]))
  const linesOf = (seed: number): string[] => traces.get(seed)?.lines ?? []

  test('is whole: every term, vote and commit index follows from it', () => {
    const counts = new Map<string, number>()
    for (const seed of seeds) {
      const summary = checkEvents(linesOf(seed))
      assert.equal(summary.events, linesOf(seed).length - 1)
      for (const [what, count] of summary.counts) counts.set(what, (counts.get(what) ?? 0) + count)
    }
    const events =
      'init stop becomeFollower becomePreCandidate becomeCandidate becomeLeader send receive append truncate commit ' +
      'applyConfiguration rollbackConfiguration write durable reset restore takeId'
    const kinds =
      'preVote preVoteReply vote voteReply append appendReply heartbeat heartbeatReply snapshotOffer timeoutNow'
    const receipts = kinds.split(' ').map((kind) => `receive ${kind}`)
    for (const what of [...events.split(' '), ...receipts]) {
      assert.ok((counts.get(what) ?? 0) > 0, `never: ${what}`)
    }
  })

  test('is the same each time, and changes nothing', () => {
    for (const [seed, { lines, hash }] of traces) {
      assert.equal(runSeed({ seed, adjust }).hash, hash)
      if (seed === 1) assert.deepEqual(traceOf(seed).lines, lines)
    }
  })

  /** Changes the first event after a third of a run that `pick` finds, and expects the checker to say why that cannot be. */
  const refuses = (
    problem: RegExp,
    pick: (event: RaftEvent, next: RaftEvent | undefined, later: () => readonly string[]) => boolean,
    change: (event: Record<string, unknown>) => unknown,
  ): void => {
    const parse = (line: string | undefined): RaftEvent | undefined =>
      line === undefined ? undefined : (JSON.parse(line) as RaftEvent)
    const find = (lines: string[]): number =>
      lines.findIndex(
        (line, i) =>
          i > lines.length / 3 &&
          pick(parse(line) as RaftEvent, parse(lines[i + 1]), () => lines.slice(i + 1)),
      )
    const lines = seeds.map(linesOf).find((all) => find(all) !== -1) ?? assert.fail(`nothing for ${problem}`)
    const at = find(lines)
    const event = JSON.parse(lines[at] as string) as Record<string, unknown>
    const changed = change(event)
    const rest = lines.slice(at + 1)
    if (changed === undefined) {
      // It is left out, and nobody would know by the numbers.
      const renumbered = rest.map((line) => {
        const later = JSON.parse(line) as { sequence: number }
        return JSON.stringify({ ...later, sequence: later.sequence - 1 })
      })
      assert.throws(() => checkEvents([...lines.slice(0, at), ...renumbered]), problem)
    } else
      assert.throws(() => checkEvents([...lines.slice(0, at), JSON.stringify(changed), ...rest]), problem)
  }

  test('does not pass with something missing or wrong', () => {
    const is = (name: string) => (event: RaftEvent) => event.event === name
    const leaveOut = (): undefined => undefined
    const more = (name: string) => (event: Record<string, unknown>) => ({
      ...event,
      [name]: Number(event[name]) + 1,
    })
    const about = (name: string, kind: string) => (event: RaftEvent) =>
      (event.event === 'send' || event.event === 'receive') &&
      event.event === name &&
      (event.message as { kind: string }).kind === kind
    refuses(/an event is missing/, is('send'), (event) => ({
      ...event,
      sequence: Number(event.sequence) + 1,
    }))
    refuses(/time goes back/, is('receive'), (event) => ({ ...event, timeMs: 0 }))
    // One that arrives.
    const arrives = (
      event: RaftEvent,
      _next: RaftEvent | undefined,
      later: () => readonly string[],
    ): boolean => {
      if (event.event !== 'send' || !about('send', 'heartbeat')(event)) return false
      const message = JSON.stringify(event.message)
      return later().some((line) => line.includes('"receive"') && line.includes(message))
    }
    refuses(/nobody sent this message/, arrives, leaveOut)
    refuses(/its log/, is('append'), leaveOut)
    refuses(/its commit index moved without being told/, is('commit'), leaveOut)
    // The one that made the majority.
    const decides = (kind: string, what: string) => (event: RaftEvent, next: RaftEvent | undefined) =>
      about('receive', kind)(event) && next?.event === what && next.node === event.node
    refuses(/no majority voted for it/, decides('voteReply', 'becomeLeader'), leaveOut)
    refuses(/nothing that it received has this term/, is('becomeCandidate'), leaveOut)
    refuses(/nothing that it received has this term/, about('receive', 'vote'), leaveOut)
    // It made the end of the log durable, which is acknowledged at once.
    const acknowledged = (event: RaftEvent, next: RaftEvent | undefined): boolean =>
      event.event === 'durable' &&
      next?.event === 'send' &&
      next.node === event.node &&
      (next.message as Message).kind === 'appendReply' &&
      (next.message as AppendReply).accepted &&
      (next.message as AppendReply).index === next.last
    refuses(/it acknowledges what is not durable/, acknowledged, leaveOut)
    refuses(/no majority has acknowledged that/, decides('appendReply', 'commit'), leaveOut)
    refuses(/its term goes back/, is('receive'), (event) => ({ ...event, term: Number(event.term) - 1 }))
    refuses(/it voted twice|nobody asked/, is('durable'), (event) => ({
      ...event,
      vote: Number(event.vote) + 1,
    }))
    refuses(/that was never written/, is('write'), leaveOut)
    refuses(
      /it committed what it does not have|no majority|it was not told|earlier term|does not reach so far/,
      is('commit'),
      more('commit'),
    )
    refuses(/its log should end/, is('send'), more('last'))
    const follows = (event: RaftEvent): boolean => event.event === 'send' && event.role !== 'leader'
    refuses(/its role should be/, follows, (event) => ({ ...event, role: 'leader' }))
  })
})
