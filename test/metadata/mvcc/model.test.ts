import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type {
  Compare,
  KeySelector,
  KeyValue,
  Operation,
  Transaction,
} from '../../../src/interfaces/metadata-store.ts'
import type { MetadataCommand } from '../../../src/metadata/mvcc/commands.ts'
import type { MvccReader } from '../../../src/metadata/mvcc/state-types.ts'
import type { Version } from '../../../src/metadata/mvcc/version.ts'
import { openOutcome, readTransactionResult } from '../../../src/metadata/mvcc/wire.ts'
import { Machine } from './machine.ts'
import { asText, type ModelEntry, NaiveModel, universe } from './naive-model.ts'

type Step =
  | { readonly type: 'txn'; readonly transaction: Transaction }
  | { readonly type: 'compact'; readonly back: number }
  | { readonly type: 'grant' }
  | { readonly type: 'revoke'; readonly pick: number }
  | { readonly type: 'checkpoint'; readonly pick: number }
  | { readonly type: 'clear' }
  | { readonly type: 'raise'; readonly by: number }

const key = fc.constantFrom(...universe).map(utf8)
const value = fc.constantFrom('', 'x', 'y', 'zz').map(utf8)
const select: fc.Arbitrary<KeySelector> = fc.oneof(
  key.map((each) => ({ key: each })),
  fc.tuple(key, key).map(([from, end]) => ({ key: from, end })),
  key.map((from) => ({ key: from, end: null })),
  fc.constant({ key: new Uint8Array(0), end: null }),
)
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(key, value, fc.nat(5))
      .map(([k, v, session]) => ({ type: 'put' as const, key: k, value: v, session })),
  },
  { weight: 2, arbitrary: select.map((each) => ({ type: 'delete' as const, select: each })) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(select, fc.nat(4))
      .map(([each, limit]) => ({ type: 'range' as const, select: each, limit })),
  },
)
const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc
    .tuple(
      key,
      fc.constantFrom(
        'createRevision' as const,
        'modRevision' as const,
        'version' as const,
        'session' as const,
      ),
      fc.constantFrom('=' as const, '!=' as const, '<' as const, '>' as const),
      fc.nat(12),
    )
    .map(([k, target, is, operand]) => ({ key: k, target, is, operand })),
  fc
    .tuple(key, fc.constantFrom('=' as const, '!=' as const), value)
    .map(([k, is, operand]) => ({ key: k, target: 'value' as const, is, operand })),
)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .tuple(
        fc.array(compare, { maxLength: 2 }),
        fc.array(operation, { maxLength: 4 }),
        fc.array(operation, { maxLength: 2 }),
      )
      .map(([conditions, then, otherwise]) => ({
        type: 'txn' as const,
        transaction: { if: conditions, then, else: otherwise },
      })),
  },
  { weight: 2, arbitrary: fc.nat(6).map((back) => ({ type: 'compact' as const, back })) },
  { weight: 2, arbitrary: fc.constant({ type: 'grant' as const }) },
  { weight: 1, arbitrary: fc.nat(5).map((pick) => ({ type: 'revoke' as const, pick })) },
  { weight: 1, arbitrary: fc.nat(5).map((pick) => ({ type: 'checkpoint' as const, pick })) },
  { weight: 1, arbitrary: fc.constant({ type: 'clear' as const }) },
  { weight: 1, arbitrary: fc.integer({ min: -2, max: 5 }).map((by) => ({ type: 'raise' as const, by })) },
)

/** Small numbers stand for the sessions there are; 0 for none, others for one that never was. */
function named(model: NaiveModel, pick: number): number {
  return pick === 0 ? 0 : ([...model.sessions.keys()][pick - 1] ?? 1_000_000 + pick)
}

function withSessions(model: NaiveModel, operations: readonly Operation[]): Operation[] {
  return operations.map((each) =>
    each.type === 'put' ? { ...each, session: named(model, each.session ?? 0) } : each,
  )
}

/** The command of a step, and what the model says to it. */
function play(model: NaiveModel, each: Step): readonly [command: MetadataCommand, expected: unknown] {
  switch (each.type) {
    case 'txn': {
      const transaction = {
        if: each.transaction.if ?? [],
        then: withSessions(model, each.transaction.then ?? []),
        else: withSessions(model, each.transaction.else ?? []),
      }
      return [{ type: 'txn', quotaBytes: 1e9, transaction }, model.txn(transaction)]
    }
    case 'compact': {
      const revision = Math.max(0, model.revision - each.back)
      model.compactRevision = Math.max(model.compactRevision, revision)
      return [{ type: 'compact', revision }, undefined]
    }
    case 'raise': {
      const revision = Math.max(0, model.revision + each.by)
      return [{ type: 'raise', revision }, model.raise(revision)]
    }
    case 'grant':
      return [{ type: 'grant', holder: 'h', ttlMs: 1000 }, model.grant('h', 1000)]
    case 'revoke': {
      const session = named(model, each.pick)
      const expected = model.sessions.has(session) ? 1 : 0
      model.revoke(session)
      return [{ type: 'revoke', sessionIds: [session] }, expected]
    }
    case 'checkpoint': {
      const session = named(model, each.pick)
      const record = model.sessions.get(session)
      const remainingMs = each.pick % 2 === 0 ? undefined : 7
      if (record !== undefined) record.remainingMs = remainingMs
      return [{ type: 'checkpoint', remaining: [{ sessionId: session, remainingMs }] }, undefined]
    }
    case 'clear':
      return [{ type: 'clear' }, undefined]
  }
}

