import type { JobContext, JobType } from '../../jobs/job-type.ts'
import type { NodeId } from '../../model/ids.ts'
import { whatForbidsLoss } from '../core/maintenance.ts'
import { AbsenceWork } from './absence.ts'
import { type CheckedOperationPorts, checkOperationPorts, type NodeOperationPorts } from './options.ts'
import {
  type MaintenanceState,
  maintenanceForm,
  newAbsence,
  type RestartState,
  restartForm,
} from './state.ts'

/**
 * Maintenance as a job: leases leave the nodes, replicas stay, and until the bound has passed nothing of theirs is
 * repaired. It ends when the nodes are back and have caught up, when the bound has passed, or when it is cancelled.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function maintenanceJob(ports: NodeOperationPorts): JobType<MaintenanceState> {
  const checked = checkOperationPorts('maintenanceJob', ports)
  return {
    ...maintenanceForm,
    run: (context) => {
      const { force, absence } = context.state
      const work = new AbsenceWork(checked, context, { force, restart: false, prefix: '', share: [0, 1] })
      return work.carryOut(absence, (next) => context.checkpoint({ ...context.state, absence: next }))
    },
    revert: async (context) =>
      `${context.state.absence.nodeIds.join(', ')}: no maintenance any more; leases come back by balance`,
  }
}

/**
 * A rolling restart as a job: some nodes after the others, each group only when every range bears its absence, and the next
 * only when the last one is back and has caught up. It stops at the first that does not come back in time.
 *
 * @throws KeelsonError `INVALID_OPTION`
 */
export function rollingRestartJob(ports: NodeOperationPorts): JobType<RestartState> {
  const checked = checkOperationPorts('rollingRestartJob', ports)
  return {
    ...restartForm,
    run: (context) => restartAll(checked, context),
    revert: async (context) => {
      const { done, absence, queue } = context.state
      const left = [...(absence?.nodeIds ?? []), ...queue]
      return `${done.length} restarted${left.length === 0 ? '' : `; not restarted: ${left.join(', ')}`}`
    },
  }
}

async function restartAll(ports: CheckedOperationPorts, context: JobContext<RestartState>): Promise<string> {
  for (;;) {
    const { state } = context
    if (state.absence === undefined) {
      if (state.queue.length === 0) return `${state.done.length} nodes restarted`
      const group = nextGroup(ports, state)
      await context.checkpoint({
        ...state,
        absence: newAbsence(group, state.boundMs),
        queue: state.queue.filter((nodeId) => !group.includes(nodeId)),
      })
      continue
    }
    const { absence, done, queue } = state
    const all = done.length + absence.nodeIds.length + queue.length
    const work = new AbsenceWork(ports, context, {
      force: false,
      restart: true,
      prefix: `${done.length} of ${all} restarted; `,
      share: [done.length / all, absence.nodeIds.length / all],
    })
    await work.carryOut(absence, (next) => context.checkpoint({ ...context.state, absence: next }))
    const { absence: _, ...rest } = context.state
    await context.checkpoint({ ...rest, absence: undefined, done: [...done, ...absence.nodeIds] })
  }
}

/** The nodes that go down together next: the first of the queue, and after it who can join without harm to any range. */
function nextGroup(ports: CheckedOperationPorts, state: RestartState): readonly NodeId[] {
  const [first, ...others] = state.queue
  const group = [first as NodeId]
  const nodes = new Map(ports.nodes().map((node) => [node.descriptor.nodeId, node]))
  // Looked up for all of them together.
  ports.rangesOn(state.queue)
  for (const nodeId of others) {
    if (group.length >= state.atOnce) break
    const leaving = new Set([...group, nodeId])
    const harmed = ports.rangesOn(leaving).some((range) =>
      whatForbidsLoss(range, leaving, (replica) => {
        const node = nodes.get(replica.nodeId)
        return node?.liveness === 'live' && node.descriptor.incarnation === replica.incarnation
      }),
    )
    if (!harmed) group.push(nodeId)
  }
  return group
}
