import { checkArray, checkBytes, checkObject, checkText } from '../core/arguments.ts'
import { compareBytes } from '../core/bytes.ts'
import { KeelsonError } from '../core/errors.ts'
import { showValue } from '../core/options.ts'
import type { RangeChange } from '../interfaces/range-host.ts'
import type { RangeDescriptor, ReplicaRole } from '../model/descriptors.ts'
import { checkId, checkName, type NodeId } from '../model/ids.ts'
import { sortRanges } from './directory-records.ts'
import type { ControllerEpoch } from './epoch.ts'

export function refuse(problem: string): never {
  throw new KeelsonError('INVALID_ARGUMENT', problem)
}

export function checkEpoch(epoch: ControllerEpoch): void {
  checkObject(epoch, 'the epoch of a controller', ['number', 'txn'])
}

/** What stands in a wish is read by nodes: it must be one that they know. */
export function checkChange(change: RangeChange): void {
  checkObject(change, 'the change of a range')
  switch (change.type) {
    case 'addLearner':
      checkName(change.nodeId, 'the node of a new learner')
      checkId(change.incarnation, 'the incarnation of a new learner')
      if (change.storeId !== undefined) checkText(change.storeId, 'the store of a new learner', 256)
      break
    case 'swap':
      checkId(change.promote, 'the replica that a swap promotes')
      checkId(change.remove, 'the replica that a swap removes')
      break
    case 'split':
      checkBytes(change.key, 'the key of a split')
      checkId(change.rightRangeId, 'the right-hand range of a split')
      break
    case 'freeze':
      checkId(change.into, 'the range that a frozen one is merged into')
      checkId(change.intoGeneration, 'the generation of the range that a frozen one is merged into')
      break
    case 'merge':
      checkId(change.rightRangeId, 'the right-hand range of a merge')
      checkId(change.rightGeneration, 'the generation of the right-hand range of a merge')
      break
    case 'thaw':
    case 'touch':
      break
    case 'promote':
    case 'remove':
    case 'transferLease':
      checkId(change.replicaId, 'the replica of a change')
      break
    default:
      refuse(
        `the change of a range is one of addLearner, promote, remove, swap, transferLease, split, freeze, merge, thaw and touch, not ${showValue((change as RangeChange).type)}`,
      )
  }
}

export function checkDescriptor(range: RangeDescriptor, roles: readonly ReplicaRole[]): void {
  checkObject(range, 'a range')
  checkId(range.rangeId, 'a range id')
  checkBytes(range.start, `the start of range ${range.rangeId}`)
  if (range.end !== undefined) checkBytes(range.end, `the end of range ${range.rangeId}`)
  checkArray(range.replicas, `the replicas of range ${range.rangeId}`, 1000)
  checkId(range.generation, `the generation of range ${range.rangeId}`)
  if (range.end !== undefined && compareBytes(range.start, range.end) >= 0)
    refuse(`range ${range.rangeId} ends where or before it starts`)
  const nodes = new Set<NodeId>()
  for (const replica of range.replicas) {
    checkObject(replica, `a replica of range ${range.rangeId}`)
    checkId(replica.replicaId, `a replica id of range ${range.rangeId}`)
    checkName(replica.nodeId, `a node id of range ${range.rangeId}`)
    checkId(replica.incarnation, `an incarnation of range ${range.rangeId}`)
    if (!roles.includes(replica.role))
      refuse(
        `a replica of range ${range.rangeId} is one of ${roles.join(', ')}, not ${showValue(replica.role)}`,
      )
    if (nodes.has(replica.nodeId)) refuse(`range ${range.rangeId} has two replicas on ${replica.nodeId}`)
    nodes.add(replica.nodeId)
  }
}

/** Roles of a range that is not on its way from one set of voters to another: what it may begin with. */
const settledRoles: readonly ReplicaRole[] = ['voter', 'learner']

/** The ranges in order, if they lie side by side. */
export function checkTiling(
  descriptors: readonly RangeDescriptor[],
  roles: readonly ReplicaRole[] = settledRoles,
): readonly RangeDescriptor[] {
  for (const range of checkArray(descriptors, 'the ranges')) checkDescriptor(range, roles)
  const ranges = sortRanges(descriptors)
  if (ranges.length === 0) refuse('there is no range')
  if (new Set(ranges.map((range) => range.rangeId)).size !== ranges.length)
    refuse('two ranges have the same id')
  ranges.forEach((range, i) => {
    const before = ranges[i - 1]
    if (before === undefined) return
    if (before.end === undefined || compareBytes(before.end, range.start) > 0)
      refuse(`ranges ${before.rangeId} and ${range.rangeId} overlap`)
    if (compareBytes(before.end, range.start) < 0)
      refuse(`there is a gap between ranges ${before.rangeId} and ${range.rangeId}`)
  })
  return ranges
}

/** @throws KeelsonError `CONFLICT` when an id or a part of the span is taken */
export function checkFree(existing: readonly RangeDescriptor[], added: readonly RangeDescriptor[]): void {
  const ids = new Set(added.map((range) => range.rangeId))
  const first = (added[0] as RangeDescriptor).start
  const end = (added[added.length - 1] as RangeDescriptor).end
  for (const range of existing) {
    const before = range.end !== undefined && compareBytes(range.end, first) <= 0
    const behind = end !== undefined && compareBytes(end, range.start) <= 0
    if (!ids.has(range.rangeId) && (before || behind)) continue
    throw new KeelsonError(
      'CONFLICT',
      `range ${range.rangeId} is in the directory already; give the new one another id`,
      {
        retryable: false,
        details: { rangeId: range.rangeId },
      },
    )
  }
}
