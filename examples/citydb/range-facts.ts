import { decodePlain, encodePlain, Fields } from 'keelson'
import type { LevelStateReader } from 'keelson/storage/level'

/** What a range knows about itself beside its rows; part of the replicated state. */
export interface Facts {
  /** Oldest schema version that a command may be planned under. */
  readonly minimumVersion: number
  /** Highest epoch of a schema coordinator that has worked here. */
  readonly epoch: number
  /** Writes taken, as the lease holders booked them. */
  readonly ledger: number
  /**
   * Effects of a lease holder that were accepted after a newer holder had taken over. The library's fence refuses them,
   * so this stays 0; it is counted from the log itself, apart from the fence, to prove it.
   */
  readonly staleEffects: number
}

export const noFacts: Facts = { minimumVersion: 0, epoch: 0, ledger: 0, staleEffects: 0 }
export const factsKey: Uint8Array = Uint8Array.of(0x66)

/** What holds for the rows of either holds for those of both. */
export function mergedFacts(left: Facts, right: Facts): Facts {
  return {
    minimumVersion: Math.max(left.minimumVersion, right.minimumVersion),
    epoch: Math.max(left.epoch, right.epoch),
    ledger: left.ledger + right.ledger,
    staleEffects: left.staleEffects + right.staleEffects,
  }
}

export function encodeFacts(facts: Facts): Uint8Array {
  return encodePlain([1, facts.minimumVersion, facts.epoch, facts.ledger, facts.staleEffects])
}

/** @throws KeelsonError `MALFORMED` */
export async function readFacts(reader: LevelStateReader): Promise<Facts> {
  const bytes = await reader.get(factsKey)
  return bytes === undefined ? noFacts : decodeFacts(bytes)
}

/** @throws KeelsonError `MALFORMED` */
export function decodeFacts(bytes: Uint8Array): Facts {
  const fields = new Fields(decodePlain(bytes, 'the facts of a range'), 'the facts of a range')
  fields.oneOf('version', [1])
  return {
    minimumVersion: fields.uint('minimum version'),
    epoch: fields.uint('epoch'),
    ledger: fields.uint('ledger'),
    staleEffects: fields.uint('stale effects'),
  }
}
