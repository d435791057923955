import { varintBytes } from '../../core/varint.ts'
import { isRemoval } from './lives.ts'
import { isLive } from './member-table.ts'
import type { Membership } from './membership.ts'
import type { SyncRecord } from './messages.ts'
import { type Entry, inlineMetadataBytes } from './statement.ts'

/** A member as one view holds it, for another view. */
export function recordOf(
  { table, suspicions, tuning }: Membership,
  { member, statement }: Entry,
  nowMs: number,
): SyncRecord {
  const { nodeId, state, version } = member
  const heldMs = nowMs - table.sinceMs(nodeId)
  // A removal does not age: releases that forget it after its time hear of it again.
  const ageMs = isRemoval(member) ? Math.min(heldMs, tuning.tombstoneMs / 2) : heldMs
  const suspicion = suspicions.get(nodeId)
  // By name, or one accuser would count as many who bring its accusation.
  const accuser = (suspicion ?? (state === 'dead' ? table.notes(nodeId) : undefined))?.accusations[0]?.accuser
  return {
    statement,
    state,
    version,
    accusedVersion: suspicion?.version ?? version,
    ageMs: isLive(member) ? 0 : Math.max(0, Math.round(ageMs)),
    accuser: accuser ?? '',
  }
}

/** A record's encoded length. */
export function recordBytes({ statement, version, accusedVersion, ageMs, accuser }: SyncRecord): number {
  const { nodeId, address, metadataBytes } = statement
  const numbers = [version, accusedVersion, ageMs, nodeId.length, statement.incarnation]
  numbers.push(statement.version, address.length, metadataBytes)
  let bytes = 4 + nodeId.length + address.length + accuser.length
  for (const number of numbers) bytes += varintBytes(number)
  return bytes + (metadataBytes <= inlineMetadataBytes ? metadataBytes : 4)
}
