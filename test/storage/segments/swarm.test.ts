import assert from 'node:assert/strict'
import { type MockTracker, suite, test } from 'node:test'
import type { FileSystem, OpenFile } from '../../../src/interfaces/file-system.ts'
import type { RecoveredGroup } from '../../../src/interfaces/index.ts'
import type { GroupId } from '../../../src/model/ids.ts'
import { GroupLog } from '../../../src/storage/group-log.ts'
import { LogCleaner } from '../../../src/storage/log-cleaner.ts'
import { LogIndex } from '../../../src/storage/log-index.ts'
import { SegmentMedium } from '../../../src/storage/segments/medium.ts'
import { SegmentRecovery } from '../../../src/storage/segments/recovery.ts'
import { type LoadedSegment, SegmentLoader } from '../../../src/storage/segments/segment-loader.ts'
import type { MachineOptions } from '../support/simulated.ts'
import { runSwarm, type SwarmOutcome } from '../support/store-swarm.ts'

const seeds = 60

suite('a log of segments under every fault of its disk', () => {
  test('keeps what it acknowledged, names what is damaged, and is never wrong', async () => {
    const outcomes: SwarmOutcome[] = []
    for (let seed = 0; seed < seeds; seed++) {
      outcomes.push(
        await runSwarm(seed).catch((error: unknown) => {
          throw new Error(`seed ${seed}`, { cause: error })
        }),
      )
    }
    const faults = new Map<string, number>()
    for (const outcome of outcomes) {
      for (const [kind, count] of outcome.faults) faults.set(kind, (faults.get(kind) ?? 0) + count)
    }
    // A fault that never happens tests nothing.
    for (const kind of [
      'disk failed read',
      'disk failed sync',
      'disk failed write',
      'disk full',
      'disk lost sync',
      'disk misdirected write',
      'disk page lost',
      'disk bit flipped',
      'disk slow sync',
      'disk unsynced names lost',
      'disk unsynced writes lost',
      'disk unsynced writes torn',
    ]) {
      assert.ok((faults.get(kind) ?? 0) > 0, `${kind} never happened: ${JSON.stringify([...faults])}`)
    }
    assert.ok(outcomes.some(({ refused }) => refused))
    assert.ok(outcomes.some(({ lost }) => lost > 0))
  })

  test('gives the same run for the same seed', async () => {
    for (const seed of [3, 17]) assert.deepEqual(await runSwarm(seed), await runSwarm(seed))
  })
})

/** The same file system, but for the files. */
function withFiles(fs: FileSystem, change: (file: OpenFile, path: string) => Partial<OpenFile>): FileSystem {
  return {
    status: (path) => fs.status(path),
    makeDirectory: (path, mode) => fs.makeDirectory(path, mode),
    list: (path) => fs.list(path),
    rename: (from, to) => fs.rename(from, to),
    remove: (path) => fs.remove(path),
    syncDirectory: (path) => fs.syncDirectory(path),
    lock: (directory, env) => fs.lock(directory, env),
    open: async (path, how) => {
      const file = await fs.open(path, how)
      return {
        read: (into, position) => file.read(into, position),
        write: (bytes, position) => file.write(bytes, position),
        sync: () => file.sync(),
        close: () => file.close(),
        ...change(file, path),
      }
    },
  }
}

interface PlantedBug {
  readonly name: string
  /** Of the reference's list, if it is one of it. */
  readonly mistake?: number
  readonly plant: (mock: MockTracker) => MachineOptions | undefined
}

const bugs: readonly PlantedBug[] = [
  {
    name: 'a write is acknowledged before its sync',
    mistake: 2,
    plant: () => ({
      wrap: (fs) =>
        withFiles(fs, (file, path) =>
          path.endsWith('.segment')
            ? {
                sync: async () => {
                  void file.sync().catch(() => {})
                },
              }
            : {},
        ),
    }),
  },
  {
    name: 'a failed sync is tried again, and believed the second time',
    mistake: 3,
    plant: () => ({
      wrap: (fs) =>
        withFiles(fs, (file) => ({
          sync: async () => {
            await file.sync().catch(() => file.sync().catch(() => {}))
          },
        })),
    }),
  },
  {
    name: 'a log is cut wherever a checksum does not match',
    mistake: 34,
    plant: (mock) => {
      mock.method(SegmentRecovery.prototype, 'witness', async () => undefined)
      return undefined
    },
  },
  {
    name: 'a read error is taken for the end of the log',
    mistake: 32,
    plant: (mock) => {
      const { load } = SegmentLoader.prototype
      let loads = 0
      mock.method(
        SegmentLoader.prototype,
        'load',
        async function (this: SegmentLoader, ...given: Parameters<typeof load>): Promise<LoadedSegment> {
          const loaded = await load.apply(this, given)
          // The disk hardly ever fails a read just when a log is opened, so it does so here.
          if (++loads % 7 === 0) loaded.bytes.fill(0)
          return loaded
        },
      )
      return undefined
    },
  },
  {
    name: 'what a killed process left in the cache counts as durable',
    plant: (mock) => {
      mock.method(SegmentRecovery.prototype, 'makeDurable', async () => {})
      return undefined
    },
  },
  {
    name: 'new files are not synced with their directory',
    plant: () => ({
      wrap: (fs) => ({ ...withFiles(fs, () => ({})), syncDirectory: async () => {} }),
    }),
  },
  {
    name: 'the beginning and the end of the log are not checked',
    plant: (mock) => {
      mock.method(SegmentRecovery.prototype, 'checkEnds', () => {})
      mock.method(LogCleaner.prototype, 'moveEntries', async () => {})
      mock.method(GroupLog.prototype, 'missing', () => [])
      return undefined
    },
  },
  {
    name: 'a segment is given up with what still lives in it',
    plant: (mock) => {
      mock.method(LogCleaner.prototype, 'moveEntries', async () => {})
      return undefined
    },
  },
  {
    name: 'what is moved replaces what was truncated meanwhile',
    plant: (mock) => {
      mock.method(LogCleaner.prototype, 'whatIsLeft', (_: GroupLog, block: unknown) => block)
      return undefined
    },
  },
  {
    name: 'a segment is given up before the move of what lives in it is durable',
    plant: (mock) => {
      const { append } = SegmentMedium.prototype
      mock.method(
        SegmentMedium.prototype,
        'append',
        async function (this: SegmentMedium, bytes: Uint8Array, position: number) {
          await append.call(this, bytes, position, this.boundary() ?? 0)
        },
      )
      return undefined
    },
  },
  {
    name: 'nobody is told which entries are lost',
    plant: (mock) => {
      const { recovered } = LogIndex.prototype
      mock.method(LogIndex.prototype, 'recovered', function (this: LogIndex, where: string) {
        const silent = new Map<GroupId, RecoveredGroup>()
        for (const [groupId, { lost: _, ...group }] of recovered.call(this, where)) silent.set(groupId, group)
        return silent
      })
      return undefined
    },
  },
]

suite('a planted bug of the log is caught', () => {
  for (const { name, mistake, plant } of bugs) {
    test(`${name}${mistake === undefined ? '' : ` (mistake ${mistake})`}`, async (t) => {
      const options = plant(t.mock)
      let caught = -1
      for (let seed = 0; seed < 4 * seeds && caught < 0; seed++) {
        await runSwarm(seed, options).catch(() => {
          caught = seed
        })
      }
      assert.ok(caught >= 0, `no seed of ${4 * seeds} has caught it`)
      // Without the bug the same seed is a good run, so it was the bug that was found.
      t.mock.restoreAll()
      await runSwarm(caught)
    })
  }
})
