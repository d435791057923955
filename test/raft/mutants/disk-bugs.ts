import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { decodeConfiguration } from '../../../src/raft/core/configuration.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { DiskHistory } from '../../../src/raft/host/disk-history.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import type { Marks } from '../../../src/raft/host/host-messages.ts'
import type { Peer } from '../simulation/node/links.ts'
import { Node } from '../simulation/node.ts'
import type { Settings } from '../simulation/settings.ts'
import type { PlantedBug } from './types.ts'

const forgetful = (settings: Settings): Settings => ({
  ...settings,
  operatorIntervalMs: 1e9,
  losesQuorum: false,
  earlierShare: 0,
  emphasis: ['old disk restored', 'leader cut off'],
})

/** Bugs in what is done with disks that damage and forget, and with changes that meet. */
export const diskBugs: readonly PlantedBug[] = [
  {
    name: 'a change is made before the first commit of the term',
    mistake: 15,
    Core: class extends RaftCore {
      override mayChangeMembers(): boolean {
        return true
      }
    },
    adjust: (settings) => ({
      ...settings,
      size: 4,
      nodes: 5,
      operatorIntervalMs: 1e9,
      losesQuorum: false,
      emphasis: ['changes of two leaders'],
      raft: { ...settings.raft, caughtUpEntries: 50 },
    }),
  },
  {
    name: 'what waited to be applied is applied over a snapshot, with its old configuration',
    mistake: 19,
    Node: class extends Node {
      override stillToApply(entries: readonly LogEntry[]): LogEntry[] {
        for (const { index, kind, data } of entries) {
          if (index > this.machine.applied.index || kind !== entryKinds.configuration) continue
          this.machine.configuration = decodeConfiguration(data)
        }
        return super.stillToApply(entries)
      }
    },
    // Slow to apply, quick to need a snapshot, and always changing.
    adjust: (settings) => ({
      ...settings,
      nodes: 7,
      applyDelayMs: 200,
      maximumApplyBatch: 1,
      flushEvery: 3,
      keepEntries: 0,
      sparesLaggards: false,
      thinkMs: 3,
      operatorIntervalMs: 80,
      emphasis: ['leader cut off', 'swizzle-clog', 'partition isolate'],
    }),
  },
  {
    name: 'a damaged record in the middle of the log is taken for a torn tail',
    mistake: 34,
    Node: class extends Node {
      override findsDamage(index: number): void {
        this.store.cutAt(index)
      }
    },
    adjust: (settings) => ({ ...settings, emphasis: ['bit rot'] }),
  },
  {
    name: 'a record is believed wherever it stands',
    mistake: 34,
    Node: class extends Node {
      override findsDamage(): void {
        this.store.believe()
      }
    },
    adjust: (settings) => ({ ...settings, emphasis: ['misdirected write'] }),
  },
  {
    name: 'a replica whose disk forgot what it acknowledged is believed',
    mistake: 29,
    Core: class extends RaftCore {
      override hasForgotten(): boolean {
        return false
      }
    },
    adjust: (settings) => ({
      ...settings,
      operatorIntervalMs: 1e9,
      losesQuorum: false,
      // Nodes do not tell each other how far their disks are.
      earlierShare: 1,
      mixedReleases: false,
      emphasis: ['old disk restored', 'lost sync'],
    }),
  },
  {
    name: 'what other nodes know of a disk is not compared with it',
    mistake: 29,
    Node: class extends Node {
      override takeMarks(peer: Peer, marks: Marks): void {
        super.takeMarks(peer, { ...marks, known: [] })
      }
    },
    adjust: forgetful,
  },
  {
    name: 'what other nodes know of a disk is compared with what it has written since it started',
    mistake: 29,
    Node: class extends Node {
      override makeMarks(life: number): DiskMarks {
        const { store } = this
        const Marks = class extends DiskMarks {
          override reachedIn(): number {
            return store.position
          }
        }
        const history = new DiskHistory([{ life, openedAt: store.position }])
        return new Marks(history, () => store.position)
      }
    },
    adjust: forgetful,
  },
  {
    name: 'a quarantined replica says what it had promised before',
    mistake: 29,
    Node: class extends Node {
      override breaksPromises(): boolean {
        return false
      }
    },
    adjust: forgetful,
  },
  {
    name: 'a quarantined replica acknowledges the snapshot that was on its way to it',
    mistake: 29,
    Core: class extends RaftCore {
      override acknowledge(index: number): void {
        const { quarantined } = this
        this.quarantined = false
        super.acknowledge(index)
        this.quarantined = quarantined
      }
    },
    // Snapshots take long, and are needed often.
    adjust: (settings) => ({
      ...forgetful(settings),
      flushEvery: 3,
      keepEntries: 0,
      sparesLaggards: false,
      chunkBytes: 20,
      thinkMs: 3,
      emphasis: ['lost sync', 'old disk restored', 'swizzle-clog'],
    }),
  },
]
