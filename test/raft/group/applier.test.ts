import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { emptyBytes, text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import {
  type Bookkeeping,
  type BookkeepingWrite,
  entryKinds,
  type LogEntry,
  type StateSnapshot,
} from '../../../src/interfaces/index.ts'
import { encodeConfiguration, makeConfiguration } from '../../../src/raft/core/configuration.ts'
import { ConfigurationPool } from '../../../src/raft/core/configuration-pool.ts'
import { Applier, type ApplierLimits } from '../../../src/raft/group/applier.ts'
import { encodeBatchEnvelope } from '../../../src/raft/group/batch-envelope.ts'
import { readBookkeeping } from '../../../src/raft/group/bookkeeping.ts'
import { encodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { type EntryOutcome } from '../../../src/raft/group/outcomes.ts'
import { encodeSessionEntry, type SessionEntry } from '../../../src/raft/group/session-entry.ts'
import { CounterMachine, emptyDisk } from '../support/counter-machine.ts'

interface Harness {
  readonly machine: CounterMachine
  readonly applier: Applier
  readonly outcomes: Map<number, EntryOutcome>
  readonly failures: unknown[]
  /** Resolves when everything that was given has been applied and is durable. */
  readonly idle: () => Promise<void>
  /** Resolves when this entry has been applied. */
  readonly applied: (index: number) => Promise<void>
}

const wide: ApplierLimits = { maximumApplyEntries: 1000, maximumApplyBytes: 1 << 20 }

async function start(machine = new CounterMachine(), limits = wide): Promise<Harness> {
  const outcomes = new Map<number, EntryOutcome>()
  const failures: unknown[] = []
  const applier = new Applier(readBookkeeping(await machine.open()), 7, {
    groupId: 3,
    machine,
    limits,
    configurations: new ConfigurationPool(),
    applied: (entries, results) => {
      entries.forEach((entry, i) => {
        outcomes.set(entry.index, results.at(i))
      })
    },
    applyFailed: (error) => failures.push(error),
  })
  const idle = async () => {
    for (let i = 0; i < 10_000 && applier.queued > 0 && failures.length === 0; i++) await Promise.resolve()
    await applier.flush().catch(() => {})
  }
  const applied = async (index: number) => {
    for (let i = 0; i < 10_000 && applier.applied.index < index; i++) await Promise.resolve()
    assert.equal(applier.applied.index, index)
  }
  return { machine, applier, outcomes, failures, idle, applied }
}

/** Stores its bookkeeping only when it stores its state. */
class Gathering extends CounterMachine {
  #changed: () => readonly BookkeepingWrite[] = () => []

  gatherBookkeeping(changed: () => readonly BookkeepingWrite[]): void {
    this.#changed = changed
  }

  gather(): void {
    for (const { key, value } of this.#changed()) {
      if (value === undefined) this.bookkeeping.delete(key)
      else this.bookkeeping.set(key, value)
    }
  }

  override async flush(): Promise<void> {
    this.gather()
    await super.flush()
  }

  override async snapshot(): Promise<StateSnapshot> {
    this.gather()
    return super.snapshot()
  }

  override async restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    this.gather()
    await super.restore(bookkeeping, chunks)
  }
}

/** Every kind of machine that a group knows. */
const machines = [CounterMachine, Gathering] as const

const configuration = makeConfiguration(1, [{ replicaId: 1, nodeId: 'a', incarnation: 5, role: 'voter' }])

const configured = (index: number, term: number): LogEntry => ({
  index,
  term,
  kind: entryKinds.configuration,
  data: encodeConfiguration(configuration),
})

const noop = (index: number, term: number): LogEntry => ({
  index,
  term,
  kind: entryKinds.noop,
  data: emptyBytes,
})

function command(
  index: number,
  term: number,
  line: string,
  options: { token?: number; id?: [number, number]; acknowledged?: number } = {},
): LogEntry {
  const id = options.id === undefined ? undefined : { session: options.id[0], sequence: options.id[1] }
  const data = encodeEnvelope(utf8(line), options.token ?? 0, id, options.acknowledged ?? 0)
  return { index, term, kind: entryKinds.command, data }
}

function together(
  index: number,
  term: number,
  id: number,
  acknowledgedBelow: number,
  ...lines: [number, string][]
): LogEntry {
  const commands = lines.map(([sequence, line]) => ({ sequence, data: utf8(line) }))
  const data = encodeBatchEnvelope({ tokenSequence: 0, session: id, acknowledgedBelow, commands })
  return { index, term, kind: entryKinds.command, data }
}

const session = (index: number, term: number, entry: SessionEntry): LogEntry => ({
  index,
  term,
  kind: entryKinds.session,
  data: encodeSessionEntry(entry),
})

const register = (index: number, term: number): LogEntry =>
  session(index, term, { type: 'register', maximumSessions: 4, resultsPerSession: 3, unusedBefore: 0 })

function said(outcome: EntryOutcome | undefined): string {
  if (outcome === undefined) return 'nothing'
  if (outcome instanceof Uint8Array) return text(outcome)
  return outcome instanceof KeelsonError ? outcome.code : outcome.map(said).join(' ')
}

test('commands are applied in order and their results go back', async () => {
  const h = await start()
  h.applier.enqueue([noop(1, 1), command(2, 1, 'a+1'), command(3, 1, 'a+2')])
  await h.idle()
  assert.equal(said(h.outcomes.get(2)), '1')
  assert.equal(said(h.outcomes.get(3)), '3')
  assert.deepEqual(h.applier.applied, { index: 3, term: 1 })
  assert.equal(h.applier.sequence, 1)
  assert.equal(h.machine.batches, 1)
})

test('a caller that changes its result changes nothing for those who ask again', async () => {
  for (const machine of machines) {
    const h = await start(new machine())
    h.applier.enqueue([register(1, 1), command(2, 1, 'a+5', { id: [1, 1] })])
    await h.applied(2)
    for (let index = 2; index < 5; index++) {
      const outcome = h.outcomes.get(index)
      assert.equal(said(outcome), '5')
      assert.ok(outcome instanceof Uint8Array)
      outcome.fill(0x39)
      h.applier.enqueue([command(index + 1, 1, 'a+5', { id: [1, 1] })])
      await h.applied(index + 1)
    }
    assert.equal(said(h.outcomes.get(5)), '5')
    await h.idle()
    const { sessions } = readBookkeeping(h.machine.bookkeeping)
    assert.deepEqual(sessions.lookup({ session: 1, sequence: 1 }), { type: 'duplicate', result: utf8('5') })
  }
})

test('bookkeeping that is gathered is that of the end of a batch', async () => {
  const machine = new Gathering()
  const h = await start(machine)
  const entries = [register(1, 1), command(2, 1, 'a+1', { id: [1, 1] }), noop(3, 4)]
  h.applier.enqueue(entries)
  await h.applied(3)
  assert.deepEqual(readBookkeeping(machine.bookkeeping).applied, { index: 0, term: 0 })
  machine.gather()
  const stored = readBookkeeping(machine.bookkeeping)
  assert.deepEqual([stored.applied, stored.sequence, stored.replicaId], [{ index: 3, term: 4 }, 4, 7])
  // The sessions have seen the commands of a batch before the state has.
  machine.gate = async () => machine.gather()
  h.applier.enqueue([command(4, 4, 'a+1', { id: [1, 2] })])
  await h.idle()
  assert.ok(KeelsonError.hasCode(h.failures[0], 'INVARIANT_VIOLATED'))
  assert.deepEqual(readBookkeeping(machine.bookkeeping).applied, { index: 3, term: 4 })
})

test('a command takes effect once, within one batch and across batches', async () => {
  const h = await start()
  h.applier.enqueue([
    register(1, 1),
    command(2, 1, 'a+5', { id: [1, 1] }),
    command(3, 1, 'a+5', { id: [1, 1] }),
  ])
  await h.idle()
  h.applier.enqueue([command(4, 1, 'a+5', { id: [1, 1] }), command(5, 1, 'a+1')])
  await h.idle()
  assert.deepEqual(
    [2, 3, 4, 5].map((i) => said(h.outcomes.get(i))),
    ['5', '5', '5', '6'],
  )
})

test('a command of an unknown session or below the acknowledged ones is refused', async () => {
  const h = await start()
  h.applier.enqueue([
    register(1, 1),
    command(2, 1, 'a+1', { id: [1, 1] }),
    command(3, 1, 'a+1', { id: [1, 2], acknowledged: 2 }),
    command(4, 1, 'a+1', { id: [1, 1] }),
    command(5, 1, 'a+1', { id: [99, 1] }),
  ])
  await h.idle()
  assert.deepEqual(
    [2, 3, 4, 5].map((i) => said(h.outcomes.get(i))),
    ['1', '2', 'SESSION_UNKNOWN', 'SESSION_UNKNOWN'],
  )
  assert.equal(h.machine.values.get('a'), 2)
})

test('a token of an older lease is refused where it is applied', async () => {
  const h = await start()
  h.applier.enqueue([
    noop(1, 3),
    command(2, 3, 'a+1', { token: 3 }),
    noop(3, 4),
    command(4, 4, 'a+1', { token: 3 }),
    command(5, 4, 'a+1', { token: 4 }),
  ])
  await h.idle()
  assert.deepEqual(
    [2, 4, 5].map((i) => said(h.outcomes.get(i))),
    ['1', 'STALE_SEQUENCE', '2'],
  )
  assert.equal(h.applier.sequence, 4)
})

test('what took effect is answered even when its token is stale by then', async () => {
  const h = await start()
  h.applier.enqueue([
    register(1, 1),
    noop(2, 3),
    command(3, 3, 'a+1', { token: 3, id: [1, 1] }),
    noop(4, 4),
    command(5, 4, 'a+1', { token: 3, id: [1, 1] }),
    command(6, 4, 'a+1', { token: 3, id: [1, 2] }),
    command(7, 4, 'a+1', { token: 4, id: [1, 2] }),
  ])
  await h.idle()
  assert.deepEqual(
    [3, 5, 6, 7].map((i) => said(h.outcomes.get(i))),
    ['1', '1', 'STALE_SEQUENCE', '2'],
  )
})

test('a crash goes back to what was flushed, all of it together', async () => {
  for (const machine of machines) await crashAndGoBack(machine)
})

async function crashAndGoBack(machine: (typeof machines)[number]): Promise<void> {
  const disk = emptyDisk()
  const h = await start(new machine(disk))
  h.applier.enqueue([register(1, 1), noop(2, 2), command(3, 2, 'a+1', { id: [1, 1], token: 2 })])
  await h.idle()
  assert.deepEqual(h.applier.flushed, { index: 3, term: 2 })
  h.applier.enqueue([noop(4, 5), command(5, 5, 'a+1')])
  for (let i = 0; i < 50 && h.applier.applied.index < 5; i++) await Promise.resolve()
  assert.equal(h.applier.applied.index, 5)

  const again = await start(new machine(disk))
  assert.deepEqual(again.applier.applied, { index: 3, term: 2 })
  assert.deepEqual(again.applier.flushed, { index: 0, term: 0 }, 'nothing was confirmed yet in this life')
  assert.equal(again.applier.sequence, 2)
  assert.deepEqual(again.applier.termStarts, [
    { index: 1, term: 1 },
    { index: 2, term: 2 },
  ])
  again.applier.enqueue([command(4, 2, 'a+1', { id: [1, 1] }), command(5, 2, 'a+1', { token: 2 })])
  await again.idle()
  assert.deepEqual(
    [4, 5].map((i) => said(again.outcomes.get(i))),
    ['1', '2'],
  )
}

test('the configuration is stored with the state', async () => {
  for (const machine of machines) {
    const disk = emptyDisk()
    const h = await start(new machine(disk))
    h.applier.enqueue([configured(1, 1), command(2, 1, 'a+1')])
    await h.applied(2)
    h.applier.enqueue([noop(3, 1), noop(4, 2)])
    await h.idle()
    const again = await start(new machine(disk))
    assert.deepEqual(again.applier.configuration?.configuration, configuration)
    assert.equal(again.applier.configuration?.index, 1)
    assert.equal(readBookkeeping(await new CounterMachine(disk).open()).replicaId, 7)
  }
})

test('an entry of a newer release stops the replica and says so', async () => {
  const h = await start()
  const strange = command(2, 1, 'a+1')
  strange.data[0] = 9
  h.applier.enqueue([command(1, 1, 'a+1')])
  await h.idle()
  h.applier.enqueue([strange, command(3, 1, 'a+1')])
  await h.idle()
  assert.ok(KeelsonError.hasCode(h.failures[0], 'FORMAT_VERSION'))
  assert.equal(h.machine.values.get('a'), 1)
  await assert.rejects(h.applier.snapshot(), { code: 'FORMAT_VERSION' })
})

test('a state machine that throws stops the replica', async () => {
  const h = await start()
  h.applier.enqueue([command(1, 1, '!')])
  await h.idle()
  assert.equal(h.failures.length, 1)
  h.applier.enqueue([command(2, 1, 'a+1')])
  await h.idle()
  assert.equal(h.machine.executed.length, 0)
})

test('a snapshot takes state, sessions and position along, and the receiver keeps its own identity', async () => {
  const from = await start()
  from.applier.enqueue([
    configured(1, 1),
    register(2, 1),
    noop(3, 2),
    command(4, 2, 'a+1', { id: [2, 1] }),
    command(5, 2, 'b+4'),
  ])
  await from.idle()
  const { position, snapshot } = await from.applier.snapshot()
  assert.deepEqual(position, { index: 5, term: 2 })

  const to = await start()
  to.applier.enqueue([configured(1, 1)])
  await to.idle()
  const foreign = new Map(snapshot.bookkeeping).set('replica', new Uint8Array([1, 99, 0, 0, 0, 0, 0, 0, 0]))
  const misdirected = new Map(foreign).set('group', new Uint8Array([1, 99, 0, 0, 0, 0, 0, 0, 0]))
  await assert.rejects(to.applier.restore(misdirected, snapshot.chunks()), { code: 'CONFLICT' })
  // As an earlier release sends it.
  foreign.delete('group')
  assert.equal(await to.applier.restore(foreign, snapshot.chunks()), true)
  assert.deepEqual(to.applier.applied, position)
  assert.equal(to.applier.sequence, 2)
  assert.equal(readBookkeeping(to.machine.bookkeeping).replicaId, 7)
  assert.equal(readBookkeeping(to.machine.bookkeeping).groupId, 3)
  to.applier.enqueue([command(6, 2, 'a+1', { id: [2, 1] }), command(7, 2, 'b+1')])
  await to.idle()
  assert.deepEqual(
    [6, 7].map((i) => said(to.outcomes.get(i))),
    ['1', '5'],
  )
})

test('an older snapshot changes nothing, a broken one leaves the old state', async () => {
  const from = await start()
  from.applier.enqueue([configured(1, 1), command(2, 1, 'a+1'), command(3, 1, 'a+1')])
  await from.idle()
  const { snapshot } = await from.applier.snapshot()
  const to = await start()
  to.applier.enqueue([configured(1, 1), command(2, 1, 'a+1')])
  await to.idle()
  const broken = async function* (): AsyncIterable<Uint8Array> {
    yield utf8('[["a",99]]')
    throw new KeelsonError('UNREACHABLE', 'the stream broke')
  }
  await assert.rejects(to.applier.restore(snapshot.bookkeeping, broken()), { code: 'UNREACHABLE' })
  const bare = new Map([...snapshot.bookkeeping].filter(([key]) => key !== 'configuration'))
  await assert.rejects(to.applier.restore(bare, snapshot.chunks()), { code: 'MALFORMED' })
  to.applier.enqueue([command(3, 1, 'a+5'), command(4, 1, 'a+1')])
  await to.idle()
  assert.deepEqual(
    [3, 4].map((i) => said(to.outcomes.get(i))),
    ['6', '7'],
  )
  assert.equal(await to.applier.restore(snapshot.bookkeeping, snapshot.chunks()), false)
  assert.equal(to.machine.values.get('a'), 7)
})

/** What stored bookkeeping says: results lie in blocks, as they came in batches. */
function meaning(bookkeeping: Bookkeeping): unknown {
  const { sessions, ...rest } = readBookkeeping(bookkeeping)
  const known = sessions
    .sessionIds()
    .map((id) => Array.from({ length: 9 }, (_, sequence) => sessions.lookup({ session: id, sequence })))
  return [rest, sessions.sessionIds(), sessions.bytes, known]
}

test('how entries fall into batches shows in nothing', async () => {
  const step = fc.record({
    kind: fc.constantFrom('plain', 'id', 'id', 'id', 'id', 'noop', 'register', 'trim'),
    session: fc.constantFrom(1, 2, 3),
    sequence: fc.integer({ min: 1, max: 7 }),
    acknowledged: fc.nat({ max: 4 }),
    token: fc.nat({ max: 3 }),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 40 }),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 1, max: 20 }),
      async (steps, size, askedEach) => {
        let term = 1
        const entries = [register(1, 1), register(2, 1), register(3, 1)]
        for (const each of steps) {
          const index = entries.length + 1
          if (each.kind === 'noop') entries.push(noop(index, ++term))
          else if (each.kind === 'register') entries.push(register(index, term))
          else if (each.kind === 'trim')
            entries.push(session(index, term, { type: 'trim', bytesPerSession: 2, totalBytes: 4 }))
          else
            entries.push(
              command(index, term, 'a+1', {
                token: each.token,
                acknowledged: each.acknowledged,
                ...(each.kind === 'id' ? { id: [each.session, each.sequence] } : {}),
              }),
            )
        }
        const whole = await start()
        const parts = await start(new CounterMachine(), {
          maximumApplyEntries: size,
          maximumApplyBytes: 1 << 20,
        })
        const gathered = new Gathering()
        const now = await start(gathered, { maximumApplyEntries: size, maximumApplyBytes: 1 << 20 })
        whole.applier.enqueue(entries)
        parts.applier.enqueue(entries)
        // Asked now and then, at the end of a batch.
        for (let at = 0; at < entries.length; at += askedEach) {
          now.applier.enqueue(entries.slice(at, at + askedEach))
          await now.applied(Math.min(at + askedEach, entries.length))
          gathered.gather()
        }
        for (const each of [whole, parts, now]) await each.idle()
        assert.deepEqual(whole.failures, [])
        for (const each of [parts, now]) {
          assert.deepEqual(whole.machine.executed, each.machine.executed)
          assert.deepEqual(meaning(whole.machine.bookkeeping), meaning(each.machine.bookkeeping))
          assert.deepEqual([...whole.outcomes.values()].map(said), [...each.outcomes.values()].map(said))
        }
      },
    ),
    { numRuns: 60 },
  )
})

