import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../../src/core/errors.ts'
import { entryKinds, type LogEntry } from '../../../src/interfaces/index.ts'
import { type PendingProposal, PendingProposals } from '../../../src/raft/group/pending-proposals.ts'
import { PendingReads } from '../../../src/raft/group/pending-reads.ts'

suite('pending proposals', () => {
  const outcomes: string[] = []
  function proposal(name: string, bytes = 10): PendingProposal {
    return {
      kind: entryKinds.command,
      data: new Uint8Array(bytes),
      index: 0,
      term: 0,
      settle: (outcome, index) => {
        const what =
          outcome instanceof KeelsonError ? `${outcome.code}/${outcome.outcome}` : `result ${outcome[0]}`
        outcomes.push(`${name}@${index} ${what}`)
      },
    }
  }
  const entries = (from: number, terms: readonly number[]): LogEntry[] =>
    terms.map((term, i) => ({ index: from + i, term, kind: entryKinds.command, data: new Uint8Array(0) }))
  const results = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => new Uint8Array([from + i]))

  function make(...names: string[]): PendingProposals {
    outcomes.length = 0
    const pending = new PendingProposals()
    for (const name of names) pending.add(proposal(name))
    return pending
  }

  test('get the outcome of their own entry', () => {
    const pending = make('a', 'b')
    pending.appended(pending.takeWaiting(), 5, 2)
    pending.applied(entries(3, [2, 2, 2]), results(3, 3))
    assert.deepEqual(outcomes, ['a@5 result 5'])
    assert.equal(pending.count, 1)
    pending.applied(entries(6, [2]), results(6, 1))
    assert.deepEqual(outcomes, ['a@5 result 5', 'b@6 result 6'])
    assert.equal(pending.bytes, 0)
  })

  test('had no effect when another entry is applied in their place', () => {
    const pending = make('a')
    pending.appended(pending.takeWaiting(), 5, 2)
    pending.applied(entries(5, [3]), results(5, 1))
    assert.deepEqual(outcomes, ['a@5 NOT_LEADER/none'])
  })

  test('are unknown when a snapshot goes over them', () => {
    const pending = make('a', 'b')
    pending.appended(pending.takeWaiting(), 5, 2)
    pending.skippedTo(5)
    assert.deepEqual(outcomes, ['a@5 OUTCOME_UNKNOWN/unknown'])
    pending.applied(entries(9, [4]), results(9, 1))
    assert.deepEqual(outcomes, ['a@5 OUTCOME_UNKNOWN/unknown', 'b@6 OUTCOME_UNKNOWN/unknown'])
  })

  test('are unknown when their entry was cut off and its index is used again', () => {
    const pending = make('a', 'b')
    pending.appended(pending.takeWaiting(), 5, 2)
    pending.add(proposal('c'))
    pending.appended(pending.takeWaiting(), 6, 4)
    assert.deepEqual(outcomes, ['b@6 OUTCOME_UNKNOWN/unknown'])
    pending.applied(entries(5, [2, 4]), results(5, 2))
    assert.deepEqual(outcomes.slice(1), ['a@5 result 5', 'c@6 result 6'])
  })

  test('that are abandoned leave no trace before they are appended, and stay in the log after', () => {
    const pending = make('a')
    const b = proposal('b')
    pending.add(b)
    assert.equal(pending.abandon(b), 'none')
    assert.equal(pending.count, 1)
    const [a] = pending.takeWaiting()
    assert.ok(a !== undefined)
    pending.appended([a], 1, 1)
    assert.equal(pending.abandon(a), 'unknown')
    pending.applied(entries(1, [1]), results(1, 1))
    assert.deepEqual(outcomes, [])
    assert.equal(pending.count, 0)
  })

  test('are taken in portions', () => {
    const pending = make('a', 'b', 'c')
    assert.equal(pending.takeWaiting(25).length, 2)
    assert.equal(pending.takeWaiting(1).length, 1)
    assert.ok(!pending.hasWaiting)
  })

  test('fail together, each with what is known of it', () => {
    const pending = make('a')
    pending.appended(pending.takeWaiting(), 1, 1)
    pending.add(proposal('b'))
    pending.failWaiting(new KeelsonError('CLOSED', 'closed'))
    pending.failAppended(Number.POSITIVE_INFINITY, new KeelsonError('OUTCOME_UNKNOWN', 'closed'))
    assert.deepEqual(outcomes, ['b@0 CLOSED/none', 'a@1 OUTCOME_UNKNOWN/unknown'])
    assert.equal(pending.count, 0)
  })

  test('of earlier terms can be given up alone', () => {
    const pending = make('a')
    assert.equal(pending.oldestTerm, undefined)
    pending.appended(pending.takeWaiting(), 1, 1)
    pending.add(proposal('b'))
    pending.appended(pending.takeWaiting(), 2, 3)
    assert.equal(pending.oldestTerm, 1)
    pending.failAppended(3, new KeelsonError('OUTCOME_UNKNOWN', 'gone'))
    assert.deepEqual(outcomes, ['a@1 OUTCOME_UNKNOWN/unknown'])
    assert.equal(pending.oldestTerm, 3)
  })

  test('by the thousand keep their order', () => {
    const pending = make()
    for (let i = 0; i < 10_000; i++) pending.add(proposal(String(i)))
    pending.appended(pending.takeWaiting(), 1, 1)
    for (let from = 1; from <= 10_000; from += 100) {
      pending.applied(entries(from, Array<number>(100).fill(1)), results(from, 100))
    }
    assert.equal(outcomes.length, 10_000)
    assert.ok(outcomes.every((line, i) => line.startsWith(`${i}@${i + 1} `)))
  })
})

