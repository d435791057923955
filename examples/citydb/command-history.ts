import { KeelsonError } from 'keelson'
import { type CommandOutcome, readAppliedState } from 'keelson/raft'
import type { LevelState } from 'keelson/storage/level'
import { decodeResult } from './commands.ts'
import type { CommandNumber } from './protocol.ts'
import { type Ancestor, type Heir, isForgotten, type Layout } from './range-layout.ts'
import { mergedPrefix, within } from './range-surgery.ts'

/** What a range knows of commands that were sent to it, to those it comes from, and to those that were merged into it. */
export interface CommandHistory {
  readonly rangeId: number
  readonly layout: Layout
  readonly state: LevelState
}

/**
 * Whether a command took effect already in a range that was merged into this one. If it did not, it is this range's to take:
 * its own log tells whether it took effect here.
 *
 * A command may have reached several ranges, one after the other, and been refused by some: it took effect if it did in any.
 * Where what one of them knew is gone, nobody can tell.
 *
 * @throws KeelsonError what the command was refused with; `STALE_GENERATION` where it has not taken effect, and never will
 * under this number: it is to be sent under another one; `SESSION_UNKNOWN` where nobody can tell
 */
export async function tookEffectElsewhere(history: CommandHistory, command: CommandNumber): Promise<boolean> {
  const { rangeId: own, layout, state } = history
  const { rangeId, session } = command
  const isOurs = rangeId === own || knows(layout.ancestors, command)
  const heirs = layout.merged.filter((heir) => heir.rangeId === rangeId || knows(heir.ancestors, command))
  const outcomes: CommandOutcome[] = []
  for (const heir of heirs) outcomes.push(await outcomeIn(state, heir, command))
  const refusals: KeelsonError[] = []
  for (const outcome of outcomes) {
    if (outcome.type !== 'applied') continue
    const refusal = refusalIn(outcome.result)
    if (refusal === undefined) return true
    refusals.push(refusal)
  }
  const [refusal] = refusals
  if (refusal !== undefined) {
    // Refused there, and perhaps carried out here before or since.
    const here = isOurs ? readAppliedState(await state.bookkeeping()).outcome(command) : undefined
    if (here?.type === 'applied') return false
    throw refusal
  }
  const lost = outcomes.some(({ type }) => type === 'unknown' || type === 'forgotten')
  if (lost || isForgotten(own, layout.forgotten, { rangeId, index: session })) throw unknown(own, rangeId)
  if (isOurs) return false
  // Its session is younger than what was inherited of it, or is known to those alone that carry nothing out any more.
  if (heirs.length > 0 || layout.ancestors.some((each) => each.rangeId === rangeId))
    throw new KeelsonError(
      'STALE_GENERATION',
      `the command did not take effect in range ${rangeId}, which does not hold the row any more; send it under another number`,
      { retryable: false },
    )
  throw unknown(own, rangeId)
}

function knows(ancestors: readonly Ancestor[], { rangeId, session }: CommandNumber): boolean {
  return ancestors.some((each) => each.rangeId === rangeId && session <= each.index)
}

/** What became of a command in a range that was merged into this one. */
async function outcomeIn(state: LevelState, heir: Heir, command: CommandNumber): Promise<CommandOutcome> {
  // Nothing took effect there any more in a session that was opened after the freeze.
  if (heir.rangeId === command.rangeId && command.session > heir.index) return { type: 'none' }
  const prefix = mergedPrefix(heir.rangeId)
  const records = new Map<string, Uint8Array>()
  for await (const [key, value] of state.range(within(prefix)))
    records.set(new TextDecoder().decode(key.subarray(prefix.length)), value.slice())
  return readAppliedState(records).outcome(command)
}

/** A refusal is a result, too. */
function refusalIn(result: Uint8Array): KeelsonError | undefined {
  try {
    decodeResult(result)
    return undefined
  } catch (error) {
    if (!KeelsonError.is(error) || error.code === 'MALFORMED') throw error
    return error
  }
}

function unknown(own: number, rangeId: number): KeelsonError {
  return new KeelsonError(
    'SESSION_UNKNOWN',
    `range ${own} does not know what became of commands of this session of range ${rangeId}; open a new one, and look at the rows first`,
  )
}
