import { checkArray, checkObject } from '../core/arguments.ts'
import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'
import type { GroupWrite, HardState, LogEntry, LogPosition, LostEntries } from '../interfaces/log-store.ts'
import { checkId } from '../model/ids.ts'

/** Where the log of a group begins and ends. */
export interface LogBounds {
  readonly compacted: LogPosition
  readonly last: LogPosition
}

/** The start of every log. */
export const logOrigin: LogPosition = Object.freeze({ index: 0, term: 0 })

/** The bounds of a group that nothing is known of. */
export const emptyBounds: LogBounds = Object.freeze({ compacted: logOrigin, last: logOrigin })

function refuse(write: GroupWrite, problem: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', `a write to group ${write.groupId} ${problem}`)
}

function isAmount(value: unknown): boolean {
  return typeof value === 'number' && value >= 0
}

function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Checks a log position. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkPosition(position: LogPosition, what: string): void {
  checkObject(position, what)
  if (isIndex(position.index) && isIndex(position.term)) return
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `${what} needs an index and a term that are safe integers of at least 0`,
  )
}

/** Checks the form of a batch: a list of writes. @throws KeelsonError `INVALID_ARGUMENT` */
export function checkBatch(batch: readonly GroupWrite[]): readonly GroupWrite[] {
  for (const write of checkArray(batch, 'a batch of writes', Number.MAX_SAFE_INTEGER)) {
    checkObject(write, 'a write to a group')
    if (write.entries === undefined) continue
    for (const entry of checkArray(write.entries, 'the entries of a write', Number.MAX_SAFE_INTEGER))
      checkObject(entry, 'an entry')
  }
  return batch
}

/**
 * Checks a change to one group against the bounds of its log, before anything of it is done.
 *
 * @returns the bounds that the log will have afterwards
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function checkGroupWrite(write: GroupWrite, bounds: LogBounds): LogBounds {
  checkId(write.groupId, 'a group id')
  let after = bounds
  if (write.reset !== undefined) {
    checkPosition(write.reset, `a reset of group ${write.groupId}`)
    const position = { index: write.reset.index, term: write.reset.term }
    after = { compacted: position, last: position }
  }
  if (write.entries !== undefined && write.entries.length > 0) after = checkEntries(write, after)
  if (write.hardState !== undefined) checkHardState(write, write.hardState)
  if (write.metadata !== undefined && !(write.metadata instanceof Uint8Array)) {
    refuse(write, 'carries metadata that is not a byte array')
  }
  return after
}

function checkEntries(write: GroupWrite, { compacted, last }: LogBounds): LogBounds {
  const entries = write.entries as NonNullable<GroupWrite['entries']>
  const first = (entries[0] as (typeof entries)[number]).index
  if (!isIndex(first) || first <= compacted.index) {
    refuse(write, `starts at entry ${showValue(first)}, but entries up to ${compacted.index} are compacted`)
  }
  if (first > last.index + 1) {
    refuse(write, `starts at entry ${first} and would leave a gap behind entry ${last.index}`)
  }
  let index = first
  let term = first === last.index + 1 ? last.term : 0
  for (const entry of entries) {
    if (entry.index !== index)
      refuse(write, `holds entry ${showValue(entry.index)} where entry ${index} belongs`)
    if (!isIndex(entry.term) || entry.term < term) {
      refuse(write, `holds entry ${index} of term ${showValue(entry.term)} behind one of term ${term}`)
    }
    if (entry.kind !== 0 && entry.kind !== 1 && entry.kind !== 2 && entry.kind !== 3) {
      refuse(write, `holds entry ${index} of an unknown kind (${showValue(entry.kind)})`)
    }
    if (!(entry.data instanceof Uint8Array))
      refuse(write, `holds entry ${index} whose data is not a byte array`)
    term = entry.term
    index++
  }
  return { compacted, last: { index: index - 1, term } }
}

function checkHardState(write: GroupWrite, hardState: HardState): void {
  const { term, votedFor, commit } = checkObject(hardState, 'a hard state')
  if (isIndex(term) && isIndex(votedFor) && isIndex(commit)) return
  refuse(write, 'carries a hard state whose fields are not safe integers of at least 0')
}

/**
 * Checks entries that are put back in the place of lost ones.
 *
 * @param lost which entries of the group are lost, from the first index of `entries` to the last
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function checkRepair(
  groupId: number,
  entries: readonly LogEntry[],
  lost: (from: number, to: number) => readonly LostEntries[],
): void {
  const first = entries[0]?.index ?? 0
  // As a write behind the entry before, which checks all but where it belongs.
  const before = { index: first - 1, term: 0 }
  checkGroupWrite({ groupId, entries }, { compacted: before, last: before })
  const runs = lost(first, first + entries.length - 1)
  for (const { index, term } of entries) {
    if (runs.some((run) => run.first <= index && index <= run.last && run.term === term)) continue
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `entry ${index} of term ${term} of group ${groupId} is none that is lost: only the very entry that was there may be put back`,
    )
  }
}

/**
 * Checks the arguments of a read.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`, `COMPACTED`, `NOT_FOUND`
 */
export function checkRead(
  groupId: number,
  bounds: LogBounds | undefined,
  from: number,
  to: number,
  maximumBytes: number,
): void {
  checkId(groupId, 'a group id')
  if (!isIndex(from) || !isIndex(to) || from < 1 || from > to || !isAmount(maximumBytes)) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `cannot read entries ${showValue(from)} to ${showValue(to)} of group ${groupId} in ${showValue(maximumBytes)} bytes: ` +
        'indexes start at 1, the first may not be behind the last, and the limit is a number',
    )
  }
  const { compacted, last } = bounds ?? emptyBounds
  if (from <= compacted.index) {
    throw new KeelsonError(
      'COMPACTED',
      `entry ${from} of group ${groupId} is compacted; the log starts behind entry ${compacted.index}`,
      { details: { groupId, compactedIndex: compacted.index, compactedTerm: compacted.term } },
    )
  }
  if (to > last.index) {
    throw new KeelsonError(
      'NOT_FOUND',
      `entry ${to} of group ${groupId} does not exist; the last one is ${last.index}`,
      { details: { groupId, lastIndex: last.index } },
    )
  }
}

/**
 * Checks a compaction.
 *
 * @returns whether it changes anything: a position at or below the present one does not
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function checkCompaction(groupId: number, bounds: LogBounds, through: LogPosition): boolean {
  checkId(groupId, 'a group id')
  checkPosition(through, `a compaction of group ${groupId}`)
  if (through.index <= bounds.compacted.index) return false
  if (through.index <= bounds.last.index) return true
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `cannot compact group ${groupId} through entry ${through.index}: its last entry is ${bounds.last.index}; ` +
      'a log is moved beyond its end by a reset',
  )
}
