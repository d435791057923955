import {
  compareBytes,
  type Environment,
  KeelsonError,
  type RangeDescriptor,
  sleep,
  utf8,
  type WantedRange,
} from 'keelson'
import type { RaftGroup, RaftHost } from 'keelson/raft'
import { type ByteLevel, LevelState } from 'keelson/storage/level'
import { lies } from './range-layout.ts'
import { RangeMachine } from './range-machine.ts'
import type { RangeReplica } from './range-replica.ts'
import { prefixOf, type SplitPort } from './range-surgery.ts'

/** What {@link ReplicaKeeper} needs of its node. */
export interface KeeperPorts {
  readonly env: Environment
  readonly nodeId: string
  readonly rafts: RaftHost
  /** Holds the rows of all ranges of the node; it stays the caller's. */
  readonly database: ByteLevel
  /** Ends what goes on in the background. */
  readonly signal: AbortSignal
  /** A replica for a group that was opened. */
  readonly replicaOf: (group: RaftGroup, machine: RangeMachine) => RangeReplica
  /** What the node has to report is another. */
  readonly changed: () => void
}

type Begin = (setup: { stateMachine: RangeMachine }) => Promise<RaftGroup>

/** A new group's members make it at about the same time: then it is soon enough to stand for election. */
const campaignDelaysMs = [15, 40, 80]

/**
 * The replicas of a node: opens those that are there, makes those that splits bring forth, waits for those that leaders add,
 * and destroys those that were removed. What is wanted is looked at again and again, so whatever fails is tried again.
 */
export class ReplicaKeeper {
  readonly #ports: KeeperPorts
  /** Notes of right-hand replicas whose state a split has made and whose groups are to be made. */
  readonly #notes: LevelState
  readonly #noted = new Set<number>()
  readonly #replicas = new Map<number, RangeReplica>()
  readonly #wanted = new Map<number, WantedRange>()
  /** Ranges that are being opened, destroyed, or made out of a split. */
  readonly #busy = new Set<number>()

