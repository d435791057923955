import assert from 'node:assert/strict'
import { sleep } from '../../../src/core/async.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import type { GroupWrite, LogEntry, LogStore } from '../../../src/interfaces/log-store.ts'
import { entry } from './log.ts'
import { Machine, type MachineOptions } from './simulated.ts'
import { lostEntries, StoreModel, type StoreOperation } from './store-model.ts'

/** How a run ended. */
export interface SwarmOutcome {
  /** The store found damage and did not open; damage had been done. */
  readonly refused: boolean
  readonly opened: number
  /** Entries that were lost to damage that was contained. */
  readonly lost: number
  readonly operations: number
  readonly faults: readonly (readonly [kind: string, count: number])[]
}

/** What may go wrong in a run; drawn from its seed. */
interface Settings {
  readonly rounds: number
  readonly dataBytes: number
  readonly outstanding: number
  readonly contain: boolean
  readonly cleanFromBytes: number
  readonly segmentBytes: number
  readonly syncFailures: boolean
  readonly writeFailures: boolean
  readonly readFailures: boolean
  readonly full: boolean
  readonly slow: boolean
  readonly damage: boolean
  readonly lostSyncs: boolean
  readonly misdirected: boolean
}

function draw(random: SeededRandom): Settings {
  const misdirected = chance(random, 0.15)
  return {
    rounds: 2 + random.integer(5),
    dataBytes: [20, 200, 1_500][random.integer(3)] as number,
    // A misdirected write may cost the last batch, which nothing confirms: one operation, then.
    outstanding: misdirected ? 1 : 1 + random.integer(5),
    contain: chance(random, 0.6),
    cleanFromBytes: chance(random, 0.6) ? random.integer(3) * 16 * 1024 : 2 ** 40,
    segmentBytes: ([16, 32][random.integer(2)] as number) * 1024,
    syncFailures: chance(random, 0.25),
    writeFailures: chance(random, 0.15),
    readFailures: chance(random, 0.2),
    full: chance(random, 0.2),
    slow: chance(random, 0.3),
    damage: chance(random, 0.4),
    lostSyncs: chance(random, 0.1),
    misdirected,
  }
}

const marker = 1

/**
 * A log of segments on a simulated disk under whatever its seed has in store. Everything that was acknowledged must be
 * there after each crash, nothing that was never written, each batch whole or not at all; what is damaged must be
 * refused or named; and what is read must be what was written.
 */
export async function runSwarm(seed: number, options: MachineOptions = {}): Promise<SwarmOutcome> {
  const machine = new Machine(seed, {}, {}, options)
  return machine.run(() => new StoreSwarm(machine).run())
}

class StoreSwarm {
  readonly #machine: Machine
  readonly #random: SeededRandom
  readonly #settings: Settings
  /** What the store held when it was opened last, and what was done since. */
  #base = new StoreModel()
  #done: StoreOperation[] = []
  /** So many of them are acknowledged, so many more at the time of the last batch. */
  #acknowledged = 0
  #current = new StoreModel()
  #number = 0
  #operations = 0
  #opened = 0
  #lost = 0
  #damaged = false
  /** Damaged since it was opened last. */
  #freshDamage = false

  constructor(machine: Machine) {
    this.#machine = machine
    this.#random = machine.simulation.random('swarm')
    this.#settings = draw(this.#random)
  }

