import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../../src/core/bytes.ts'
import { SessionTable } from '../../../src/raft/group/session-table.ts'

function register(table: SessionTable, index: number, limits: { sessions?: number; results?: number } = {}) {
  return table.apply(
    {
      type: 'register',
      maximumSessions: limits.sessions ?? 10,
      resultsPerSession: limits.results ?? 10,
      unusedBefore: 0,
    },
    index,
  )
}

function execute(table: SessionTable, session: number, sequence: number, index: number, result = 'done') {
  const id = { session, sequence }
  table.touch(id, 0, index)
  table.admit(id)
  table.record(id, utf8(result))
}

test('a command is new once and a duplicate from then on', () => {
  const table = new SessionTable()
  register(table, 1)
  const id = { session: 1, sequence: 1 }
  assert.equal(table.lookup(id).type, 'new')
  table.touch(id, 0, 2)
  table.admit(id)
  assert.equal(table.lookup(id).type, 'pending')
  table.record(id, utf8('done'))
  assert.deepEqual(table.lookup(id), { type: 'duplicate', result: utf8('done') })
})

test('commands of one session may take effect out of order', () => {
  const table = new SessionTable()
  register(table, 1)
  execute(table, 1, 3, 2)
  assert.equal(table.lookup({ session: 1, sequence: 2 }).type, 'new')
  execute(table, 1, 2, 3)
  assert.equal(table.lookup({ session: 1, sequence: 3 }).type, 'duplicate')
})

test('what the client acknowledged is forgotten and refused', () => {
  const table = new SessionTable()
  register(table, 1)
  for (let sequence = 1; sequence <= 4; sequence++) execute(table, 1, sequence, 1 + sequence)
  table.touch({ session: 1, sequence: 5 }, 4, 9)
  assert.equal(table.lookup({ session: 1, sequence: 3 }).type, 'forgotten')
  assert.equal(table.lookup({ session: 1, sequence: 4 }).type, 'duplicate')
  assert.equal(table.bytes, 4)
})

test('a session keeps so many results and never executes what fell out', () => {
  const table = new SessionTable()
  register(table, 1, { results: 2 })
  for (const sequence of [1, 3, 4, 5]) execute(table, 1, sequence, 1 + sequence)
  assert.equal(table.lookup({ session: 1, sequence: 2 }).type, 'forgotten')
  assert.equal(table.lookup({ session: 1, sequence: 3 }).type, 'forgotten')
  assert.equal(table.lookup({ session: 1, sequence: 4 }).type, 'duplicate')
})

test('a new session pushes out the one that was unused for longest', () => {
  const table = new SessionTable()
  register(table, 1, { sessions: 2 })
  register(table, 2, { sessions: 2 })
  execute(table, 1, 1, 3)
  assert.deepEqual(register(table, 4, { sessions: 2 }), [2])
  assert.equal(table.lookup({ session: 2, sequence: 1 }).type, 'unknown')
  assert.equal(table.lookup({ session: 1, sequence: 1 }).type, 'duplicate')
})

test('registering also ends sessions that were not used since an index', () => {
  const table = new SessionTable()
  register(table, 1)
  register(table, 2)
  execute(table, 1, 1, 8)
  const entry = { type: 'register', maximumSessions: 10, resultsPerSession: 1, unusedBefore: 5 } as const
  assert.deepEqual(table.apply(entry, 9), [2])
  assert.deepEqual(table.sessionIds(), [1, 9])
})

test('results are trimmed to limits in bytes, per session and in total', () => {
  const table = new SessionTable()
  register(table, 1)
  register(table, 2)
  execute(table, 1, 1, 3, 'aaaaaaaaaa')
  execute(table, 1, 2, 4, 'bbbbbbbbbb')
  execute(table, 2, 1, 5, 'cccccccccc')
  assert.ok(table.exceeds(15, 1000))
  assert.deepEqual(table.apply({ type: 'trim', bytesPerSession: 15, totalBytes: 1000 }, 6), [])
  assert.equal(table.lookup({ session: 1, sequence: 1 }).type, 'forgotten')
  assert.equal(table.lookup({ session: 1, sequence: 2 }).type, 'duplicate')
  assert.ok(!table.exceeds(15, 1000))
  assert.deepEqual(table.apply({ type: 'trim', bytesPerSession: 15, totalBytes: 10 }, 7), [1])
  assert.equal(table.bytes, 10)
})

test('an evicted session is unknown', () => {
  const table = new SessionTable()
  register(table, 1)
  execute(table, 1, 1, 2)
  assert.deepEqual(table.apply({ type: 'evict', sessions: [1, 99] }, 3), [1])
  assert.equal(table.lookup({ session: 1, sequence: 1 }).type, 'unknown')
  assert.equal(table.bytes, 0)
})