function entryOf(version: Version | KeyValue): ModelEntry {
  return {
    key: asText(version.key),
    value: asText(version.value),
    createRevision: version.createRevision,
    modRevision: version.modRevision,
    version: version.version,
    session: version.session,
  }
}

/** An answer in the model's words. */
function answerOf(command: MetadataCommand, bytes: Uint8Array): unknown {
  try {
    const reader = openOutcome(bytes)
    if (command.type === 'grant' || command.type === 'revoke') return reader.varint()
    if (command.type !== 'txn') return undefined
    const result = readTransactionResult(reader)
    return {
      ...result,
      results: result.results.map((each) => {
        if (each.type === 'put') return { type: 'put', previous: each.previous && entryOf(each.previous) }
        if (each.type === 'delete') return { type: 'delete', deleted: each.deleted.map(entryOf) }
        return { ...each, entries: each.entries.map(entryOf) }
      }),
    }
  } catch (error) {
    assert.ok(KeelsonError.is(error))
    return error.code
  }
}

const all = { key: new Uint8Array(0), end: null }
const noLimits = { entries: 1e6, bytes: 1e9 }

/** The engine shows the model's worlds, revisions and sessions, and no others. */
function same(reader: MvccReader, model: NaiveModel): void {
  assert.equal(reader.revision, model.revision)
  assert.equal(reader.compactRevision, model.compactRevision)
  for (let revision = 0; revision <= model.revision; revision++) {
    if (revision < model.compactRevision) {
      assert.throws(
        () => reader.range(all, noLimits, revision),
        (error) => KeelsonError.hasCode(error, 'COMPACTED'),
      )
      continue
    }
    const world = model.worlds[revision] as ReadonlyMap<string, ModelEntry>
    const { versions, count } = reader.range(all, noLimits, revision)
    assert.equal(count, world.size)
    assert.deepEqual(
      versions.map(entryOf),
      [...world.values()].sort((a, b) => (a.key < b.key ? -1 : 1)),
    )
    if (revision === 0) continue
    const events = reader.eventsOf(revision).map((version) => {
      const before = reader.previousOf(version)
      const text = before === undefined ? undefined : asText(before.value)
      const name = asText(version.key)
      return version.deleted
        ? `delete ${name} before ${text}`
        : `put ${name}=${asText(version.value)} before ${text}`
    })
    assert.deepEqual(events.sort(), model.events(revision))
  }
  assert.deepEqual(
    [...reader.sessions()].map(({ sessionId, holder, ttlMs, remainingMs }) => [
      sessionId,
      { holder, ttlMs, remainingMs },
    ]),
    [...model.sessions].map(([id, record]) => [id, { ...record }]),
  )
}

test('the engine does what the naive model does, and a restart or a snapshot changes nothing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
      const model = new NaiveModel()
      const one = await new Machine().open()
      const commands: MetadataCommand[] = []
      for (const each of steps) {
        const [command, expected] = play(model, each)
        commands.push(command)
        const answer = answerOf(command, await one.one(command))
        if (command.type !== 'compact' && command.type !== 'clear') assert.deepEqual(answer, expected)
      }
      same(one.machine.reader, model)
      await one.machine.verify()
      const digest = one.machine.digest()

      // All in one batch: the same state.
      const batched = await new Machine().open()
      await batched.apply(...commands)
      assert.equal(batched.machine.digest(), digest)

      // Read back from the disk.
      await one.close()
      const again = await new Machine(one.disk).open()
      same(again.machine.reader, model)
      assert.equal(again.machine.digest(), digest)
      assert.equal(again.machine.bytes, batched.machine.bytes)

      // Sent to a replica that had something else.
      const other = await new Machine().open()
      await other.apply({ type: 'grant', holder: 'other', ttlMs: 5 })
      const snapshot = await again.machine.snapshot()
      await other.machine.restore(snapshot.bookkeeping, snapshot.chunks())
      same(other.machine.reader, model)
      assert.equal(other.machine.digest(), digest)
      assert.equal(other.machine.bytes, again.machine.bytes)
      await other.machine.verify()

      // And all go on alike.
      const more: MetadataCommand = {
        type: 'txn',
        quotaBytes: 1e9,
        transaction: { then: [{ type: 'delete', select: all }] },
      }
      const answers = [await batched.one(more), await again.one(more), await other.one(more)]
      assert.deepEqual(answers[1], answers[0])
      assert.deepEqual(answers[2], answers[0])
      const digests = [batched, again, other].map((each) => each.machine.digest())
      assert.equal(new Set(digests).size, 1)
    }),
    { numRuns: 150 },
  )
})