test('a machine that cannot tell whether it has switched fails its replica; a sender that says so does not', async () => {
  const from = await start()
  from.applier.enqueue([noop(1, 1), configured(2, 1), command(3, 1, 'a+1')])
  await from.idle()
  const snapshot = await from.machine.snapshot()
  const poisoned = new KeelsonError('STORE_POISONED', 'it may have switched')
  async function* broken(): AsyncIterable<Uint8Array> {
    yield* snapshot.chunks()
    throw poisoned
  }
  const to = await start()
  await assert.rejects(to.applier.restore(snapshot.bookkeeping, broken()), poisoned)
  assert.deepEqual(to.failures, [])
  to.applier.enqueue([noop(1, 1), command(2, 1, 'b+1')])
  await to.idle()
  assert.equal(said(to.outcomes.get(2)), '1')
  to.machine.onRestored = () => {
    throw poisoned
  }
  await assert.rejects(to.applier.restore(snapshot.bookkeeping, snapshot.chunks()), poisoned)
  assert.deepEqual(to.failures, [poisoned])
  to.applier.enqueue([command(3, 1, 'b+1')])
  await to.idle()
  assert.equal(said(to.outcomes.get(3)), 'nothing')
})

test('of several commands in one entry each has its own place in the session', async () => {
  const h = await start()
  h.applier.enqueue([noop(1, 1), register(2, 1), together(3, 1, 2, 1, [1, 'a+1'], [2, 'a+10'], [3, 'a+100'])])
  await h.idle()
  assert.equal(said(h.outcomes.get(3)), '1 11 111')
  // Asked again with others: what took effect is answered, whatever stands around it.
  h.applier.enqueue([together(4, 1, 2, 2, [2, 'a+10'], [4, 'a+1000']), together(5, 1, 2, 2, [3, 'a+100'])])
  await h.idle()
  assert.equal(said(h.outcomes.get(4)), '11 1111')
  assert.equal(said(h.outcomes.get(5)), '111')
  // By itself, too; and what the client acknowledged is not done again, but forgotten.
  h.applier.enqueue([
    command(6, 1, 'a+1000', { id: [2, 4], acknowledged: 4 }),
    together(7, 1, 2, 4, [3, 'a+100'], [5, 'a+1']),
  ])
  await h.idle()
  assert.equal(said(h.outcomes.get(6)), '1111')
  assert.equal(said(h.outcomes.get(7)), 'SESSION_UNKNOWN 1112')
  h.applier.enqueue([together(8, 1, 77, 1, [1, 'a+1'], [2, 'a+1'])])
  await h.idle()
  assert.equal(said(h.outcomes.get(8)), 'SESSION_UNKNOWN SESSION_UNKNOWN')
  assert.equal(h.machine.values.get('a'), 1112)
})