  static async open(ports: KeeperPorts): Promise<ReplicaKeeper> {
    const keeper = new ReplicaKeeper(ports)
    await keeper.#notes.open()
    for await (const [key] of keeper.#notes.range())
      keeper.#noted.add(Number(new DataView(key.buffer, key.byteOffset, key.byteLength).getBigUint64(1)))
    return keeper
  }

  private constructor(ports: KeeperPorts) {
    this.#ports = ports
    this.#notes = new LevelState(ports.database, utf8('splits/'))
  }

  get replicas(): ReadonlyMap<number, RangeReplica> {
    return this.#replicas
  }

  /** What the control plane wants of this node. */
  get wanted(): ReadonlyMap<number, WantedRange> {
    return this.#wanted
  }

  /** Opens what the disk holds: ranges that are there serve before the control plane is heard of. */
  async openStored(): Promise<void> {
    const { rafts } = this.#ports
    for (const [rangeId, { destroyed }] of rafts.stored())
      if (!destroyed) await this.#begin(rangeId, (setup) => rafts.openGroup(rangeId, setup))
    // A crash came between a split and the making of its right-hand replica. One that cannot be made does not keep the others
    // from serving.
    for (const rangeId of this.#noted) this.#inBackground(rangeId, this.#adopt(rangeId))
  }

  /** Makes the replicas what is wanted of them. */
  async reconcile(wanted: readonly WantedRange[], signal: AbortSignal): Promise<void> {
    this.#wanted.clear()
    for (const range of wanted) this.#wanted.set(range.rangeId, range)
    await Promise.all(wanted.map(async (range) => (signal.aborted ? undefined : this.#makeSo(range))))
  }

  /** Tries again what has not come true yet. */
  lookAgain(): void {
    for (const range of this.#wanted.values()) this.#inBackground(range.rangeId, this.#makeSo(range))
    for (const rangeId of this.#noted) this.#inBackground(rangeId, this.#adopt(rangeId))
  }

  async #makeSo(wanted: WantedRange): Promise<void> {
    const { rangeId, descriptor } = wanted
    if (this.#busy.has(rangeId)) return
    const replica = this.#replicas.get(rangeId)
    if (replica !== undefined && this.#isGone(replica, wanted)) await this.#drop(rangeId)
    if (!wanted.member || this.#replicas.has(rangeId) || this.#busy.has(rangeId)) return
    const { rafts } = this.#ports
    const stored = rafts.stored().get(rangeId)
    if (stored !== undefined && !stored.destroyed)
      await this.#begin(rangeId, (setup) => rafts.openGroup(rangeId, setup))
    else if (wanted.bootstrap && stored === undefined) {
      const { replicas } = descriptor
      await this.#begin(rangeId, (setup) => rafts.bootstrap(rangeId, { ...setup, replicas }))
    } else if (this.#noted.has(rangeId)) await this.#adopt(rangeId)
    else if (!this.#isAboutToMake(descriptor))
      await this.#begin(rangeId, (setup) => rafts.awaitGroup(rangeId, setup))
  }

  /**
   * Whether the range's own log has let a replica go: the directory shows what that log committed. Where the node is to have
   * one, it may be one that the directory does not show yet; but ids grow, and a node has one replica at a time, so a later
   * one tells that an earlier one was removed.
   */
  #isGone(replica: RangeReplica, { member, descriptor }: WantedRange): boolean {
    const { generation, replicas } = descriptor
    const { replicaId } = replica.group.status()
    if (member) {
      const shown = replicas.find(({ nodeId }) => nodeId === this.#ports.nodeId)
      return replicaId !== 0 && shown !== undefined && shown.replicaId > replicaId
    }
    return generation >= replica.generation && !replicas.some((other) => other.replicaId === replicaId)
  }

  /**
   * Whether a range that is new to this node lies in what a replica here still takes for its own: it has not come to the
   * split, and when it does, it makes the replica out of its rows. Whoever awaited the range meanwhile would have none, and
   * throw the rows away with the split, perhaps on all nodes but one.
   */
  #isAboutToMake({ rangeId, start, generation }: RangeDescriptor): boolean {
    for (const parent of this.#replicas.values()) {
      if (parent.rangeId === rangeId || parent.generation >= generation) continue
      const { replicaId, stopped, quarantined } = parent.group.status()
      // It applies nothing any more, or has never had anything.
      if (replicaId === 0 || stopped !== undefined || quarantined) continue
      const { bounds } = parent.machine.layout
      if (bounds !== undefined ? lies(start, bounds) : this.#mayHold(parent.rangeId, start)) return true
    }
    return false
  }

  /** Of a replica that has not applied yet where it lies. Where a range begins never changes. */
  #mayHold(rangeId: number, key: Uint8Array): boolean {
    const descriptor = this.#wanted.get(rangeId)?.descriptor
    return descriptor !== undefined && compareBytes(descriptor.start, key) <= 0
  }

  /** @returns whether the group is open here afterwards */
  async #begin(rangeId: number, begin: Begin): Promise<boolean> {
    if (this.#busy.has(rangeId) || this.#replicas.has(rangeId)) return this.#replicas.has(rangeId)
    this.#busy.add(rangeId)
    try {
      const stateMachine = new RangeMachine(
        this.#ports.database,
        rangeId,
        undefined,
        this.#splitPort(rangeId),
      )
      const group = await begin({ stateMachine })
      this.#replicas.set(rangeId, this.#ports.replicaOf(group, stateMachine))
      this.#ports.changed()
      return true
    } finally {
      this.#busy.delete(rangeId)
    }
  }

  async #drop(rangeId: number): Promise<void> {
    this.#busy.add(rangeId)
    this.#replicas.delete(rangeId)
    try {
      // The directory shows the removal committed; the replica itself may never hear of it.
      await this.#ports.rafts.destroyGroup(rangeId, { confirm: `destroy group ${rangeId}` })
    } finally {
      this.#busy.delete(rangeId)
      this.#ports.changed()
    }
  }

  /** What the machine of a range needs of its node when it splits. */
  #splitPort(parentId: number): SplitPort {
    return {
      pending: this.#notes,
      claim: (rightId) => {
        const known =
          this.#replicas.has(rightId) || this.#busy.has(rightId) || this.#ports.rafts.stored().has(rightId)
        if (!known) this.#busy.add(rightId)
        return !known
      },
      unclaim: (rightId) => void this.#busy.delete(rightId),
      made: (rightId) => {
        const parent = this.#replicas.get(parentId)
        parent?.boundsChanged()
        this.#busy.delete(rightId)
        this.#noted.add(rightId)
        this.#inBackground(rightId, this.#adopt(rightId, parent?.group.token() !== undefined))
      },
    }
  }

  /** Makes the group of a right-hand replica whose state a split has made, unless the node has it already. */
  async #adopt(rangeId: number, campaign = false): Promise<void> {
    const { rafts, env, signal } = this.#ports
    try {
      if (!rafts.stored().has(rangeId))
        await this.#begin(rangeId, (setup) => rafts.adoptGroup(rangeId, setup))
    } catch (error) {
      if (!KeelsonError.hasCode(error, 'INVALID_ARGUMENT')) throw error
      // Of an earlier life of this node's log, which is gone: the range has to be brought here anew.
      env.logger.error({ error, rangeId }, 'what a split has left here is no replica of this node')
      await this.#forget(rangeId)
      return
    }
    // As long as the group is not there, the note is all that tells of it.
    if (!rafts.stored().has(rangeId)) return
    await this.#forget(rangeId)
    // Whoever leads the parent would best lead this one, too, and soon.
    for (const delayMs of campaign ? campaignDelaysMs : []) {
      await sleep(env.timers, delayMs, signal)
      this.#replicas.get(rangeId)?.group.campaign()
    }
  }

  async #forget(rangeId: number): Promise<void> {
    const done = this.#notes.batch()
    done.delete(prefixOf(rangeId))
    await this.#notes.commit(done, [])
    this.#noted.delete(rangeId)
  }

  #inBackground(rangeId: number, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (!this.#ports.signal.aborted)
        this.#ports.env.logger.warn(
          { error, rangeId },
          'a replica is not what it should be; it is tried again',
        )
    })
  }
}
