import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { deferred } from '../../../src/core/async.ts'
import type { LogStore } from '../../../src/interfaces/log-store.ts'
import { Boundaries, type CrashPhase } from '../support/boundaries.ts'
import { entry } from '../support/log.ts'
import { Machine } from '../support/simulated.ts'
import { lostEntries, StoreModel, type StoreOperation } from '../support/store-model.ts'

/** Appends, truncates, compacts, resets and destroys, over some segments, one of which is cleaned and used again. */
const operations: readonly StoreOperation[] = makeScript()

function makeScript(): StoreOperation[] {
  const made: StoreOperation[] = []
  for (let number = 1; number <= 24; number++) {
    const count = { groupId: 1, hardState: { term: 1, votedFor: 0, commit: number } }
    // A group that lives for ever, one that is cut at its end, and one that comes and goes.
    const more =
      number === 2
        ? [{ groupId: 4, entries: [entry(1), entry(2)], metadata: Uint8Array.of(4) }]
        : number % 5 === 0
          ? [{ groupId: 3, entries: [entry(1, number, 50)] }]
          : number % 7 === 0
            ? [{ groupId: 5, reset: { index: number, term: 1 }, entries: [entry(number + 1, 2, 30)] }]
            : []
    const batch = [count, { groupId: 2, entries: [entry(number, 1, 2_500)] }, ...more]
    made.push({ type: 'write', batch, number })
    if (number % 4 === 0) made.push({ type: 'compact', groupId: 2, through: { index: number - 2, term: 1 } })
    if (number === 9) made.push({ type: 'destroy', groupId: 5, tombstone: Uint8Array.of(9) })
  }
  return made
}

interface Run {
  readonly machine: Machine
  readonly boundaries: Boundaries
  /** The first so many operations were acknowledged. */
  readonly acknowledged: number
}

/** Opens a store with a crash at some operation of its disk, and works on it until then or to the end. */
async function work(
  machine: Machine,
  at: number,
  phase: CrashPhase,
  script: readonly StoreOperation[],
): Promise<Run> {
  const crashed = deferred<void>()
  const boundaries = new Boundaries(at, phase, () => {
    machine.restart('power')
    crashed.resolve()
  })
  let acknowledged = 0
  const toTheEnd = async (): Promise<void> => {
    const store = await machine.open({ cleanFromBytes: 0 }, (fs) => boundaries.wrap(fs))
    for (const [i, operation] of script.entries()) {
      await perform(store, operation)
      // A compaction lasts only with the next write.
      if (operation.type !== 'compact') acknowledged = i + 1
    }
    await store.close()
  }
  await Promise.race([crashed.promise, toTheEnd()])
  return { machine, boundaries, acknowledged }
}

function perform(store: LogStore, operation: StoreOperation): Promise<void> {
  if (operation.type === 'write') return store.write(operation.batch)
  if (operation.type === 'compact') return store.compact(operation.groupId, operation.through)
  return store.destroy(operation.groupId, operation.tombstone)
}

/** What is there must be what some first part of the operations makes, with all that was acknowledged. */
async function judge(store: LogStore, least: number, what: string): Promise<void> {
  const model = new StoreModel()
  let fitting: StoreModel | undefined
  for (let count = 0; count <= operations.length && fitting === undefined; count++) {
    if (count > 0) model.apply(operations[count - 1] as StoreOperation)
    if (count >= least && model.fits(store)) fitting = model
  }
  assert.ok(fitting !== undefined, `${what}: no state that ever was, with ${least} operations acknowledged`)
  assert.equal(await fitting.check(store, lostEntries(store)), 0, what)
}

suite('a power cut at each operation of the disk', () => {
  for (const phase of ['before', 'during', 'after'] as const) {
    test(`${phase} it, and once more while the log is opened again`, async () => {
      let at = 1
      let crashes = 0
      const kinds = new Set<string>()
      for (let over = false; !over; at++) {
        const machine = new Machine(at)
        over = await machine.run(async () => {
          const { boundaries, acknowledged } = await work(machine, at, phase, operations)
          for (const kind of boundaries.kinds) kinds.add(kind)
          if (boundaries.count < at) return true
          crashes++
          // The recovery, too, is cut at one of its operations, if it has so many.
          await work(machine, 1 + (at % 5), phase, [])
          const store = await machine.open()
          const what = `crash ${phase} operation ${at}`
          await judge(store, acknowledged, what)
          // It is as good as new.
          await store.write([{ groupId: 9, entries: [entry(1)] }])
          machine.restart('power')
          const again = await machine.open()
          assert.equal(again.recovered().get(9)?.last.index, 1, what)
          await again.close()
          return false
        })
      }
      assert.ok(crashes > 100, `${crashes} crashes`)
      assert.deepEqual([...kinds].sort(), [
        'create',
        'makeDirectory',
        'remove',
        'rename',
        'sync',
        'syncDirectory',
        'write',
      ])
    })
  }
})
