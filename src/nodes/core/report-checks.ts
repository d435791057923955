import { checkArray, checkObject } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { showValue } from '../../core/options.ts'
import type { ObservedReplica } from '../../interfaces/range-host.ts'
import type { Load } from '../../model/descriptors.ts'
import type { NodeId } from '../../model/ids.ts'
import { isAmount } from './record.ts'

/** What a report says that may be wrong. */
interface Reported {
  readonly nodeId: NodeId
  readonly load: Load
  readonly capacity: Load
  readonly replicas: readonly ObservedReplica[]
  readonly stores?: readonly { readonly storeId: string; readonly load: Load; readonly capacity: Load }[]
}

/**
 * Checks what a node says of itself and of its replicas: amounts, ids, and that a configuration has each node and each replica
 * once. The same by who sends a report and by who reads it: one that cannot be tells of a mistake of its host.
 *
 * @throws KeelsonError `INVALID_ARGUMENT` that names the node and the field
 */
export function checkReported({ nodeId, load, capacity, replicas, stores = [] }: Reported): void {
  const of = `of node ${nodeId}`
  checkAmounts(load, 'the load', of)
  checkAmounts(capacity, 'the capacity', of)
  for (const store of stores) {
    checkAmounts(store.load, `the load of store ${store.storeId}`, of)
    checkAmounts(store.capacity, `the capacity of store ${store.storeId}`, of)
  }
  for (const replica of replicas) checkReplica(replica, of)
}

// Names are made only for what is refused: tens of thousands of replicas come by here each second.
function checkReplica(replica: ObservedReplica, of: string): void {
  const { rangeId, replicaId, replicas, caughtUp, load } = replica
  const refuseId = (what: string, id: unknown): never =>
    refuse(`${what} of range ${rangeId} ${of}`, 'a positive safe integer', id)
  if (!isId(rangeId)) refuse(`the id of a range ${of}`, 'a positive safe integer', rangeId)
  if (!isId(replicaId)) refuseId('the replica id', replicaId)
  for (const id of checkArray(caughtUp, 'the replicas that have caught up'))
    if (!isId(id)) refuseId('the id of a replica that has caught up', id)
  if (!areAmounts(load)) checkAmounts(load, `the load of range ${rangeId}`, of)
  checkArray(replicas, 'the members of a range')
  for (let i = 0; i < replicas.length; i++) {
    const member = replicas[i] as (typeof replicas)[0]
    if (!isId(member.replicaId)) refuseId('the id of a member', member.replicaId)
    for (let j = 0; j < i; j++) {
      const other = replicas[j] as typeof member
      if (other.replicaId === member.replicaId)
        twice(`replica ${member.replicaId} twice in range ${rangeId} ${of}`)
      if (other.nodeId === member.nodeId)
        twice(`two replicas of range ${rangeId} on one node, ${member.nodeId}, by the report ${of}`)
    }
  }
}

function checkAmounts(amounts: Load, what: string, of: string): void {
  for (const [name, amount] of Object.entries(checkObject(amounts, `${what} ${of}`))) {
    if (!isAmount(amount))
      refuse(`${name} in ${what} ${of}`, 'a number from 0 to the largest safe integer', amount)
  }
}

function areAmounts(load: Load): boolean {
  if (typeof load !== 'object' || load === null || Array.isArray(load)) return false
  for (const name in load) if (!isAmount(load[name])) return false
  return true
}

function isId(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function refuse(what: string, wanted: string, value: unknown): never {
  throw new KeelsonError('INVALID_ARGUMENT', `${what} must be ${wanted}, not ${showValue(value)}`)
}

function twice(what: string): never {
  throw new KeelsonError(
    'INVALID_ARGUMENT',
    `there are ${what}; a configuration has each node and each replica once`,
  )
}
