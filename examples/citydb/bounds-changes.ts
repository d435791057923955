import { type Bookkeeping, type BookkeepingWrite, equalBytes, type RangeBounds } from 'keelson'
import { readAppliedState } from 'keelson/raft'
import type { ByteLevel, LevelState } from 'keelson/storage/level'
import { type BoundsCommand, encodeRefusal, encodeResult } from './commands.ts'
import { decodeFacts, encodeFacts, type Facts, factsKey, mergedFacts } from './range-facts.ts'
import {
  decodeLayout,
  emptyLayout,
  encodeLayout,
  forgetting,
  type Heir,
  keptAndDropped,
  type Layout,
  layoutKey,
  lies,
  withMerge,
} from './range-layout.ts'
import {
  bookkeepingOfRight,
  clear,
  cutOff,
  mergedPrefix,
  prefixOf,
  RightHand,
  type SplitPort,
  tags,
  takeIn,
} from './range-surgery.ts'

type Seal = (results: readonly Uint8Array[]) => readonly BookkeepingWrite[]

/** A range whose bounds change, as its machine holds it. */
export interface ChangingRange {
  readonly db: ByteLevel
  readonly rangeId: number
  readonly state: LevelState
  /** Makes the right-hand replicas of splits; without one there are none here. */
  readonly port: SplitPort | undefined
  readonly facts: Facts
  readonly layout: Layout
  /** What may be read while the change is being written. */
  readonly narrow: (readable: RangeBounds | undefined) => void
  /** The change is there. */
  readonly became: (facts: Facts, layout: Layout) => void
}

/** An entry of the log that changes bounds. */
interface Entry<Command extends BoundsCommand = BoundsCommand> {
  readonly command: Command
  readonly index: number
  readonly seal: Seal
  /** Generation of the range when it comes to be applied. */
  readonly generation: number
  /** The bookkeeping before it. */
  readonly before: Bookkeeping
}

/**
 * A change of where the range lies, applied in a batch of its own, if it was meant for the generation that the range has. Refused
 * it has no effect, on all replicas alike.
 */
export async function changeBounds(
  range: ChangingRange,
  command: BoundsCommand,
  index: number,
  seal: Seal,
): Promise<void> {
  const before = await range.state.bookkeeping()
  const members = readAppliedState(before).configuration
  const generation = (members?.generation ?? 0) + range.layout.offset
  const entry = { command, index, seal, generation, before }
  const joint = members?.joint !== undefined
  const refusal = refusalOf(range, entry, joint) ?? (await carryOut(range, entry))
  if (refusal === undefined) return
  await range.state.commit(range.state.batch(), seal([encodeRefusal('STALE_GENERATION', refusal)]))
}

/** Why the range does not take a change, as far as that can be seen without reading. */
function refusalOf(
  { layout }: ChangingRange,
  { command, generation }: Entry,
  joint: boolean,
): string | undefined {
  const { bounds, frozen } = layout
  if (generation !== command.generation)
    return `the range has generation ${generation}, not ${command.generation}`
  if (joint) return 'the voters of the range are changing places'
  if (bounds === undefined) return 'the range has only begun'
  if (frozen === undefined && command.type === 'thaw') return 'the range is not frozen'
  if (frozen !== undefined && command.type !== 'thaw') return 'the range is frozen'
  if (command.type !== 'split') return undefined
  const inside = lies(command.key, bounds) && !equalBytes(command.key, bounds.start)
  return inside ? undefined : 'the key of the split does not lie inside the range'
}

/** @returns why it is refused after all */
async function carryOut(range: ChangingRange, entry: Entry): Promise<string | undefined> {
  const { command, index } = entry
  const { layout, state } = range
  const raised: Layout = { ...layout, offset: layout.offset + 1 }
  switch (command.type) {
    case 'split':
      await split(range, { ...entry, command })
      return undefined
    case 'merge':
      return merge(range, { ...entry, command })
    case 'freeze': {
      const { into, intoGeneration } = command
      await commit(range, entry, { ...raised, frozen: { into, intoGeneration, index } })
      return undefined
    }
    case 'thaw':
      await commit(range, entry, { ...raised, frozen: undefined })
      return undefined
    case 'touch': {
      const batch = state.batch()
      await clear(batch, Uint8Array.of(tags.staged))
      await commit(range, entry, raised, batch)
      return undefined
    }
  }
}

async function commit(
  range: ChangingRange,
  { seal }: Entry,
  next: Layout,
  batch: ReturnType<LevelState['batch']> = range.state.batch(),
  facts: Facts = range.facts,
): Promise<void> {
  batch.put(layoutKey, encodeLayout(next))
  if (next.frozen !== undefined) range.narrow(undefined)
  await range.state.commit(batch, seal([encodeResult({ rows: 0, resumeAt: undefined })]))
  range.became(facts, next)
}

