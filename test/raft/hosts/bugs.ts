import { utf8 } from '../../../src/core/bytes.ts'
import type { GroupWrite } from '../../../src/interfaces/log-store.ts'
import { Applier } from '../../../src/raft/group/applier.ts'
import type { SequencedCommand } from '../../../src/raft/group/batch-envelope.ts'
import { BatchPlan } from '../../../src/raft/group/batch-plan.ts'
import type { CommandId } from '../../../src/raft/group/envelope.ts'
import { Forwarder } from '../../../src/raft/group/forwarder.ts'
import { Replica } from '../../../src/raft/group/replica.ts'
import { SessionTable } from '../../../src/raft/group/session-table.ts'
import { DiskHistory, type DiskLife } from '../../../src/raft/host/disk-history.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import { DiskTrust } from '../../../src/raft/host/disk-trust.ts'
import { Incoming } from '../../../src/raft/host/incoming.ts'
import { LogGate } from '../../../src/raft/host/log-gate.ts'
import { Transfer } from '../../../src/raft/host/snapshot-receiver.ts'
import { View } from '../../../src/raft/host/snapshot-sender.ts'
import { PieceChecker } from '../../../src/raft/host/snapshot-wire.ts'
import { CounterMachine } from '../support/counter-machine.ts'
import { type HostSettings, withImages } from './settings.ts'

/** One bug, planted in what surrounds the core of a real host. */
export interface HostBug {
  readonly name: string
  /** Plants it. @returns what takes it out again */
  readonly plant: () => () => void
  readonly adjust?: (settings: HostSettings) => HostSettings
}

/** Replaces a method until the function that is returned is called. */
function replace<T extends object, K extends keyof T>(prototype: T, name: K, method: T[K]): () => void {
  const before = prototype[name]
  prototype[name] = method
  return () => {
    prototype[name] = before
  }
}

function all(...undo: readonly (() => void)[]): () => void {
  return () => {
    for (const each of undo) each()
  }
}

const manySnapshots = (settings: HostSettings): HostSettings => ({
  ...settings,
  batches: 0,
  faultMs: 8_000,
  interruption: 0.2,
  limits: { ...settings.limits, compactAfterEntries: 20, keptEntries: 0, maximumLagEntries: 20 },
  host: { ...settings.host, snapshotWindowBytes: 200, snapshotBytesPerSecond: 64 << 20 },
})

const lostQuorum = (settings: HostSettings): HostSettings => ({
  ...settings,
  batches: 0,
  faultMs: 1_000,
  images: false,
  losesQuorum: true,
})

const inBatches = (settings: HostSettings): HostSettings => ({ ...settings, batches: 0.6 })

const tinyStores = (settings: HostSettings): HostSettings => ({
  ...settings,
  batches: 0,
  faultMs: 10_000,
  faults: ['crash while catching up'],
  images: false,
  segmentBytes: 0,
  storeLimits: { writeBytes: 700, queuedBytes: 8_000 },
})

const images = (settings: HostSettings): HostSettings => ({
  ...withImages(settings),
  batches: 0,
  faultMs: 10_000,
  faults: ['partition', 'connections broken', 'transfer', 'disk stall'],
})

