import { chance } from '../../../src/core/random.ts'
import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { makeConfiguration } from '../../../src/raft/core/configuration.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { RaftWrite } from '../../../src/raft/core/types.ts'
import { decodeEnvelope, encodeEnvelope } from '../../../src/raft/group/envelope.ts'
import type { CompactionLimits } from '../../../src/raft/group/log-compactor.ts'
import type { HostMessage } from '../../../src/raft/host/host-messages.ts'
import { asPresent, Machine, MachineDisk } from '../simulation/machine.ts'
import type { Peer } from '../simulation/node/links.ts'
import { Node } from '../simulation/node.ts'
import { Store } from '../simulation/store.ts'
import type { PlantedBug } from './types.ts'

/** Bugs of what surrounds the core: disk, log store, state machine, driver. */
export const hostBugs: readonly PlantedBug[] = [
  {
    name: 'the log store acknowledges before its sync',
    mistake: 2,
    Node: class extends Node {
      override startWrite(core: RaftCore, write: RaftWrite): void {
        super.startWrite(core, write)
        this.written(core, write.writeId)
      }
      override written(core: RaftCore, writeId: number): void {
        if (this.core === core && writeId > core.log.persistedWriteId) super.written(core, writeId)
      }
    },
  },
  {
    name: 'a failed sync is tried again, and then taken for good',
    mistake: 3,
    Node: class extends Node {
      override makeStore(): Store {
        return new (class extends Store {
          override failed(count: number): void {
            this.synced(count, false)
          }
        })(this.disk)
      }
    },
    adjust: (settings) => ({ ...settings, disk: { ...settings.disk, syncFailureProbability: 0.02 } }),
  },
  {
    name: 'a command of a version that is not known is passed over',
    mistake: undefined,
    Node: class extends Node {
      override applyBatch(core: RaftCore, batch: readonly LogEntry[]): void {
        const known = (entry: LogEntry): LogEntry =>
          this.knows(entry) ? entry : { ...entry, kind: entryKinds.noop, data: new Uint8Array(0) }
        super.applyBatch(core, batch.map(known))
      }
    },
    adjust: (settings) => ({ ...settings, mixedReleases: true }),
  },
  {
    name: 'messages do not wait for the write that they promise',
    mistake: 2,
    Node: class extends Node {
      override mayRelease(): boolean {
        return true
      }
    },
  },
  {
    name: 'writes become durable in any order',
    mistake: 6,
    Node: class extends Node {
      override startWrite(core: RaftCore, write: RaftWrite): void {
        // The hard state goes its own way.
        const { hardState, ...rest } = write
        if (hardState === undefined || rest.entries === undefined) return super.startWrite(core, write)
        super.startWrite(core, rest)
        this.env.timers.schedule(20, () => {
          if (this.core === core) this.store.write({ hardState }, () => {})
        })
      }
    },
  },
  {
    name: 'reads are served before what they must see is applied',
    mistake: 8,
    Node: class extends Node {
      override mayServe(): boolean {
        return true
      }
    },
    adjust: (settings) => ({ ...settings, applyDelayMs: 150, maximumApplyBatch: 2 }),
  },
  {
    name: 'a snapshot carries the membership of the bootstrap',
    mistake: 20,
    Node: class extends Node {
      override snapshotBytes(): Uint8Array {
        const copy = Machine.decode(this.machine.encode())
        const { configuration } = copy
        if (configuration !== undefined && configuration.generation > 1) {
          const first = configuration.replicas.filter((replica) => replica.role === 'voter').slice(0, 1)
          copy.configuration = makeConfiguration(1, first)
        }
        return copy.encode()
      }
    },
    adjust: (settings) => ({ ...settings, flushEvery: 5, keepEntries: 0 }),
  },
  {
    name: 'a snapshot leaves out the client sessions',
    mistake: 20,
    Node: class extends Node {
      override snapshotBytes(): Uint8Array {
        return this.machine.encode({ sessions: false })
      }
    },
    adjust: (settings) => ({ ...settings, flushEvery: 5, keepEntries: 0 }),
  },
  {
    name: 'a wiped disk comes back as the replica that it was',
    mistake: 29,
    Node: class extends Node {
      override wipe(): void {
        const { record } = this.store
        const { incarnation } = this
        super.wipe()
        this.incarnation = incarnation
        if (record === undefined) return
        this.world.lost.delete(record.replicaId)
        this.store.durableRecord = record
        this.store.record = record
      }
    },
  },
  {
    name: 'a destroyed replica begins again under its id',
    mistake: 29,
    Node: class extends Node {
      override mayAdopt(message: HostMessage, recoveryGeneration: number): boolean {
        // As if there were no tombstone.
        return super.mayAdopt({ ...message, to: Number.MAX_SAFE_INTEGER }, recoveryGeneration)
      }
    },
    adjust: (settings) => ({
      ...settings,
      nodes: 7,
      operatorIntervalMs: 60,
      emphasis: ['leader cut off', 'swizzle-clog'],
    }),
  },
  {
    name: 'messages of a replica are taken from any node',
    mistake: 29,
    Node: class extends Node {
      override isBound(replicaId: number, peer: Peer): boolean {
        super.isBound(replicaId, peer)
        return true
      }
      override receiveFrame(peer: Peer, bytes: Uint8Array): void {
        // The incarnation in the frame is not looked at either.
        const own = new Uint8Array(bytes)
        new DataView(own.buffer).setUint32(2, this.incarnation, true)
        super.receiveFrame(peer, own)
      }
    },
  },
  {
    name: 'the log is compacted although the state was not flushed',
    mistake: 35,
    Node: class extends Node {
      override compactionTarget(): number {
        return this.machine.applied.index
      }
    },
    adjust: (settings) => ({ ...settings, flushEvery: 10 }),
  },
  {
    name: 'a follower that lags behind holds the log for ever',
    mistake: undefined,
    Node: class extends Node {
      override compactionLimits(): CompactionLimits {
        const limits = super.compactionLimits()
        return { ...limits, maximumLagEntries: 1e9, maximumLagBytes: 1e9 }
      }
    },
    adjust: (settings) => ({
      ...settings,
      sparesLaggards: true,
      flushEvery: 10,
      maximumLagEntries: 30,
      thinkMs: 3,
      emphasis: ['disk stall', 'slow link'],
    }),
  },
  {
    name: 'the applied index is not atomic with the state',
    mistake: 36,
    Node: class extends Node {
      override makeMachineDisk(): MachineDisk {
        return new (class extends MachineDisk {
          override recover(batches: number): Machine {
            const machine = super.recover(batches)
            const { index, term } = machine.applied
            const start = machine.termStarts.at(-1)?.index ?? index
            // The effects of the last entry are there, its index is not.
            if (batches > 0 && index > start) machine.applied = { index: index - 1, term }
            return machine
          }
        })()
      }
    },
  },
  {
    name: 'a restart forgets the term and the vote',
    mistake: 4,
    Node: class extends Node {
      override start(): void {
        const { hardState } = this.store.current
        if (hardState !== undefined && this.process.life > 1) {
          this.store.current.hardState = { ...hardState, votedFor: 0 }
        }
        super.start()
      }
    },
  },
  {
    name: 'commands are applied again when they are repeated',
    mistake: undefined,
    Node: class extends Node {
      override applyBatch(core: RaftCore, batch: readonly LogEntry[]): void {
        super.applyBatch(core, batch.map(withoutCommandId))
      }
    },
    adjust: (settings) => ({ ...settings, attemptMs: 60, thinkMs: 5 }),
  },
  {
    name: 'the command of a session that is gone is taken for a new one',
    mistake: undefined,
    Node: class extends Node {
      override applyBatch(core: RaftCore, batch: readonly LogEntry[]): void {
        for (const entry of batch) {
          const { commandId } = entry.kind === entryKinds.command ? decodeEnvelope(asPresent(entry.data)) : {}
          const known = commandId === undefined || this.machine.knows(commandId)
          super.applyBatch(core, [known ? entry : withoutCommandId(entry)])
        }
      }
    },
    adjust: (settings) => ({
      ...settings,
      attemptMs: 60,
      thinkMs: 5,
      clients: 6,
      blindShare: 0,
      maximumSessions: 2,
    }),
  },
  {
    name: 'a late timer runs before the input that waits',
    mistake: 40,
    Node: class extends Node {
      override timerFired(core: RaftCore): void {
        this.advance(core)
      }
    },
    adjust: (settings) => ({ ...settings, raft: { ...settings.raft, preVote: false } }),
  },
  {
    name: 'snapshots are installed without the reset of the log',
    mistake: 18,
    Node: class extends Node {
      override startWrite(core: RaftCore, write: RaftWrite): void {
        if (write.reset === undefined || chance(this.random, 0.5)) return super.startWrite(core, write)
        const { reset: _reset, ...rest } = write
        super.startWrite(core, rest)
      }
    },
    adjust: (settings) => ({ ...settings, flushEvery: 5, keepEntries: 0 }),
  },
  {
    name: 'an empty replica keeps the id that awakened it',
    mistake: undefined,
    Node: class extends Node {
      override mayTakeId(): boolean {
        return false
      }
    },
  },
]

/** The entry as it would be without client sessions. */
function withoutCommandId(entry: LogEntry): LogEntry {
  if (entry.kind !== 1) return entry
  const { payload } = decodeEnvelope(asPresent(entry.data))
  return { ...entry, data: encodeEnvelope(payload, 0, undefined, 0) }
}