  async run(): Promise<SwarmOutcome> {
    let refused = false
    for (let round = 0; round < this.#settings.rounds; round++) {
      if (round > 0 && chance(this.#random, 0.25)) this.#break()
      const store = await this.#open()
      this.#calm()
      if (store === undefined) {
        refused = true
        break
      }
      await this.#judge(store)
      await this.#work(store)
      await this.#end(store)
    }
    return {
      refused,
      opened: this.#opened,
      lost: this.#lost,
      operations: this.#operations,
      faults: this.#machine.simulation.faults.entries(),
    }
  }

  async #open(): Promise<LogStore | undefined> {
    const { contain, cleanFromBytes, segmentBytes } = this.#settings
    for (let attempt = 0; ; attempt++) {
      try {
        const store = await this.#machine.open({
          damage: contain ? 'contain' : 'refuse',
          cleanFromBytes,
          segmentBytes,
          maximumQueuedBytes: 256 * 1024,
        })
        this.#opened++
        // What it has opened with once, it opens with again.
        this.#freshDamage = false
        return store
      } catch (error) {
        if (KeelsonError.hasCode(error, 'IO', 'DISK_FULL') && attempt < 5) {
          // A disk that fails while it is opened; what was written by then is as good as any crash leaves it.
          this.#calm()
          if (chance(this.#random, 0.5)) this.#machine.restart('power')
          continue
        }
        const { damage, lostSyncs, misdirected } = this.#settings
        if (!(damage && this.#freshDamage) && !lostSyncs && !misdirected) throw error
        assert.ok(KeelsonError.hasCode(error, 'CORRUPTION', 'FORMAT_VERSION'), String(error))
        return undefined
      }
    }
  }

  /** What was found must be what some first part of the operations makes, and all that was acknowledged. */
  async #judge(store: LogStore): Promise<void> {
    const { lostSyncs, misdirected } = this.#settings
    const found = store.recovered().get(marker)?.hardState?.commit ?? 0
    const least = lostSyncs ? 0 : misdirected ? this.#beforeLastBatch() : this.#acknowledged
    const model = this.#base.copy()
    let fitting: StoreModel | undefined
    for (let count = 0; count <= this.#done.length; count++) {
      if (count > 0) model.apply(this.#done[count - 1] as StoreOperation)
      const number = model.groups.get(marker)?.hardState?.commit ?? 0
      // A compaction lasts only with the next write, so it is not counted among what was acknowledged.
      if (number === found && count >= least && model.fits(store)) fitting = model.copy()
      if (number > found) break
    }
    if (fitting === undefined && lostSyncs) {
      // Nothing is known of a disk that lies, but that it must not be wrong: it begins anew from what it says.
      this.#machine.simulation.faults.add('lied')
      fitting = await modelOf(store)
    }
    const what = `${this.#done.length} operations since the last opening, ${this.#acknowledged} of them acknowledged`
    assert.ok(fitting !== undefined, `what was found (write ${found}) is no state that ever was: ${what}`)
    const lost = lostEntries(store)
    const gone = await fitting.check(store, lost)
    if (gone > 0)
      assert.ok(this.#damaged || misdirectedOrLied(this.#settings), 'entries are lost without damage')
    this.#lost += gone
    if (gone > 0 && chance(this.#random, 0.5)) await repair(store, fitting)
    this.#base = fitting.copy()
    this.#current = fitting
    this.#done = []
    this.#acknowledged = 0
    this.#number = found
  }

  async #work(store: LogStore): Promise<void> {
    const { outstanding } = this.#settings
    const pending = new Set<Promise<void>>()
    const ready = lostEntries(store)
    const anyLost = [...ready.values()].some((terms) => terms.size > 0)
    let failed: KeelsonError | undefined
    for (let count = 10 + this.#random.integer(80); count > 0 && failed === undefined; count--) {
      if (chance(this.#random, 0.04)) this.#break()
      if (chance(this.#random, 0.06)) this.#calm()
      const operation = this.#draw()
      let refused: KeelsonError | undefined
      const at = this.#done.length
      const acting = this.#act(store, operation).then(
        () => {
          if (operation.type !== 'compact') this.#acknowledged = Math.max(this.#acknowledged, at + 1)
        },
        (error: unknown) => {
          assert.ok(KeelsonError.is(error), String(error))
          if (error.outcome === 'none' && error.code !== 'STORE_POISONED') refused = error
          else failed = error
        },
      )
      for (let i = 0; i < 4; i++) await Promise.resolve()
      if (refused !== undefined) {
        assert.ok(KeelsonError.hasCode(refused, 'DISK_FULL', 'OVERLOADED', 'LIMIT_EXCEEDED'), String(refused))
        // Compactions and deletions may make room.
        await sleep(this.#machine.env.timers, 5)
        continue
      }
      this.#operations++
      this.#done.push(operation)
      this.#current.apply(operation)
      pending.add(acting)
      void acting.finally(() => pending.delete(acting))
      while (pending.size >= outstanding) await Promise.race(pending)
      if (chance(this.#random, 0.1)) await sleep(this.#machine.env.timers, this.#random.float() * 20)
      if (chance(this.#random, 0.1) && !anyLost && failed === undefined) await this.#read(store)
    }
    const patience = this.#random.float()
    if (patience < 0.5) await Promise.all(pending)
    else if (patience < 0.75) await sleep(this.#machine.env.timers, this.#random.float() * 3)
  }

  async #act(store: LogStore, operation: StoreOperation): Promise<void> {
    if (operation.type === 'write') return store.write(operation.batch)
    if (operation.type === 'compact') return store.compact(operation.groupId, operation.through)
    return store.destroy(operation.groupId, operation.tombstone)
  }

  /** Reads something, which must be as written even while nothing of it is durable. */
  async #read(store: LogStore): Promise<void> {
    const groups = [...this.#current.groups].filter(([, { entries }]) => entries.length > 0)
    if (groups.length === 0) return
    const [groupId, group] = pick(this.#random, groups)
    const expected = pick(this.#random, group.entries)
    try {
      const [read] = await store.read(groupId, expected.index, expected.index, 1)
      assert.deepEqual({ ...read, data: [...(read?.data ?? [])] }, { ...expected, data: [...expected.data] })
    } catch (error) {
      const allowed = ['IO', 'STORE_POISONED', 'COMPACTED', 'DISK_FULL'] as const
      if (!KeelsonError.hasCode(error, ...allowed)) throw error
    }
  }

  async #end(store: LogStore): Promise<void> {
    const dice = this.#random.float()
    if (dice < 0.2) {
      await store.close()
      this.#machine.restart('kill')
    } else this.#machine.restart(dice < 0.5 ? 'kill' : 'power')
    this.#calm()
    if (this.#settings.damage && chance(this.#random, 0.6)) this.#hurt()
    if (chance(this.#random, 0.3)) this.#machine.disk.dropCaches()
  }

  /** Damages a full segment: a bit, a sector or a page. */
  #hurt(): void {
    const files = this.#machine.segmentFiles().slice(0, -2)
    const path = files[this.#random.integer(Math.max(1, files.length))]
    if (path === undefined) return
    this.#damaged = true
    this.#freshDamage = true
    const size = this.#machine.disk.mount().size(path)
    const length = [1, 512, 4_096][this.#random.integer(3)] as number
    const at = this.#random.integer(Math.floor(size / length)) * length
    if (length === 1) this.#machine.disk.flipBit(path, at, this.#random.integer(8))
    else this.#machine.disk.overwrite(path, at, new Uint8Array(length).fill(this.#random.integer(2) * 0x5a))
  }

  /** Something is wrong with the disk from now on. */
  #break(): void {
    const { syncFailures, writeFailures, readFailures, full, slow, lostSyncs, misdirected } = this.#settings
    const { disk } = this.#machine
    const is = (kind: boolean): boolean => kind && chance(this.#random, 0.5)
    disk.setQuality({
      syncFailureProbability: is(syncFailures) ? 0.3 : 0,
      writeFailureProbability: is(writeFailures) ? 0.1 : 0,
      readFailureProbability: is(readFailures) ? 0.2 : 0,
      capacityBytes: is(full) ? disk.mount().usedBytes + this.#random.integer(40_000) : 2 ** 40,
      slowProbability: is(slow) ? 0.3 : 0,
      slowDelayMs: 200,
      lostSyncProbability: is(lostSyncs) ? 0.7 : 0,
      misdirectedWriteProbability: is(misdirected) ? 0.1 : 0,
    })
  }

  #calm(): void {
    this.#machine.disk.setQuality({
      syncFailureProbability: 0,
      writeFailureProbability: 0,
      readFailureProbability: 0,
      capacityBytes: 2 ** 40,
      slowProbability: 0,
      lostSyncProbability: 0,
      misdirectedWriteProbability: 0,
    })
  }

  /** What is left for certain when the disk has put the last batch elsewhere, and nothing tells of it. */
  #beforeLastBatch(): number {
    let last = true
    for (let i = this.#acknowledged - 1; i >= 0; i--) {
      if (this.#done[i]?.type === 'compact') continue
      if (!last) return i + 1
      last = false
    }
    return 0
  }

  #draw(): StoreOperation {
    const random = this.#random
    const groupId = 2 + random.integer(5)
    const group = this.#current.groups.get(groupId)
    const dice = random.float()
    if (dice < 0.15 && group !== undefined && group.entries.length > 0) {
      const { index, term } = pick(random, group.entries)
      return { type: 'compact', groupId, through: { index, term } }
    }
    if (dice < 0.17) {
      return { type: 'destroy', groupId, tombstone: random.bytes(random.integer(2) * 3) }
    }
    const number = ++this.#number
    const batch: GroupWrite[] = [
      { groupId: marker, hardState: { term: 1, votedFor: 0, commit: number } },
      this.#drawWrite(groupId),
    ]
    if (chance(random, 0.3)) batch.push(this.#drawWrite(groupId === 6 ? 2 : groupId + 1))
    return { type: 'write', batch, number }
  }

  #drawWrite(groupId: number): GroupWrite {
    const random = this.#random
    const group = this.#current.groups.get(groupId)
    const last = this.#current.last(groupId)
    const compacted = group?.compacted.index ?? 0
    const dice = random.float()
    const state = {
      ...(chance(random, 0.6) ? { hardState: { term: last.term + 1, votedFor: 2, commit: compacted } } : {}),
      ...(chance(random, 0.1) ? { metadata: random.bytes(random.integer(20)) } : {}),
    }
    if (dice < 0.05) {
      const reset = { index: last.index + random.integer(10), term: last.term }
      return { groupId, reset, ...state }
    }
    const truncates = dice < 0.2 && last.index > compacted
    const from = truncates ? compacted + 1 + random.integer(last.index - compacted) : last.index + 1
    let term = last.term + (truncates || chance(random, 0.1) ? 1 : 0)
    const entries: LogEntry[] = []
    for (let count = random.integer(4); count > 0; count--) {
      if (chance(random, 0.1)) term++
      const bytes = Math.floor(between(random, 0, this.#settings.dataBytes * 2))
      entries.push(entry(from + entries.length, term, bytes))
    }
    return { groupId, entries, ...state }
  }
}

function misdirectedOrLied({ misdirected, lostSyncs }: Settings): boolean {
  return misdirected || lostSyncs
}

/** What a store says that it holds. */
async function modelOf(store: LogStore): Promise<StoreModel> {
  const model = new StoreModel()
  const lost = lostEntries(store)
  for (const [groupId, { hardState, metadata, compacted, last }] of store.recovered()) {
    const entries: LogEntry[] = []
    for (let index = compacted.index + 1; index <= last.index; index++) {
      const term = lost.get(groupId)?.get(index)
      if (term === undefined) entries.push(...(await store.read(groupId, index, index, 1)))
      else entries.push(entry(index, term, 0))
    }
    model.groups.set(groupId, { hardState, metadata, compacted, entries })
  }
  return model
}

async function repair(store: LogStore, model: StoreModel): Promise<void> {
  for (const [groupId, { lost = [], compacted }] of store.recovered()) {
    for (const { first, last } of lost) {
      const entries = model.groups.get(groupId)?.entries ?? []
      await store.repair?.(groupId, entries.slice(first - compacted.index - 1, last - compacted.index))
    }
  }
}
