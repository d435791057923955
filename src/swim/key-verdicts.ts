import { KeelsonError } from '../core/errors.ts'
import type { NodeId } from '../model/ids.ts'
import type { SwimMember } from './core/types.ts'
import type { QueryAnswer } from './queries.ts'

/** First byte of an answer to a change. */
const refusedByte = 0
const doneByte = 1

/** Second byte of a refusal; an older release, which gives no reason, ends behind the first. */
const reasons = { overtaken: 1, unknown: 2, refused: 3 } as const

/** Members that are named in an error's message, and in its details. */
const namedInMessage = 5
const namedInDetails = 100

/** What a member answers to a change of its keys. */
export function answerOf(verdict: 'done' | keyof typeof reasons): Uint8Array {
  return verdict === 'done' ? new Uint8Array([doneByte]) : new Uint8Array([refusedByte, reasons[verdict]])
}

/** What became of a change, by member. */
export interface Verdict {
  readonly done: readonly NodeId[]
  readonly missing: readonly NodeId[]
  readonly refused: readonly NodeId[]
  readonly overtaken: readonly NodeId[]
  readonly unknown: readonly NodeId[]
}

/** Sorts members by what they answered. */
export function judge(wanted: readonly SwimMember[], answers: readonly QueryAnswer[]): Verdict {
  const said = new Map(answers.map(({ nodeId, payload }) => [nodeId, payload]))
  const verdict = {
    done: [] as NodeId[],
    missing: [] as NodeId[],
    refused: [] as NodeId[],
    overtaken: [] as NodeId[],
    unknown: [] as NodeId[],
  }
  for (const { nodeId } of wanted) {
    const answer = said.get(nodeId)
    if (answer === undefined) verdict.missing.push(nodeId)
    else if (answer[0] === doneByte) verdict.done.push(nodeId)
    else if (answer[1] === reasons.overtaken) verdict.overtaken.push(nodeId)
    else if (answer[1] === reasons.unknown) verdict.unknown.push(nodeId)
    else verdict.refused.push(nodeId)
  }
  return verdict
}

/** The error of a change that is not done everywhere: by its code and its details what is in the way, and where. */
export function failure(
  phase: 'add' | 'use' | 'remove',
  { missing, refused, overtaken, unknown }: Verdict,
): KeelsonError {
  const about: readonly (readonly [name: string, nodeIds: readonly NodeId[], what: string])[] = [
    ['unknown', unknown, 'do not know the key, and have to be given it first (rotate)'],
    ['refused', refused, 'refused: their key ring is full, or sends with that key'],
    ['overtaken', overtaken, 'have heard of a change that was begun later, which counts'],
    ['missing', missing, 'did not answer; call it again when they are well'],
  ]
  const some = about.filter(([, nodeIds]) => nodeIds.length > 0)
  const refusals = refused.length + overtaken.length
  const code = unknown.length > 0 ? 'NOT_FOUND' : refusals > 0 ? 'CONFLICT' : 'UNREACHABLE'
  const details = some.map(([name, nodeIds]) => [name, nodeIds.slice(0, namedInDetails).join(',')] as const)
  return new KeelsonError(
    code,
    `the key could not be ${phase === 'add' ? 'added' : `${phase}d`} everywhere: ${some.map(([, nodeIds, what]) => `${few(nodeIds)} ${what}`).join('; ')}`,
    {
      details: { ...Object.fromEntries(details), phase },
      outcome: 'unknown',
      retryable: refused.length === 0,
    },
  )
}

function few(nodeIds: readonly NodeId[]): string {
  const more = nodeIds.length - namedInMessage
  return `${nodeIds.slice(0, namedInMessage).join(', ')}${more > 0 ? ` and ${more} others` : ''}`
}