test('repetitions within one batch of the state machine are found, and entries count by their commands', async () => {
  const h = await start(new CounterMachine(), { maximumApplyEntries: 4, maximumApplyBytes: 1 << 20 })
  h.applier.enqueue([
    noop(1, 1),
    register(2, 1),
    together(3, 1, 2, 1, [1, 'a+1'], [2, 'a+1']),
    together(4, 1, 2, 1, [2, 'a+1'], [3, 'a+1']),
    together(5, 1, 2, 1, [3, 'a+1']),
  ])
  await h.idle()
  assert.deepEqual(
    [3, 4, 5].map((index) => said(h.outcomes.get(index))),
    ['1 2', '2 3', '3'],
  )
  assert.equal(h.machine.batches, 2)
})

test('a command that is applied alone never comes with others', async () => {
  const machine = new CounterMachine()
  Object.assign(machine, { alone: (data: Uint8Array) => text(data) === 'b+1' })
  const h = await start(machine)
  h.applier.enqueue([noop(1, 1), register(2, 1), together(3, 1, 2, 1, [1, 'a+1'], [2, 'a+1'])])
  await h.idle()
  assert.equal(said(h.outcomes.get(3)), '1 2')
  h.applier.enqueue([together(4, 1, 2, 1, [3, 'a+1'], [4, 'b+1'])])
  await h.idle()
  assert.ok(KeelsonError.hasCode(h.failures[0], 'INVARIANT_VIOLATED'))
})
