import { checkArray, checkInteger, checkMembers, checkObject, checkText } from '../core/arguments.ts'
import { text, utf8 } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'
import { dataToPlain, plainToData } from '../core/plain-data.ts'
import { checkId, checkName, type NodeId, type RangeId } from '../model/ids.ts'
import type { PlacementLimits, WhatIfChange } from '../placement/index.ts'

/** A node that a what-if adds, as an operator would describe it. */
export interface ImaginedNode {
  /** A name that no node has. */
  readonly nodeId: NodeId
  /** Where it stands: `region=eu,zone=eu-1`. Default: nowhere in particular. */
  readonly locality?: string
  /** What it can hold, by resource. Default: nothing is said of it, so it has no limit. */
  readonly capacity?: Readonly<Record<string, number>>
  /** Names that rules refer to. Default: none. */
  readonly labels?: Readonly<Record<string, string>>
}

/** Something that has not happened, as it can be asked of a running cluster. All of it happens at once. */
export interface ImaginedChange
  extends Pick<WhatIfChange, 'loseNodes' | 'loseDomain' | 'drainNodes' | 'overloadStores' | 'growLoad'> {
  /** Nodes that come. At most 1,000. */
  readonly addNodes?: readonly ImaginedNode[]
}

/** How a what-if is worked out. */
export interface ImaginedOptions {
  /** How much one plan may do, where it differs from `whatIfLimits`. */
  readonly limits?: Partial<PlacementLimits>
  /** Decides among nodes that are equally good. Default: 0. */
  readonly seed?: number
  /** Plans that are carried out, one after the other, at most. Default: 1,000. */
  readonly maximumRounds?: number
}

/** What can be asked of the leader about placement. */
export type PlacementQuestion =
  | { readonly type: 'explain'; readonly rangeId: RangeId }
  | { readonly type: 'explainNode'; readonly nodeId: NodeId }
  | { readonly type: 'plan'; readonly moves: number; readonly bounds: boolean }
  | { readonly type: 'whatIf'; readonly change: ImaginedChange; readonly options: ImaginedOptions }
  | { readonly type: 'lostSight' }

/** Largest question on the wire, in bytes. */
export const maximumQuestionBytes: number = 512 * 1024
/** Moves in an answer, at most. */
export const mostMovesAnswered = 500
const formatVersion = 1
const answerVersion = 1
/** A what-if tells of three hundred stores; one of them may have 64 resources. */
const answerLimits = { depth: 16, values: 250_000 }
const maximumNodes = 1_000
const maximumNames = 10_000
const maximumEntries = 64

const members: Readonly<Record<PlacementQuestion['type'], readonly string[]>> = {
  explain: ['rangeId'],
  explainNode: ['nodeId'],
  plan: ['moves', 'bounds'],
  whatIf: ['change', 'options'],
  lostSight: [],
}

/** A question for the wire. @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function encodeQuestion(question: PlacementQuestion): Uint8Array {
  const bytes = utf8(JSON.stringify({ version: formatVersion, ...checkQuestion(question) }))
  if (bytes.length <= maximumQuestionBytes) return bytes
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `a question about placement has at most ${maximumQuestionBytes} bytes, not ${bytes.length}; ask for less at a time`,
  )
}

/** The inverse of {@link encodeQuestion}, from anybody. @throws KeelsonError `MALFORMED`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED` */
export function decodeQuestion(bytes: Uint8Array): PlacementQuestion {
  if (bytes.length > maximumQuestionBytes) {
    throw new KeelsonError(
      'LIMIT_EXCEEDED',
      `a question about placement has at most ${maximumQuestionBytes} bytes`,
    )
  }
  let value: unknown
  try {
    value = JSON.parse(text(bytes))
  } catch (cause) {
    throw new KeelsonError('MALFORMED', 'a question about placement is not JSON', { cause })
  }
  const { version, ...question } = checkObject(value as Record<string, unknown>, 'a question about placement')
  if (version !== formatVersion) {
    throw new KeelsonError(
      'UNSUPPORTED',
      `a question about placement has version ${showValue(version)}, and this server knows ${formatVersion}`,
    )
  }
  return checkQuestion(question)
}

function checkQuestion(value: unknown): PlacementQuestion {
  const question = checkObject(value as PlacementQuestion, 'a question about placement', ['type'])
  const known = Object.hasOwn(members, question.type) ? members[question.type] : undefined
  if (known === undefined) {
    throw new KeelsonError(
      'UNSUPPORTED',
      `nobody knows how to answer ${showValue(question.type)} about placement`,
    )
  }
  checkMembers(question, 'a question about placement', ['type', ...known])
  switch (question.type) {
    case 'explain':
      checkId(question.rangeId, 'the id of a range')
      break
    case 'explainNode':
      checkName(question.nodeId, 'the name of a node')
      break
    case 'plan':
      if (checkInteger(question.moves, 'the number of moves to be told') > mostMovesAnswered)
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `at most ${mostMovesAnswered} moves are told, not ${question.moves}`,
        )
      if (typeof question.bounds !== 'boolean')
        throw new KeelsonError(
          'INVALID_ARGUMENT',
          `bounds must be true or false, not ${showValue(question.bounds)}`,
        )
      break
    case 'whatIf':
      checkChange(question.change)
      checkMembers(question.options, 'the options of a what-if', ['limits', 'seed', 'maximumRounds'])
      break
    case 'lostSight':
  }
  return question
}

