import { checkArray, checkInteger, checkObject, checkText } from '../../../core/arguments.ts'
import { KeelsonError } from '../../../core/errors.ts'
import { closest, showValue } from '../../../core/options.ts'
import type { Load, NodeLiveness, NodeState } from '../../../model/descriptors.ts'
import { checkId } from '../../../model/ids.ts'
import { replicaRoles } from '../../../model/replica-roles.ts'
import { maximumNonVoters, maximumVoters, type PlacementNode, type PlacementRange } from './cluster.ts'

const nodeStates: readonly NodeState[] = ['active', 'draining', 'drained', 'decommissioned']
const livenesses: readonly NodeLiveness[] = ['live', 'suspect', 'dead']
const storeStates = ['active', 'draining', 'failed'] as const

/** Checks a node before the model takes it. @throws KeelsonError `INVALID_ARGUMENT` that names the field */
export function checkNode(node: PlacementNode): void {
  checkObject(node, 'a node', ['descriptor', 'state', 'liveness', 'forMs'])
  checkObject(node.descriptor, "a node's descriptor", [
    'nodeId',
    'incarnation',
    'locality',
    'capacity',
    'labels',
  ])
  const { nodeId, incarnation, locality, capacity, labels } = node.descriptor
  checkText(nodeId, 'the nodeId of a node', 256)
  const of = (field: string): string => `${field} of node ${nodeId}`
  checkInteger(incarnation, of('the incarnation'))
  checkArray(locality, of('the locality'), 64)
  for (const tier of locality) {
    checkObject(tier, of('a tier of the locality'), ['key', 'value'])
    checkText(tier.key, of('the key of a tier'), 256)
    checkText(tier.value, of(`the value of tier ${tier.key}`))
  }
  checkAmounts(capacity, of('the capacity'), Number.POSITIVE_INFINITY)
  checkObject(labels, of('the labels'))
  checkWord(node.state, nodeStates, of('the state'))
  checkWord(node.liveness, livenesses, of('the liveness'))
  if (!(typeof node.forMs === 'number' && node.forMs >= 0)) refuse(of('forMs'), 'a number from 0', node.forMs)
  const names = new Set<string>()
  for (const store of checkArray(node.stores ?? [], of('the stores'), 1024)) {
    checkObject(store, of('a store'), ['storeId'])
    const { storeId } = store
    checkText(storeId, of('the storeId of a store'), 256)
    if (names.has(storeId))
      throw new KeelsonError('INVALID_ARGUMENT', `node ${nodeId} has store ${storeId} twice`)
    names.add(storeId)
    checkAmounts(store.capacity ?? {}, of(`the capacity of store ${storeId}`), Number.POSITIVE_INFINITY)
    if (store.state !== undefined) checkWord(store.state, storeStates, of(`the state of store ${storeId}`))
  }
}

/** Checks a range before the model takes it. @throws KeelsonError `INVALID_ARGUMENT` that names the field */
export function checkRange(range: PlacementRange): void {
  checkObject(range, 'a range', ['descriptor'])
  const { descriptor, leaseHolder, load, leaderLoad, replicationFactor, nonVoters, tableId } = range
  checkObject(descriptor, "a range's descriptor", ['rangeId', 'generation', 'replicas'])
  const { rangeId, generation, replicas } = descriptor
  checkId(rangeId, 'the rangeId of a range')
  // Names are made only for what is refused: a million ranges come by here.
  if (!isWhole(generation)) refuse(`the generation of range ${rangeId}`, 'a safe integer from 0', generation)
  if (!Array.isArray(replicas)) refuse(`the replicas of range ${rangeId}`, 'an array', replicas)
  for (let i = 0; i < replicas.length; i++) checkReplica(range, i)
  if (leaseHolder !== undefined && !isWhole(leaseHolder))
    refuse(`the leaseHolder of range ${rangeId}`, 'a replica id', leaseHolder)
  for (const [wanted, field, most] of [
    [replicationFactor, 'replicationFactor', maximumVoters],
    [nonVoters, 'nonVoters', maximumNonVoters],
  ] as const) {
    if (wanted === undefined || (isWhole(wanted) && wanted <= most)) continue
    refuse(`the ${field} of range ${rangeId}`, `an integer from 0 to ${most}`, wanted)
  }
  if (tableId !== undefined && !isWhole(tableId))
    refuse(`the tableId of range ${rangeId}`, 'a safe integer from 0', tableId)
  if (load !== undefined) checkLoad(load, 'load', rangeId)
  if (leaderLoad !== undefined) checkLoad(leaderLoad, 'leaderLoad', rangeId)
}

function checkReplica({ descriptor: { rangeId, replicas } }: PlacementRange, i: number): void {
  const replica = replicas[i]
  if (typeof replica !== 'object' || replica === null) {
    refuse(`replica ${i} of range ${rangeId}`, 'an object', replica)
  }
  const { replicaId, nodeId, incarnation, role } = replica
  if (!isWhole(replicaId) || replicaId === 0)
    refuse(`the replicaId of a replica of range ${rangeId}`, 'a positive safe integer', replicaId)
  if (typeof nodeId !== 'string' || nodeId === '')
    refuse(`the nodeId of replica ${replicaId} of range ${rangeId}`, 'a name', nodeId)
  if (!isWhole(incarnation))
    refuse(
      `the incarnation of replica ${replicaId} of range ${rangeId}`,
      'a safe integer from 0',
      incarnation,
    )
  if (!replicaRoles.includes(role))
    checkWord(role, replicaRoles, `the role of replica ${replicaId} of range ${rangeId}`)
  for (let j = 0; j < i; j++) {
    const other = replicas[j] as typeof replica
    if (other.replicaId === replicaId)
      throw new KeelsonError('INVALID_ARGUMENT', `range ${rangeId} has replica ${replicaId} twice`)
    if (other.nodeId !== nodeId || other.incarnation !== incarnation) continue
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      `range ${rangeId} has replicas ${other.replicaId} and ${replicaId} on one node, ${nodeId}; a node holds one at most`,
    )
  }
}

/** Checks what a range costs. @throws KeelsonError `INVALID_ARGUMENT` that names the field */
export function checkLoad(load: Load, field: string, rangeId: number): void {
  if (typeof load !== 'object' || load === null) refuse(`the ${field} of range ${rangeId}`, 'an object', load)
  for (const name in load) {
    const amount = load[name]
    if (
      amount !== undefined &&
      !(typeof amount === 'number' && amount >= 0 && amount <= Number.MAX_SAFE_INTEGER)
    )
      refuse(`${field}.${name} of range ${rangeId}`, 'a number from 0 to the largest safe integer', amount)
  }
}

function checkAmounts(amounts: Load, what: string, most: number): void {
  checkObject(amounts, what)
  for (const [name, amount] of Object.entries(amounts)) {
    if (!(typeof amount === 'number' && amount >= 0 && amount <= most))
      refuse(`${what} of ${name}`, 'a number from 0', amount)
  }
}

function checkWord(value: unknown, known: readonly string[], what: string): void {
  if (known.includes(value as string)) return
  const suggestion = typeof value === 'string' ? closest(value, known) : undefined
  const hint = suggestion === undefined ? '' : `; did you mean '${suggestion}'?`
  refuse(what, `one of ${known.join(', ')}`, value, hint)
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function refuse(what: string, wanted: string, value: unknown, hint = ''): never {
  throw new KeelsonError('INVALID_ARGUMENT', `${what} must be ${wanted}, not ${showValue(value)}${hint}`)
}