/** Every bug that the simulated hosts must catch. */
export const hostBugs: readonly HostBug[] = [
  {
    name: 'commands are applied again when they are repeated',
    plant: () => {
      const lookup = SessionTable.prototype.lookup
      return replace(SessionTable.prototype, 'lookup', function broken(this: SessionTable, id: CommandId) {
        const known = lookup.call(this, id)
        return known.type === 'duplicate' ? { type: 'new' } : known
      })
    },
  },
  {
    name: 'the commands of a batch are known by the first of them',
    plant: () =>
      replace(BatchPlan.prototype, 'idsOf', ({ session, commands }) =>
        commands.map(() => ({ session, sequence: (commands[0] as SequencedCommand).sequence })),
      ),
    adjust: inBatches,
  },
  {
    name: 'the sequences of a batch are taken for contiguous',
    plant: () =>
      replace(BatchPlan.prototype, 'idsOf', ({ session, commands }) =>
        commands.map((_, i) => ({ session, sequence: (commands[0] as SequencedCommand).sequence + i })),
      ),
    adjust: inBatches,
  },
  {
    name: 'a batch of which a part is known takes effect as a whole',
    plant: () => {
      const { idsOf } = BatchPlan.prototype
      return replace(BatchPlan.prototype, 'idsOf', function broken(this: BatchPlan, envelope) {
        const ids = idsOf.call(this, envelope)
        const known = ids.filter((id) => this.sessions.lookup(id).type === 'duplicate').length
        return known === 0 || known === ids.length ? ids : ids.map(() => undefined as never)
      })
    },
    adjust: inBatches,
  },
  {
    name: 'a forwarded command without an id is sent again',
    plant: () => replace(Forwarder.prototype, 'mayRepeat', () => true),
    adjust: (settings) => ({ ...settings, batches: 0, forwards: true, blind: 3 }),
  },
  {
    name: 'a damaged piece of a snapshot is taken',
    plant: () => replace(PieceChecker.prototype, 'isIntact', () => true),
    adjust: (settings) => ({ ...manySnapshots(settings), damage: 0.2 }),
  },
  {
    name: 'the rest of a snapshot is taken from another one',
    plant: () =>
      all(
        replace(PieceChecker.prototype, 'isIntact', () => true),
        replace(Transfer.prototype, 'isAnother', function broken(this: Transfer, { snapshotId }) {
          return snapshotId !== this.snapshotId && this.checker.count === 0
        }),
        replace(Transfer.prototype, 'continues', () => true),
      ),
    adjust: (settings) => ({
      ...manySnapshots(settings),
      replaceShare: 0,
      autoPromoteShare: 0,
      priorities: false,
    }),
  },
  {
    name: 'a sender goes on where it is, not where it was asked to',
    plant: () =>
      all(
        replace(PieceChecker.prototype, 'isIntact', () => true),
        replace(
          View.prototype,
          'piece',
          (() => {
            const { piece } = View.prototype
            return async function broken(this: View, number: number, signal: AbortSignal) {
              // What was sent is forgotten at once, whether it arrived or not.
              this.forgetBefore(number)
              const sent = await piece.call(this, number, signal)
              return sent
            }
          })(),
        ),
        replace(View.prototype, 'holds', () => true),
      ),
    adjust: manySnapshots,
  },
  {
    name: 'a snapshot is read from a state that goes on changing',
    plant: () =>
      replace(CounterMachine.prototype, 'snapshot', async function broken(this: CounterMachine) {
        const { values, perChunk } = this
        const names = [...values.keys()]
        return {
          bookkeeping: new Map(this.bookkeeping),
          async *chunks() {
            for (let at = 0; at < names.length; at += perChunk) {
              const chunk = names.slice(at, at + perChunk).map((name) => [name, values.get(name)])
              yield utf8(JSON.stringify(chunk))
            }
          },
          async [Symbol.asyncDispose]() {},
        }
      }),
    adjust: manySnapshots,
  },
  {
    name: 'a transfer that was given up never ends',
    plant: () =>
      replace(Transfer.prototype, 'end', function broken(this: Transfer) {
        this.over = true
      }),
    adjust: manySnapshots,
  },
  {
    name: 'nothing is noted before a restore',
    plant: () => replace(Replica.prototype, 'beginRestore', async () => {}),
    adjust: (settings) => ({ ...manySnapshots(settings), interruption: 0.4 }),
  },
  {
    name: 'the log is compacted although the state was not flushed',
    plant: () =>
      replace(Applier.prototype, 'flush', async function broken(this: Applier) {
        return this.applied
      }),
  },
  {
    name: 'a write that is split commits what comes with its next piece',
    plant: () =>
      replace(LogGate.prototype, 'justified', function broken(slices, hardState) {
        const [first, ...others] = slices
        return [{ ...(first as GroupWrite), hardState }, ...others]
      }),
    adjust: tinyStores,
  },
  {
    name: 'a write that is split counts once its first piece is durable',
    plant: () => {
      const { write } = LogGate.prototype
      return replace(LogGate.prototype, 'write', async function broken(this: LogGate, batch) {
        const [first, ...others] = this.parts(batch).map(async ([, part]) => write.call(this, part))
        for (const other of others) other.catch(() => {})
        return first
      })
    },
    adjust: tinyStores,
  },
  {
    name: 'lost members that come back are listened to, and not told',
    plant: () =>
      all(
        replace(Incoming.prototype, 'isOutdated', () => false),
        replace(Replica.prototype, 'supersede', () => false),
      ),
    adjust: lostQuorum,
  },
  {
    name: 'a host speaks before it is noted that it lives',
    plant: () => {
      const { begin } = DiskTrust.prototype
      return replace(DiskTrust.prototype, 'begin', async function broken(this: DiskTrust) {
        begin.call(this).catch(() => {})
      })
    },
    adjust: images,
  },
  {
    name: 'what a life had of which the disk knows nothing is believed to be there',
    plant: () => {
      const { reachedIn } = DiskHistory.prototype
      return replace(DiskHistory.prototype, 'reachedIn', function broken(this: DiskHistory, life, own) {
        return this.lives.some((known) => known.life === life) ? reachedIn.call(this, life, own) : own
      })
    },
    adjust: images,
  },
  {
    name: 'a former life is compared with what there was when the present one began, and findings are not stored',
    plant: () => {
      const { found } = DiskTrust.prototype
      return all(
        replace(DiskHistory.prototype, 'reachedIn', function broken(this: DiskHistory, life, own) {
          return life === this.present?.life ? own : this.present?.openedAt
        }),
        replace(DiskTrust.prototype, 'found', function broken(this: DiskTrust, knownBy, mark) {
          return found.call(this, knownBy, mark) && Promise.resolve()
        }),
        replace(DiskTrust.prototype, 'store', async () => {}),
      )
    },
    adjust: images,
  },
  {
    name: 'the oldest life is kept, and those that came after it are forgotten',
    plant: () =>
      replace(DiskHistory.prototype, 'kept', (lives: readonly DiskLife[]) =>
        lives.length < 4 ? lives : [lives[0] as DiskLife, ...lives.slice(-2)],
      ),
    adjust: images,
  },
  {
    name: 'a node is told of the life alone that got furthest',
    plant: () => {
      const { known } = DiskMarks.prototype
      return replace(DiskMarks.prototype, 'known', function broken(this: DiskMarks, peer) {
        return known.call(this, peer).slice(0, 1)
      })
    },
    adjust: images,
  },
  {
    name: 'a disk that was found out goes on for those groups that are open',
    plant: () => replace(Replica.prototype, 'quarantine', () => {}),
    adjust: images,
  },
]
