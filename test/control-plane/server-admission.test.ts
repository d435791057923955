import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ServerAdmission } from '../../src/control-plane/server-admission.ts'
import { sleep } from '../../src/core/async.ts'
import type { Environment } from '../../src/core/environment.ts'
import type { Configuration, MembershipChange, RaftGroup, RaftMember } from '../../src/raft/index.ts'
import { Simulation } from '../../src/simulation/simulation.ts'

const member = (replicaId: number, incarnation: number, role: RaftMember['role'] = 'voter'): RaftMember => ({
  replicaId,
  nodeId: `cp${((replicaId - 1) % 3) + 1}`,
  incarnation,
  role,
})

/** A metadata group led by cp1 that does what it is told, with cp3 in its first life. */
class Group {
  replicas: RaftMember[] = [member(1, 1), member(2, 1), member(3, 1)]
  generation = 1
  readonly active = new Set([1, 2, 3])
  readonly changes: string[] = []

  status(): unknown {
    const latestConfiguration = { generation: this.generation, replicas: this.replicas }
    const progress = new Map(
      this.replicas.map(({ replicaId }) => [
        replicaId,
        { caughtUp: true, recentlyActive: this.active.has(replicaId) },
      ]),
    )
    return { latestConfiguration, progress, replicaId: 1 }
  }

  token(): unknown {
    return {}
  }

  async changeMembership(change: MembershipChange): Promise<Configuration> {
    this.changes.push(change.type)
    this.generation++
    if (change.type === 'remove') {
      this.replicas = this.replicas.filter(({ replicaId }) => replicaId !== change.replicaId)
    } else if (change.type === 'addLearner') {
      this.replicas.push(member(6, change.incarnation, 'learner'))
    }
    return undefined as never
  }
}

function run(
  act: (env: Environment, group: Group, admission: ServerAdmission) => Promise<void>,
): Promise<void> {
  const simulation = new Simulation({ seed: 1 })
  const env = simulation.environment('cp1')
  const group = new Group()
  const admission = new ServerAdmission(env, group as unknown as RaftGroup)
  return simulation.until(act(env, group, admission))
}

const again = { nodeId: 'cp3', incarnation: 2, addresses: ['cp3:1'] }

suite('a server that comes back with an empty disk', () => {
  test('takes the place of its former life, as soon as that is silent', async () => {
    await run(async (env, group, admission) => {
      const admitted = admission.admit(again, new AbortController().signal)
      await sleep(env.timers, 1_000)
      assert.deepEqual(group.changes, [])
      group.active.delete(3)
      await admitted
      assert.deepEqual(group.changes, ['remove', 'addLearner', 'promote'])
    })
  })

  test('is refused while a server of its name takes part: the group would lose a voter', async () => {
    await run(async (_env, group, admission) => {
      const { signal } = new AbortController()
      await assert.rejects(admission.admit(again, signal), { code: 'CONFLICT', message: /stop it before/ })
      // The leader does not tell itself that it is there.
      group.active.clear()
      await assert.rejects(admission.admit({ ...again, nodeId: 'cp1' }, signal), { code: 'CONFLICT' })
      assert.deepEqual(group.changes, [])
    })
  })
})
