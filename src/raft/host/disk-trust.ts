import type { Environment } from '../../core/environment.ts'
import type { LogStore } from '../../interfaces/log-store.ts'
import type { NodeId } from '../../model/ids.ts'
import type { GroupMetadata } from '../group/metadata.ts'
import { type DiskHistory, maximumLivesIn } from './disk-history.ts'
import type { ForgottenMark } from './disk-marks.ts'
import { type DiskRecord, diskGroupId, encodeDiskRecord, isConcerned, readDiskRecord } from './disk-record.ts'

/** What {@link DiskTrust} needs. */
export interface DiskTrustOptions {
  readonly env: Environment
  readonly log: LogStore
}

const forgot =
  'an older image of the disk came back, or it lost what it had confirmed: the groups of this node are quarantined. Remove their replicas, and start the node with an empty directory'

/**
 * Whether the disk of this node is believed, and in which lives it was used; kept on the disk itself. That a life has begun
 * is durable before this node says or promises anything in it, and that the disk was found out is stored at once for all
 * groups. If that write is cut off, whoever tells it to the next life is believed as well: the history of lives has not
 * become better by then.
 */
export class DiskTrust {
  readonly #options: DiskTrustOptions
  #record: DiskRecord
  #began = false

  constructor(options: DiskTrustOptions) {
    this.#options = options
    this.#record = readDiskRecord(options.log)
  }

  /** Begins a life of the host. To be called when the store has been opened, and nothing was written yet. */
  static async open(options: DiskTrustOptions): Promise<DiskTrust> {
    const trust = new DiskTrust(options)
    const { forgetful, evidence } = trust.#record
    if (forgetful) options.env.logger.error({ evidence }, forgot)
    await trust.begin()
    return trust
  }

  /** Something was found to be missing, in this life or a former one. */
  get forgot(): boolean {
    return this.#record.forgetful
  }

  /** With the present life; undefined where the store does not say how far it is, or did not when this life began. */
  get history(): DiskHistory | undefined {
    return this.#began ? this.#record.history : undefined
  }

  /** Whether a group relies on something that was forgotten. */
  concerns(metadata: GroupMetadata): boolean {
    return isConcerned(this.#record, metadata)
  }

  /**
   * A node knows that the disk had more than it has.
   *
   * @returns the write that makes it durable, or undefined when it is known that groups are concerned which came to be as late
   */
  found(knownBy: NodeId, mark: ForgottenMark): Promise<void> | undefined {
    const { forgetful, evidence, history } = this.#record
    const { life, position, settledFrom } = mark
    // Of a life that others have driven out by now less is known than when it was found out first.
    if (forgetful && (life === evidence?.life || settledFrom <= (evidence?.settledFrom ?? 0)))
      return undefined
    const { logger, clock } = this.#options.env
    const found = {
      knownBy,
      life,
      position,
      openedAt: history.present?.openedAt ?? 0,
      atMs: clock.wallMs(),
      settledFrom,
    }
    logger.error({ evidence: found }, forgot)
    this.#record = { forgetful: true, evidence: found, history }
    return this.store()
  }

  /** @internal */
  async begin(): Promise<void> {
    const { env, log } = this.#options
    const openedAt = log.durablePosition?.()
    if (openedAt === undefined) return
    const history = this.#record.history.begun(env.random, openedAt, maximumLivesIn(log.limits.writeBytes))
    this.#record = { ...this.#record, history }
    this.#began = true
    await this.store()
  }

  /** @internal */
  async store(): Promise<void> {
    await this.#options.log.write([{ groupId: diskGroupId, metadata: encodeDiskRecord(this.#record) }])
  }
}

/**
 * A tool has opened a store, and is about to write to it: that is durable first, so that the next host does not take what the
 * tool has written for what the disk had before.
 *
 * @param record what the store has now
 * @param recovers a group from a lost quorum
 * @returns what it has then
 */
export async function noteVisit(
  env: Environment,
  store: LogStore,
  record: DiskRecord,
  recovers: boolean,
): Promise<DiskRecord> {
  const openedAt = store.durablePosition?.()
  if (openedAt === undefined) return record
  const maximumLives = maximumLivesIn(store.limits.writeBytes)
  const history = record.history.visited(env.random, openedAt, recovers, maximumLives)
  if (history === record.history) return record
  const visited = { ...record, history }
  await store.write([{ groupId: diskGroupId, metadata: encodeDiskRecord(visited) }])
  return visited
}