test('a table restored from its writes is the same table', () => {
  const step = fc.record({
    kind: fc.constantFrom('register', 'command', 'command', 'command', 'evict', 'trim'),
    session: fc.nat({ max: 12 }),
    sequence: fc.integer({ min: 1, max: 8 }),
    acknowledged: fc.nat({ max: 8 }),
    bytes: fc.nat({ max: 20 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const stored = new Map<string, Uint8Array>()
      let table = new SessionTable()
      steps.forEach((each, i) => {
        const index = i + 1
        const id = { session: each.session, sequence: each.sequence }
        if (each.kind === 'register') register(table, index, { sessions: 4, results: 3 })
        else if (each.kind === 'evict') table.apply({ type: 'evict', sessions: [each.session] }, index)
        else if (each.kind === 'trim')
          table.apply({ type: 'trim', bytesPerSession: 25, totalBytes: 60 }, index)
        else {
          const known = table.lookup(id).type
          table.touch(id, each.acknowledged, index)
          if (known === 'new') {
            table.admit(id)
            table.record(id, new Uint8Array(each.bytes).fill(index))
          }
        }
        for (const { key, value } of table.takeWrites()) {
          if (value === undefined) stored.delete(key)
          else stored.set(key, value)
        }
        const restored = SessionTable.restore(stored)
        assert.deepEqual(restored.sessionIds(), table.sessionIds())
        assert.equal(restored.bytes, table.bytes)
        for (const session of table.sessionIds()) {
          for (let sequence = 1; sequence <= 9; sequence++) {
            assert.deepEqual(restored.lookup({ session, sequence }), table.lookup({ session, sequence }))
          }
        }
        // A crash at any point goes on as if it had not been.
        if (i % 3 === 0) table = restored
      })
    }),
    { numRuns: 60 },
  )
})

test('the results of a batch are one block, which goes with the last of them', () => {
  const table = new SessionTable()
  register(table, 1)
  for (const sequence of [1, 2, 4]) execute(table, 1, sequence, 1 + sequence)
  const keys = (): string[] => table.takeWrites().map(({ key, value }) => (value ? '+' : '-') + key)
  assert.deepEqual(keys(), ['+results/1/1', '+session/1'])
  execute(table, 1, 3, 6)
  assert.deepEqual(keys(), ['+results/1/3', '+session/1'])
  table.touch({ session: 1, sequence: 5 }, 4, 7)
  assert.deepEqual(keys(), ['-results/1/3', '+session/1'])
  table.touch({ session: 1, sequence: 6 }, 5, 8)
  assert.deepEqual(keys(), ['-results/1/1', '+session/1'])
  execute(table, 1, 7, 9)
  keys()
  table.apply({ type: 'evict', sessions: [1] }, 10)
  assert.deepEqual(keys(), ['-session/1', '-results/1/7'])
})

test('of a stored block, what the client acknowledged does not come back', () => {
  const table = new SessionTable()
  const stored = new Map<string, Uint8Array>()
  const store = (): void => {
    for (const { key, value } of table.takeWrites()) {
      if (value === undefined) stored.delete(key)
      else stored.set(key, value)
    }
  }
  register(table, 1)
  for (const sequence of [1, 2, 3]) execute(table, 1, sequence, 1 + sequence)
  store()
  table.touch({ session: 1, sequence: 4 }, 3, 5)
  store()
  const restored = SessionTable.restore(stored)
  assert.equal(restored.lookup({ session: 1, sequence: 2 }).type, 'forgotten')
  assert.equal(restored.lookup({ session: 1, sequence: 3 }).type, 'duplicate')
  assert.equal(restored.bytes, table.bytes)
})

test('what a client acknowledged out of order is not kept for the little that it did not', () => {
  const table = new SessionTable()
  const stored = new Map<string, Uint8Array>()
  const store = () => {
    for (const { key, value } of table.takeWrites()) {
      if (value === undefined) stored.delete(key)
      else stored.set(key, value)
    }
  }
  register(table, 1, { results: 100 })
  for (let batch = 1; batch <= 20; batch++) {
    execute(table, 1, batch, 2 * batch, 'x'.repeat(10_000))
    execute(table, 1, 1_000 + batch, 2 * batch + 1, `late ${batch}`)
    store()
  }
  table.touch({ session: 1, sequence: 2_000 }, 1_000, 100)
  store()
  let bytes = 0
  for (const value of stored.values()) bytes += value.length
  assert.ok(bytes < 1_000, `${bytes} bytes`)
  const restored = SessionTable.restore(stored)
  for (const each of [table, restored]) {
    assert.equal(each.lookup({ session: 1, sequence: 20 }).type, 'forgotten')
    for (let batch = 1; batch <= 20; batch++) {
      const known = each.lookup({ session: 1, sequence: 1_000 + batch })
      assert.ok(known.type === 'duplicate')
      assert.deepEqual(known.result.slice(), utf8(`late ${batch}`))
      assert.ok(known.result.buffer.byteLength < 1_000)
    }
    assert.equal(each.bytes, table.bytes)
  }
  // And what was made anew goes like any other.
  table.touch({ session: 1, sequence: 3_000 }, 2_000, 101)
  store()
  assert.deepEqual([...stored.keys()], ['session/1'])
})

test('bookkeeping that cannot be read is corruption', () => {
  const header = ['session/1', new Uint8Array([2, 10, 1, 1])] as const
  const blocks = [[1], [1, 1, 0], [1, 0, 5, 1], [1, 0, 0, 0, 0], []]
  for (const block of blocks) {
    const damaged = new Map<string, Uint8Array>([[...header], ['results/1/1', new Uint8Array(block)]])
    assert.throws(() => SessionTable.restore(damaged), { code: 'CORRUPTION' }, JSON.stringify(block))
  }
  const stored = new Map([['session/1', new Uint8Array([1, 2])]])
  assert.throws(() => SessionTable.restore(stored), { code: 'CORRUPTION' })
  const orphan = new Map([['result/1/1', new Uint8Array(1)]])
  assert.throws(() => SessionTable.restore(orphan), { code: 'CORRUPTION' })
  const newer = new Map([['session/1', new Uint8Array([9])]])
  assert.throws(() => SessionTable.restore(newer), { code: 'FORMAT_VERSION' })
})
