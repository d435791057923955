import { LeaderDuties } from '../../../src/control-plane/leader-duties.ts'
import { utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import type { TableDescriptor } from '../../../src/interfaces/schema-host.ts'
import {
  ControllerEpoch,
  encodeRangeDescriptor,
  keyPrefixes,
  pathKey,
  RangeDirectory,
} from '../../../src/metadata/index.ts'
import { MvccState } from '../../../src/metadata/mvcc/mvcc-state.ts'
import { decodeNodeReport, NodeSession } from '../../../src/nodes/index.ts'
import { RangeHolds } from '../../../src/placement/range-holds.ts'
import { SchemaLeases } from '../../../src/schema/index.ts'
import type { DataPlaneBugs } from './data-plane.ts'
import { faultsOf } from './faults.ts'
import { RangeRows } from './range-rows.ts'
import { type CompositionResult, runComposition } from './run.ts'
import type { Corner } from './world.ts'

/** A bug that is planted on purpose. */
export interface Mutant {
  readonly name: string
  /** What the run must fail with. */
  readonly caughtBy: RegExp
  readonly bugs?: DataPlaneBugs
  readonly corner?: Corner
  /** Faults that bring it to light, many of them; all of them when it is not given. */
  readonly faults?: readonly string[]
  /** How many times as often as usual they come. Default: 8. */
  readonly often?: number
  /** Patches the library. @returns what takes the patch back */
  readonly plant?: () => () => void
}

/** Replaces one method until the function that is returned is called. */
function patch<T extends object, K extends keyof T>(prototype: T, name: K, method: T[K]): () => void {
  const original = Object.getOwnPropertyDescriptor(prototype, name) as PropertyDescriptor
  Object.defineProperty(prototype, name, { configurable: true, writable: true, value: method })
  return () => Object.defineProperty(prototype, name, original)
}

/** Bugs that the simulated composition is to catch. */
export const mutants: readonly Mutant[] = [
  {
    name: 'a range makes a change whatever generation it was meant for',
    caughtBy: /one replica on a node|keeps its quorum|directory is ahead/,
    bugs: { noGenerationCheck: true },
  },
  {
    name: 'a range swaps two replicas without a joint configuration',
    caughtBy: /changes one voter at a time/,
    bugs: { swapsAtOnce: true },
  },
  {
    name: 'a split leaves the first row of the right-hand range behind',
    caughtBy: /does not lie there|counts|after .* had been seen|gave/,
    bugs: { splitsBehindTheKey: true },
    corner: { restless: true },
  },
  {
    name: 'the right-hand range does not know which commands took effect before the split',
    caughtBy: /counts|gave/,
    bugs: { forgetsCommandsAtSplit: true },
    corner: { restless: true, lostAnswers: true },
  },
  {
    name: 'the range that is left does not know which commands took effect in the one that it took in',
    caughtBy: /counts|gave/,
    bugs: { forgetsCommandsAtMerge: true },
    corner: { restless: true, lostAnswers: true },
  },
  {
    name: 'a frozen range takes commands while it is brought over',
    caughtBy: /counts|gave/,
    bugs: { frozenRangesServe: true },
    corner: { restless: true },
  },
  {
    name: 'a frozen range thaws without having its merge ruled out',
    caughtBy: /was merged into .* after it had thawed/,
    bugs: { thawsAtOnce: true },
    corner: { restless: true, slowMerges: true },
  },
  {
    name: 'a node awaits the right-hand range before it has come to the split, and drops its rows',
    caughtBy: /lie on 1 of 3 disks/,
    bugs: { awaitsTooEarly: true },
    corner: { restless: true },
  },
  {
    name: 'the right-hand range keeps no barrier of the parent',
    faults: [],
    caughtBy: /was accepted after version/,
    corner: { restless: true, lateCommands: true },
    plant: () => {
      const { splitOff } = RangeRows.prototype
      return patch(RangeRows.prototype, 'splitOff', function (this: RangeRows, goes) {
        const right = splitOff.call(this, goes)
        right.minimumVersion = 0
        return right
      })
    },
  },
  {
    name: 'the two halves of a split are written down one after the other',
    caughtBy: /do not lie side by side/,
    corner: { restless: true },
    plant: () =>
      patch(RangeDirectory.prototype, 'split', async function (this: RangeDirectory, epoch, left, right) {
        const key = (rangeId: number): Uint8Array => pathKey(keyPrefixes.ranges, 'descriptors', rangeId)
        for (const range of [left, right])
          await epoch.txn({
            then: [{ type: 'put', key: key(range.rangeId), value: encodeRangeDescriptor(range) }],
          })
        return true
      }),
  },
  {
    name: 'a control plane that was recovered counts on from what is left',
    caughtBy: /came after|came back after|acts under epoch|side by side/,
    corner: { losesQuorum: true },
    plant: () => patch(MvccState.prototype, 'raiseTo', () => {}),
  },
  {
    name: 'the directory follows no splits and merges that were lost with a quorum',
    caughtBy: /directory has caught up|nothing came of it/,
    corner: { losesQuorum: true, restless: true },
    plant: () => patch(RangeDirectory.prototype, 'retile', async () => {}),
  },
  {
    name: 'the directory takes any generation',
    caughtBy: /went back|elsewhere than it lay/,
    plant: () => {
      const { takeReport } = LeaderDuties.prototype
      return patch(LeaderDuties.prototype, 'takeReport', function (this: LeaderDuties, bytes) {
        takeReport.call(this, bytes)
        for (const { rangeId, generation, replicas } of decodeNodeReport(bytes).replicas) {
          const known = this.ranges.ranges().find((range) => range.rangeId === rangeId)
          if (known === undefined || known.generation === generation) continue
          const key = pathKey(keyPrefixes.ranges, 'descriptors', rangeId)
          const value = encodeRangeDescriptor({ ...known, generation, replicas })
          this.epoch.txn({ then: [{ type: 'put', key, value }] }).catch(() => {})
        }
      })
    },
  },
  {
    name: 'the duties of a deposed leader go on, and no write compares its epoch',
    caughtBy: /was the newest|came after one with/,
    plant: () => {
      const off = [
        patch(LeaderDuties.prototype, 'close', async () => {}),
        patch(ControllerEpoch.prototype, 'fence', function (this: ControllerEpoch) {
          return { key: utf8(`/epochs/${this.name}`), target: 'version', is: '>', operand: 0 }
        }),
      ]
      return () => {
        for (const undo of off) undo()
      }
    },
  },
  {
    name: 'no range is left alone after a move, whoever wants to move it again',
    caughtBy: /within its damping time/,
    plant: () => patch(RangeHolds.prototype, 'add', () => {}),
  },
  {
    name: 'work is planned under a schema version without a lease',
    caughtBy: /without a lease/,
    plant: () => {
      const { pin } = SchemaLeases.prototype
      const last = new WeakMap<SchemaLeases, TableDescriptor>()
      return patch(SchemaLeases.prototype, 'pin', function (this: SchemaLeases, tableId) {
        try {
          const held = pin.call(this, tableId)
          last.set(this, held.table)
          return held
        } catch (error) {
          const table = last.get(this)
          if (table === undefined || !KeelsonError.hasCode(error, 'STALE_SCHEMA')) throw error
          const release = (): void => {}
          return { table, release, [Symbol.dispose]: release }
        }
      })
    },
  },
  {
    name: 'ranges keep no barrier against old schema versions',
    faults: [],
    caughtBy: /was accepted after version/,
    corner: { lateCommands: true },
    plant: () => patch(RangeRows.prototype, 'barrier', () => {}),
  },
  {
    name: 'a node goes on under an epoch whose deadline has passed',
    caughtBy: /acts under epoch/,
    plant: () => patch(NodeSession.prototype, 'isLive', () => true),
  },
  {
    name: 'a session counts from when its renewal was answered',
    faults: ['slow links', 'node pause', 'node cut off for long'],
    caughtBy: /acts under epoch/,
    plant: () => patch(NodeSession.prototype, 'countFrom', (_sent, answered) => answered),
  },
]

/** Runs one seed in a small world with a bug in it, or what would have happened without the bug. */
export async function runMutant(mutant: Mutant, seed: number, sound = false): Promise<CompositionResult> {
  const { faults, corner } = mutant
  const bugs = sound ? undefined : mutant.bugs
  const takeBack = sound ? undefined : mutant.plant?.()
  try {
    return await runComposition({
      seed,
      size: { servers: 3, agents: 8, ranges: 8 },
      faultMs: 15_000,
      ...(bugs === undefined ? {} : { bugs }),
      ...(corner === undefined ? {} : { corner }),
      ...(faults === undefined
        ? {}
        : {
            faults: (world) =>
              faultsOf(world)
                .filter(({ name }) => faults.includes(name))
                .map((kind) => ({
                  ...kind,
                  begin: (random) => kind.begin(random),
                  meanIntervalMs: kind.meanIntervalMs / (mutant.often ?? 8),
                })),
          }),
    })
  } finally {
    takeBack?.()
  }
}
