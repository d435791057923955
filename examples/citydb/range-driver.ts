import { type Environment, KeelsonError, type RangeChange, type WantedRange } from 'keelson'
import type { NodeCalls } from './node-calls.ts'
import { exportRequest, exportResponse, ruleOutRequest } from './protocol.ts'
import { hasMerged } from './range-layout.ts'
import type { RangeReplica } from './range-replica.ts'
import type { ReplicaKeeper } from './replica-keeper.ts'

/** What {@link RangeDriver} needs of its node. */
export interface DriverPorts {
  readonly env: Environment
  readonly keeper: Pick<ReplicaKeeper, 'replicas' | 'wanted'>
  readonly calls: Pick<NodeCalls, 'askHolder'>
  readonly signal: AbortSignal
  /** What the node has to report is another. */
  readonly changed: () => void
}

/** A frozen range whose merge does not come makes sure that it never comes, and goes on. */
const frozenForMs = 1_000
/** Below this size nobody asks where the middle of a range is. */
const splittableBytes = 16 * 1024

/** Has the ranges that this node leads do what is wanted of them, and what they need beside that. */
export class RangeDriver {
  readonly #ports: DriverPorts
  /** Ranges whose wanted change is being carried out. */
  readonly #driving = new Set<number>()
  /** Since when a range that this node leads is frozen. */
  readonly #frozenSinceMs = new Map<number, number>()

  constructor(ports: DriverPorts) {
    this.#ports = ports
  }