suite('pending reads', () => {
  test('of one turn share a request and wait for its index', () => {
    const reads = new PendingReads(0)
    const log: string[] = []
    const add = (name: string) =>
      reads.add({
        request: { mode: 'readIndex', from: 'leader' },
        settle: (error) => log.push(`${name} ${error?.code ?? 'done'}`),
      })
    add('a')
    add('b')
    const { context: first } = reads.request()
    add('c')
    const { context: second } = reads.request()
    assert.notEqual(first, second)
    reads.confirmed(first, 7, 5)
    assert.deepEqual(log, [])
    reads.applied(7)
    assert.deepEqual(log, ['a done', 'b done'])
    reads.confirmed(second, 7, 9)
    assert.deepEqual(log.slice(2), ['c done'])
    add('d')
    reads.failed(reads.request().context, new KeelsonError('NOT_LEADER', 'no'))
    add('e')
    reads.failAll(new KeelsonError('CLOSED', 'closed'))
    assert.deepEqual(log.slice(3), ['d NOT_LEADER', 'e CLOSED'])
    assert.equal(reads.count, 0)
  })

  test('of one turn that ask differently have requests of their own', () => {
    const reads = new PendingReads(0)
    const done: string[] = []
    const add = (name: string, mode: 'readIndex' | 'lease', from: 'leader' | 'any') =>
      reads.add({ request: { mode, from }, settle: () => done.push(name) })
    add('a', 'lease', 'leader')
    add('b', 'readIndex', 'leader')
    add('c', 'lease', 'leader')
    add('d', 'lease', 'any')
    const requests = [reads.request(), reads.request(), reads.request()]
    assert.equal(reads.hasWaiting, false)
    assert.deepEqual(
      requests.map(({ request }) => `${request.mode} ${request.from}`),
      ['lease leader', 'readIndex leader', 'lease any'],
    )
    for (const { context } of requests.reverse()) reads.confirmed(context, 1, 1)
    assert.deepEqual(done, ['d', 'b', 'a', 'c'])
  })

  test('that are answered out of order do not wait for each other', () => {
    const reads = new PendingReads(0)
    const done: string[] = []
    const add = (name: string, mode: 'readIndex' | 'lease') =>
      reads.add({ request: { mode, from: 'any' }, settle: () => done.push(name) })
    add('by a round', 'readIndex')
    add('by the lease', 'lease')
    const [round, lease] = [reads.request(), reads.request()]
    reads.confirmed(lease.context, 12, 5)
    reads.confirmed(round.context, 10, 5)
    reads.applied(10)
    assert.deepEqual(done, ['by a round'])
    reads.applied(12)
    assert.deepEqual(done, ['by a round', 'by the lease'])
    assert.equal(reads.count, 0)
  })
})
