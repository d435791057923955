import { KeelsonError } from '../../core/errors.ts'
import type { JobContext, JobType } from '../../jobs/job-type.ts'
import type { NodeId } from '../../model/ids.ts'
import { localityValue } from '../../model/locality.ts'
import { CopyMeter, timeInWords } from '../core/copy-meter.ts'
import {
  type CheckedOperationPorts,
  checkOperationPorts,
  type NodeOperationPorts,
  type OperatedNode,
} from './options.ts'
import { type EvacuationState, evacuationForm } from './state.ts'

const toldReasons = 5

/**
 * The emptying of nodes as a job, of single ones or of all in a rack or zone: they are drained together, so that nothing
 * moves from one of them to another. It ends when they hold nothing any more; a cancellation gives back those that it
 * drained itself.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function evacuationJob(ports: NodeOperationPorts): JobType<EvacuationState> {
  const checked = checkOperationPorts('evacuationJob', ports)
  return {
    ...evacuationForm,
    run: (context) => evacuate(checked, context),
    revert: (context) => giveBack(checked, context),
  }
}

async function evacuate(ports: CheckedOperationPorts, context: JobContext<EvacuationState>): Promise<string> {
  const { env, pollIntervalMs } = ports
  await begin(ports, context)
  const { nodeIds, ours, replicas } = context.state
  for (const nodeId of ours) await ports.drain(nodeId, context.reason, { signal: context.signal })
  const meter = new CopyMeter()
  for (;;) {
    const left = replicasOn(ports, nodeIds)
    const total = [...left.values()].reduce((sum, count) => sum + count, 0)
    const states = new Map(ports.nodes().map((node) => [node.descriptor.nodeId, node.state]))
    const back = nodeIds.filter((nodeId) => states.get(nodeId) === 'active')
    if (back.length > 0)
      throw new KeelsonError('CONFLICT', `the drain of ${back.join(', ')} was taken back by somebody`, {
        retryable: false,
      })
    if (total === 0) return `${nodeIds.join(', ')} hold nothing any more`
    meter.sample(Math.max(0, replicas - total), replicas, env.clock.monotonicMs())
    tell(ports, context, left, total, meter)
    await context.sleep(pollIntervalMs)
  }
}

/** Finds the nodes, and remembers before it does anything which of them it drains. */
async function begin(ports: CheckedOperationPorts, context: JobContext<EvacuationState>): Promise<void> {
  const { state } = context
  if (state.nodeIds.length > 0) return
  const { target } = state
  const found = ports.nodes().filter((node) => isMeant(target, node) && node.state !== 'decommissioned')
  const nodeIds = found.map((node) => node.descriptor.nodeId).sort()
  if (nodeIds.length === 0) {
    const what = 'nodeIds' in target ? target.nodeIds.join(', ') : `${target.tier}=${target.value}`
    throw new KeelsonError('NOT_FOUND', `there is no node to empty for ${what}; look at the list of nodes`)
  }
  const ours = found.filter((node) => node.state === 'active').map((node) => node.descriptor.nodeId)
  const replicas = [...replicasOn(ports, nodeIds).values()].reduce((sum, count) => sum + count, 0)
  await context.checkpoint({ ...state, nodeIds, ours: ours.sort(), replicas })
}

function isMeant(target: EvacuationState['target'], { descriptor }: OperatedNode): boolean {
  if ('nodeIds' in target) return target.nodeIds.includes(descriptor.nodeId)
  return localityValue(descriptor.locality, target.tier) === target.value
}

function replicasOn(ports: CheckedOperationPorts, nodeIds: readonly NodeId[]): Map<NodeId, number> {
  const counts = new Map<NodeId, number>()
  for (const { replicas } of ports.rangesOn(nodeIds)) {
    for (const { nodeId } of replicas) {
      if (nodeIds.includes(nodeId)) counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1)
    }
  }
  return counts
}

function tell(
  ports: CheckedOperationPorts,
  context: JobContext<EvacuationState>,
  left: ReadonlyMap<NodeId, number>,
  total: number,
  meter: CopyMeter,
): void {
  const { nodeIds, replicas } = context.state
  const held = new Set(ports.rangesOn(nodeIds).map(({ rangeId }) => rangeId))
  const blocked = (ports.plan()?.blocked ?? []).filter(({ rangeId }) => held.has(rangeId))
  const where = [...left]
    .map(([nodeId, count]) => `${nodeId} ${count}`)
    .sort()
    .join(', ')
  const eta = meter.progress()?.etaMs
  const time = eta === undefined ? '' : `, about ${timeInWords(eta)} left`
  const why = blocked.slice(0, toldReasons).map((each) => `; range ${each.rangeId}: ${each.why}`)
  context.progress(
    `${total} of ${replicas} replicas left (${where})${time}${why.join('')}`.slice(0, 4000),
    replicas === 0 ? 1 : Math.min(1, 1 - total / replicas),
  )
  context.waitFor(blocked.slice(0, toldReasons).map(({ rangeId }) => `range ${rangeId}`))
}

async function giveBack(ports: CheckedOperationPorts, context: JobContext<EvacuationState>): Promise<string> {
  const { ours, nodeIds } = context.state
  const given: NodeId[] = []
  for (const nodeId of ours) {
    const state = ports.nodes().find((node) => node.descriptor.nodeId === nodeId)?.state
    if (state === undefined || state === 'decommissioned') continue
    await ports.undrain(nodeId, context.reason, { signal: context.signal })
    given.push(nodeId)
  }
  const stay = nodeIds.filter((nodeId) => !given.includes(nodeId))
  const staying = stay.length === 0 ? '' : `; ${stay.join(', ')} stay as they were`
  return `${given.length === 0 ? 'nothing' : given.join(', ')} given back; what has moved comes back by balance${staying}`
}