  /** What a range needs beside what is wanted of it, from the node that leads it. */
  lookAfter(replica: RangeReplica): void {
    const { rangeId, machine, group } = replica
    const { bounds, frozen } = machine.layout
    if (group.token() === undefined) {
      this.#frozenSinceMs.delete(rangeId)
      return
    }
    const { signal } = this.#ports
    const descriptor = this.#ports.keeper.wanted.get(rangeId)?.descriptor
    // A range that does not know where it lies has never changed that: it lies where it was created.
    if (bounds === undefined) {
      if (descriptor !== undefined)
        this.#inBackground(replica.begin({ start: descriptor.start, end: descriptor.end }, { signal }))
      return
    }
    this.#inBackground(replica.seekMiddle(splittableBytes))
    if (frozen === undefined) {
      this.#frozenSinceMs.delete(rangeId)
      return
    }
    const nowMs = this.#ports.env.clock.monotonicMs()
    const sinceMs = this.#frozenSinceMs.get(rangeId) ?? nowMs
    this.#frozenSinceMs.set(rangeId, sinceMs)
    if (nowMs - sinceMs > frozenForMs && !this.#driving.has(rangeId)) this.#inBackground(this.#thaw(replica))
  }

  /**
   * Ends a freeze whose merge does not come, without any control plane. The neighbour's log decides: it gets a generation at
   * which it can never merge this range, and then this range goes on. If it has merged it, that is the end of this one.
   */
  async #thaw(replica: RangeReplica): Promise<void> {
    // Both of one moment: what is asked about this freeze says nothing of a later one.
    const { frozen } = replica.machine.layout
    const { generation } = replica
    if (frozen === undefined) return
    this.#driving.add(replica.rangeId)
    try {
      if (!(await this.#isRuledOut(replica, frozen))) return
      const { signal } = this.#ports
      await replica.changeBounds({ type: 'thaw', generation }, { signal })
      this.#ports.changed()
    } finally {
      this.#driving.delete(replica.rangeId)
    }
  }

  /** Asks the neighbour whether it has not merged this range, and never will for this freeze. */
  async #isRuledOut(
    { rangeId }: RangeReplica,
    { into, intoGeneration }: { readonly into: number; readonly intoGeneration: number },
  ): Promise<boolean> {
    const request = { rangeId: into, generation: intoGeneration, rightRangeId: rangeId }
    const answer = await this.#ports.calls.askHolder(into, 'ruleOut', ruleOutRequest.encode(request))
    return answer.length > 0
  }

  /** @returns whether the range was not merged, and never will be at that generation */
  async ruleOut(replica: RangeReplica, rangeId: number, generation: number): Promise<boolean> {
    const { signal } = this.#ports
    await replica.group.read({ signal })
    if (replica.generation === generation) {
      await replica.changeBounds({ type: 'touch', generation }, { signal })
      this.#ports.changed()
    }
    if (replica.generation <= generation)
      throw new KeelsonError('STALE_GENERATION', 'the range is behind what was asked', { retryable: true })
    const merged = hasMerged(replica.machine.layout.merges, { rangeId, generation })
    if (merged === undefined)
      throw new KeelsonError(
        'NOT_FOUND',
        `range ${replica.rangeId} does not know any more whether it merged range ${rangeId} at generation ${generation}; ask the directory`,
      )
    return !merged
  }

  /** Carries out the change that is wanted of a range, when this node leads it and nothing newer has happened. */
  async drive(rangeId: number): Promise<void> {
    const replica = this.#ports.keeper.replicas.get(rangeId)
    const change = this.#ports.keeper.wanted.get(rangeId)?.change
    if (replica === undefined || change === undefined || this.#driving.has(rangeId)) return
    const { group, machine } = replica
    if (!replica.serves) return
    // Of one at a time, and of none before the one before is applied here: so what is in the log is what is known here.
    if (replica.generation !== change.generation) return
    if (group.status().latestConfiguration?.generation !== group.status().appliedConfiguration?.generation)
      return
    if (machine.layout.frozen !== undefined && change.type !== 'thaw') return
    this.#driving.add(rangeId)
    try {
      await this.#carryOut(replica, change)
    } catch (error) {
      // Refused or lost: what is wanted is looked at again soon, against what is then true. A wrong call stays wrong.
      if (!KeelsonError.is(error) || error.code === 'INVALID_OPTION') throw error
    } finally {
      this.#driving.delete(rangeId)
      this.#ports.changed()
    }
  }

  async #carryOut(replica: RangeReplica, change: NonNullable<WantedRange['change']>): Promise<void> {
    const { group } = replica
    const { signal } = this.#ports
    const { generation } = change
    const expectedGeneration = generation - replica.machine.layout.offset
    switch (change.type) {
      case 'transferLease':
        if (change.replicaId !== group.status().replicaId)
          await group.transferLeadership(change.replicaId, { signal })
        return
      case 'swap':
        await group.changeMembership(
          [
            { type: 'promote', replicaId: change.promote },
            { type: 'remove', replicaId: change.remove },
          ],
          { expectedGeneration, signal },
        )
        return
      case 'addLearner': {
        const { type, nodeId, incarnation } = change
        await group.changeMembership({ type, nodeId, incarnation }, { expectedGeneration, signal })
        return
      }
      case 'promote':
      case 'remove': {
        const { type, replicaId } = change
        await group.changeMembership({ type, replicaId }, { expectedGeneration, signal })
        return
      }
      case 'split': {
        const { key, rightRangeId } = change
        await replica.changeBounds({ type: 'split', generation, key, rightRangeId }, { signal })
        return
      }
      case 'freeze': {
        const { into, intoGeneration } = change
        await replica.changeBounds({ type: 'freeze', generation, into, intoGeneration }, { signal })
        return
      }
      case 'thaw': {
        // Whoever wants it may know less than the neighbour, after a loss. Of one that is no more the directory knows.
        const { frozen } = replica.machine.layout
        const free =
          frozen === undefined ||
          (await this.#isRuledOut(replica, frozen).catch((error: unknown) => {
            if (KeelsonError.hasCode(error, 'NOT_FOUND')) return true
            throw error
          }))
        if (!free) return
        await replica.changeBounds({ type: 'thaw', generation }, { signal })
        return
      }
      case 'touch':
        await replica.changeBounds({ type: change.type, generation }, { signal })
        return
      case 'merge':
        await this.#merge(replica, change)
    }
  }

  /**
   * Brings all of a frozen neighbour into this range's log, part by part, and then has the log take it in. So whoever replays
   * the log comes to the same state, whether it ever had a replica of the neighbour or not.
   */
  async #merge(
    replica: RangeReplica,
    {
      generation,
      rightRangeId,
      rightGeneration,
    }: Extract<RangeChange, { type: 'merge' }> & { generation: number },
  ): Promise<void> {
    const { signal } = this.#ports
    const attempt = this.#ports.env.random.integer(Number.MAX_SAFE_INTEGER)
    const staging = { rightRangeId, rightGeneration, attempt }
    let resumeAt: Uint8Array | undefined
    let pairs = 0
    for (;;) {
      const request = { rangeId: rightRangeId, generation: rightGeneration, resumeAt }
      const answer = await this.#ports.calls.askHolder(rightRangeId, 'export', exportRequest.encode(request))
      const part = exportResponse.decode(answer)
      const first = pairs === 0
      pairs += part.pairs.length
      await replica.absorb({ ...staging, first, pairs: part.pairs }, { signal })
      resumeAt = part.resumeAt
      if (resumeAt !== undefined) continue
      const { facts, layout } = part
      await replica.changeBounds({ type: 'merge', generation, ...staging, pairs, facts, layout }, { signal })
      replica.boundsChanged()
      return
    }
  }

  #inBackground(work: Promise<unknown>): void {
    // Refused or lost: it is looked at again soon, against what is then true.
    work.catch((error: unknown) => {
      if (!KeelsonError.is(error))
        this.#ports.env.logger.error({ error }, 'a range could not be looked after')
    })
  }
}