/** Takes in the frozen neighbour, which has been put aside here part by part. */
async function merge(
  range: ChangingRange,
  entry: Entry<Extract<BoundsCommand, { type: 'merge' }>>,
): Promise<string | undefined> {
  const { command, generation, index } = entry
  const { layout, state } = range
  const own = layout.bounds as RangeBounds
  const { rightRangeId: rangeId, rightGeneration } = command
  const right = decodeLayout(command.layout)
  if (right.bounds === undefined || own.end === undefined || !equalBytes(own.end, right.bounds.start))
    return `range ${rangeId} is no right-hand neighbour`
  if (right.frozen?.into !== range.rangeId || right.frozen.intoGeneration !== generation)
    return `range ${rangeId} is not frozen for this generation`
  const batch = state.batch()
  if (!(await takeIn(state, batch, command))) return `not all of range ${rangeId} is here`
  const heir = { rangeId, index: right.frozen.index, ancestors: right.ancestors }
  // What was merged before the two came apart, both have.
  const heirs = new Map([...layout.merged, ...right.merged, heir].map((each) => [each.rangeId, each]))
  const latestFirst = [heir, ...right.merged, ...layout.merged].map((each) => each.rangeId)
  const { kept, dropped } = keptAndDropped([...new Set(latestFirst)].map((each) => heirs.get(each) as Heir))
  for (const each of dropped) await clear(batch, mergedPrefix(each.rangeId))
  const facts = mergedFacts(range.facts, decodeFacts(command.facts))
  batch.put(factsKey, encodeFacts(facts))
  const next: Layout = {
    ...layout,
    bounds: { start: own.start, end: right.bounds.end },
    // Whoever routes by generations must find it newer than both.
    offset: layout.offset + Math.max(generation, rightGeneration) + 1 - generation,
    merged: kept,
    forgotten: forgetting(
      { rangeId: range.rangeId, index },
      [layout.forgotten, right.forgotten],
      dropped.flatMap((each) => [each, ...each.ancestors]),
    ),
    merges: withMerge(layout.merges, { rangeId, generation }),
    bytes: layout.bytes + right.bytes,
  }
  await commit(range, entry, next, batch, facts)
  return undefined
}

/**
 * Cuts the state in two, in one act with everything that must be atomic with it: the bookkeeping of both, and the note
 * that the right-hand replica is to be opened.
 */
async function split(
  range: ChangingRange,
  { command, index, generation, before, seal }: Entry<Extract<BoundsCommand, { type: 'split' }>>,
): Promise<void> {
  const { layout, state, port, facts } = range
  const { key, rightRangeId } = command
  const bounds = layout.bounds as RangeBounds
  const claimed = port?.claim(rightRangeId) === true
  const right = claimed ? await RightHand.open(range.db, rightRangeId) : undefined
  const batch = state.batch()
  const bytes = await cutOff(state, batch, right?.changes, key)
  const next: Layout = {
    ...layout,
    bounds: { start: bounds.start, end: key },
    offset: layout.offset + 1,
    splitOff: { rangeId: rightRangeId, generation: generation + 1 },
    bytes: layout.bytes - bytes,
  }
  batch.put(layoutKey, encodeLayout(next))
  const { kept, dropped } = keptAndDropped([{ rangeId: range.rangeId, index }, ...layout.ancestors])
  const rightLayout: Layout = {
    ...emptyLayout,
    bounds: { start: key, end: bounds.end },
    // The generation of its first configuration is 1.
    offset: generation,
    ancestors: kept,
    merged: layout.merged,
    forgotten: forgetting({ rangeId: rightRangeId, index: 0 }, [layout.forgotten], dropped),
    bytes,
  }
  right?.changes.put(layoutKey, encodeLayout(rightLayout))
  right?.changes.put(factsKey, encodeFacts({ ...facts, ledger: 0, staleEffects: 0 }))
  // From here on nobody may take a row that has gone for one that never was.
  range.narrow(next.bounds)
  const writes = seal([encodeResult({ rows: 0, resumeAt: undefined })])
  const bookkeeping = right === undefined ? undefined : bookkeepingOfRight(before, writes, rightRangeId)
  if (port === undefined || right === undefined || bookkeeping === undefined) {
    await state.commit(batch, writes)
    if (claimed) port?.unclaim(rightRangeId)
    range.became(facts, next)
  } else {
    const pending = port.pending.batch()
    pending.put(prefixOf(rightRangeId), new Uint8Array(0))
    await state.commitWith(batch, writes, [
      { state: right.state, changes: right.changes, bookkeeping },
      { state: port.pending, changes: pending, bookkeeping: [] },
    ])
    range.became(facts, next)
    port.made(rightRangeId)
  }
}