/** Whatever does not depend on the cluster: what it does, the leader says. */
function checkChange(change: ImaginedChange): void {
  const known: readonly (keyof ImaginedChange)[] = [
    'addNodes',
    'loseNodes',
    'loseDomain',
    'drainNodes',
    'overloadStores',
    'growLoad',
  ]
  checkMembers(change, 'a change', known)
  const {
    addNodes = [],
    loseNodes = [],
    loseDomain,
    drainNodes = [],
    overloadStores = {},
    growLoad = {},
  } = change
  for (const node of checkArray(addNodes, 'the nodes that come', maximumNodes)) checkNode(node)
  for (const [names, what] of [
    [loseNodes, 'the nodes that are lost'],
    [drainNodes, 'the nodes to empty'],
  ] as const) {
    for (const nodeId of checkArray(names, what, maximumNames)) checkName(nodeId, `one of ${what}`)
  }
  if (loseDomain !== undefined) {
    checkMembers(loseDomain, 'the domain that is lost', ['tier', 'value'])
    checkText(loseDomain.tier, 'the tier of the domain that is lost', 256)
    checkText(loseDomain.value, 'the value of the domain that is lost', 256)
  }
  checkEntries(overloadStores, 'overloadStores', maximumNames)
  for (const [name, factor] of checkEntries(growLoad, 'growLoad')) {
    if (typeof factor === 'number' && factor >= 0) continue
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `growLoad.${name} is a factor from 0, not ${showValue(factor)}`,
    )
  }
}

function checkNode(node: ImaginedNode): void {
  checkMembers(node, 'a node that comes', ['nodeId', 'locality', 'capacity', 'labels'])
  const { nodeId, locality = '', capacity = {}, labels = {} } = node
  checkName(nodeId, 'the name of a node that comes')
  if (locality !== '') checkText(locality, `the locality of node ${nodeId}`)
  for (const [name, amount] of checkEntries(capacity, `the capacity of node ${nodeId}`)) {
    if (typeof amount === 'number' && amount >= 0 && amount <= Number.MAX_SAFE_INTEGER) continue
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `the capacity of node ${nodeId} of ${name} must be a number from 0 to the largest safe integer, not ${showValue(amount)}`,
    )
  }
  for (const [name, value] of checkEntries(labels, `the labels of node ${nodeId}`))
    checkText(value, `the label ${name} of node ${nodeId}`, 256)
}

function checkEntries(
  value: object,
  what: string,
  most = maximumEntries,
): readonly (readonly [string, unknown])[] {
  const entries = Object.entries(checkObject(value, what))
  if (entries.length > most)
    throw new KeelsonError('LIMIT_EXCEEDED', `${what} has at most ${most} entries, not ${entries.length}`)
  for (const [name] of entries) checkText(name, `a name in ${what}`, 512)
  return entries
}

/** An answer for the wire. @throws KeelsonError `LIMIT_EXCEEDED` */
export function encodeAnswer(answer: object, mostBytes: number): Uint8Array {
  const bytes = encodePlain([answerVersion, dataToPlain(answer, 'an answer about placement', answerLimits)])
  if (bytes.length <= mostBytes) return bytes
  throw new KeelsonError(
    'LIMIT_EXCEEDED',
    `the answer has ${bytes.length} bytes, and ${mostBytes} are the most; ask for fewer moves`,
  )
}

/** The inverse of {@link encodeAnswer}. @throws KeelsonError `MALFORMED`, `UNSUPPORTED` */
export function decodeAnswer<T>(bytes: Uint8Array): T {
  const what = 'an answer about placement'
  const { depth, values } = answerLimits
  // Around the answer stands an array with its version.
  const fields = new Fields(decodePlain(bytes, what, { depth: depth + 1, values: values + 2 }), what)
  const version = fields.uint('version')
  if (version !== answerVersion) {
    throw new KeelsonError(
      'UNSUPPORTED',
      `${what} has version ${version}, and this program knows ${answerVersion}; bring it to the version of the servers`,
    )
  }
  const answer = plainToData(fields.plain(), what)
  if (typeof answer === 'object' && answer !== null && Object.hasOwn(answer, 'madeBy')) return answer as T
  throw new KeelsonError('MALFORMED', `${what} does not say who made it`)
}
