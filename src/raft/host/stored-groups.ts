import type { LogStore, RecoveredGroup } from '../../interfaces/log-store.ts'
import type { GroupId, ReplicaId } from '../../model/ids.ts'
import { decodeGroupMetadata, type GroupMetadata } from '../group/metadata.ts'
import { diskGroupId } from './disk-record.ts'
import type { DiskTrust } from './disk-trust.ts'

/** What a host's log store holds of a group, open or not. */
export interface StoredGroup {
  /** Of a destroyed group: the last id that this node's replica had. */
  readonly replicaId: ReplicaId
  /** Only its tombstone is left; the group cannot be opened any more. */
  readonly destroyed: boolean
  /** It lost what it had acknowledged: it takes part in nothing until it is replaced. */
  readonly quarantined: boolean
  /** The last recovery from a lost quorum that it goes along with; 0 for none. */
  readonly recoveryGeneration: number
  /** The group was recovered from a lost quorum without it: it cannot be opened any more, only destroyed. */
  readonly superseded: boolean
}

interface Stored {
  readonly metadata: GroupMetadata
  /** As found on opening; undefined for a group that came later, or was opened. */
  readonly recovered: RecoveredGroup | undefined
}

/** What the log store of a host has of each group. Of those that are open their replicas know more. */
export class StoredGroups {
  readonly #trust: DiskTrust
  readonly #groups = new Map<GroupId, Stored>()

  constructor(log: LogStore, trust: DiskTrust) {
    this.#trust = trust
    for (const [groupId, recovered] of log.recovered()) {
      if (recovered.metadata === undefined || groupId === diskGroupId) continue
      const metadata = decodeGroupMetadata(recovered.metadata)
      const quarantined = metadata.quarantined || trust.concerns(metadata)
      this.#groups.set(groupId, { recovered, metadata: { ...metadata, quarantined } })
    }
  }

  has(groupId: GroupId): boolean {
    return this.#groups.has(groupId)
  }

  get(groupId: GroupId): Stored | undefined {
    return this.#groups.get(groupId)
  }

  /** What was found on opening counts no more. */
  set(groupId: GroupId, metadata: GroupMetadata): void {
    this.#groups.set(groupId, { metadata, recovered: undefined })
  }

  /**
   * The disk forgot something. Returns the groups that are quarantined by that and were not before, of those that are not
   * open.
   */
  quarantine(isOpen: (groupId: GroupId) => boolean): [GroupId, GroupMetadata][] {
    const changed: [GroupId, GroupMetadata][] = []
    for (const [groupId, { metadata, recovered }] of this.#groups) {
      if (isOpen(groupId) || metadata.quarantined || !this.#trust.concerns(metadata)) continue
      const quarantined = { ...metadata, quarantined: true }
      this.#groups.set(groupId, { metadata: quarantined, recovered })
      changed.push([groupId, quarantined])
    }
    return changed
  }

  /** @param latest what the replica of a group that is open has, which may not be stored yet */
  report(latest: (groupId: GroupId) => GroupMetadata | undefined): Map<GroupId, StoredGroup> {
    const groups = new Map<GroupId, StoredGroup>()
    for (const [groupId, { metadata }] of this.#groups) {
      const { replicaId, destroyed, quarantined, recoveryGeneration, supersededBy } =
        latest(groupId) ?? metadata
      const superseded = supersededBy > 0
      groups.set(groupId, { replicaId, destroyed, quarantined, recoveryGeneration, superseded })
    }
    return groups
  }
}
