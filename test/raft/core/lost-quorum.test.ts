import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { entryKinds } from '../../../src/interfaces/log-store.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import { encodeConfiguration } from '../../../src/raft/core/configuration.ts'
import { RaftInvariants } from '../../../src/raft/core/invariants.ts'
import type { RaftMember } from '../../../src/raft/core/membership-types.ts'
import { type GroupReport, planRecovery, type RecoveryPlan } from '../../../src/raft/group/lost-quorum.ts'
import { Cluster, type Replica } from '../support/cluster.ts'

function reportOf(replicaId: ReplicaId, { core, disk }: Replica, among: readonly RaftMember[]): GroupReport {
  const { nodeId, incarnation } = among.find((member) => member.replicaId === replicaId) as RaftMember
  const { term, commitIndex, appliedIndex, lastIndex, lastTerm, configuration } = core.status()
  const terms = core.log.terms()
  const log = { term, commitIndex, appliedIndex, lastIndex, lastTerm, terms }
  const who = { groupId: 1, nodeId, incarnation, replicaId }
  const { quarantined } = disk
  return { ...who, ...log, recoveryGeneration: 0, quarantined, configuration: configuration.latest }
}

/** Everybody stops, and the survivors go on without the others. */
function recover(cluster: Cluster, survivors: readonly ReplicaId[]): RecoveryPlan {
  const members = [...cluster.replicas.values()].flatMap(({ core }) => core.configuration?.replicas ?? [])
  for (const id of cluster.replicas.keys()) cluster.crash(id)
  // As they start: what was not durable is gone.
  const reports = survivors.map((id) => reportOf(id, cluster.restart(id), members))
  for (const id of survivors) cluster.crash(id)
  const plan = planRecovery(reports)
  const place = { index: plan.configurationIndex, term: plan.term }
  for (const { replicaId, commitIndex } of reports) {
    const { disk } = cluster.replica(replicaId)
    disk.hardState = { term: plan.term, votedFor: plan.source.replicaId, commit: commitIndex }
    if (replicaId !== plan.source.replicaId) continue
    const data = encodeConfiguration(plan.configuration)
    disk.entries = [...disk.entries, { ...place, kind: entryKinds.configuration, data }]
  }
  cluster.network = []
  // Another history begins, in which nothing that the survivors applied may be contradicted.
  cluster.invariants = new RaftInvariants(place)
  cluster.heal()
  for (const id of survivors) cluster.restart(id)
  return plan
}

/** All survivors have the same, and go on. */
function goOn(cluster: Cluster, survivors: readonly ReplicaId[], known: readonly string[]): void {
  cluster.advance(3_000)
  const leader = cluster.leader()
  cluster.propose(leader.replicaId, 'on')
  cluster.advance(1_000)
  for (const id of survivors) {
    assert.deepEqual(cluster.applied(id), [...known, 'on'], `replica ${id}\n${cluster.describe()}`)
    assert.deepEqual(cluster.core(id).configuration, leader.configuration)
  }
}

suite('a group that lost its quorum', () => {
  /**
   * Figure 8 of the paper: 5 led in term 3 with an entry of its own in the place of one of term 2, which a leader of term
   * 4 has on a majority, and has committed by an entry of its own. 3 knows that, and lacks the entry of term 4.
   */
  test('keeps what is known to be committed against a log that ends in a later term', () => {
    const options = { preVote: false, checkQuorum: false, maximumAppendEntries: 1 }
    const cluster = new Cluster(5, { options })
    cluster.elect(1)
    cluster.advance(100)
    cluster.partition([1, 2])
    cluster.propose(1, 'of the first')
    cluster.settle()
    const index = cluster.core(1).lastIndex
    cluster.crash(1)
    cluster.deliver = (m) => m.kind !== 'append' && ![m.from, m.to].some((id) => id < 3)
    cluster.elect(5)
    const { term } = cluster.core(5)
    assert.equal(cluster.core(5).log.termAt(index), term)
    cluster.crash(5)
    cluster.restart(1)
    // What 3 lacks is refused there, but nothing of the new term ever gets into its log.
    cluster.deliver = (m) =>
      m.from !== 5 &&
      !(
        m.to === 3 &&
        m.kind === 'append' &&
        m.entries.some((entry) => entry.term > term) &&
        cluster.core(3).log.matches(m.prevIndex, m.prevTerm)
      )
    for (let i = 0; i < 3 && cluster.core(1).role !== 'leader'; i++) {
      cluster.on(1, (core) => core.campaign(cluster.now))
      cluster.settle()
    }
    cluster.advance(400)
    assert.ok(cluster.core(1).commitIndex > index)
    assert.deepEqual(cluster.applied(3), ['of the first'])
    assert.ok(
      cluster.core(3).lastIndex === index && cluster.core(5).log.lastTerm > cluster.core(3).log.lastTerm,
    )
    const plan = recover(cluster, [3, 5])
    assert.equal(plan.source.replicaId, 3)
    goOn(cluster, [3, 5], ['of the first'])
  })

  test('goes on with a survivor that is several configurations behind, and with one that is still empty', () => {
    const cluster = new Cluster(5)
    cluster.awaits = true
    cluster.elect(1)
    cluster.propose(1, 'a')
    cluster.advance(300)
    cluster.isolate(5)
    for (const nodeId of ['n6', 'n7', 'n8']) {
      const added = cluster.change(1, { type: 'addLearner', nodeId, incarnation: 1 })
      assert.ok(added.accepted)
      cluster.advance(300)
      const { replicaId } = cluster.core(1).configuration?.replicas.at(-1) ?? { replicaId: 0 }
      // The last of them hears of nothing but that it is there.
      if (nodeId === 'n8') continue
      assert.ok(cluster.change(1, { type: 'promote', replicaId }).accepted)
      cluster.propose(1, nodeId)
      cluster.advance(300)
    }
    const { replicas = [], generation = 0 } = cluster.core(1).configuration ?? {}
    const last = replicas.at(-1)?.replicaId as ReplicaId
    assert.ok(generation >= 5 && cluster.core(5).configuration?.generation === 1)
    assert.ok(replicas.length === 8)
    const plan = recover(cluster, [1, 5, last])
    assert.equal(plan.source.replicaId, 1)
    goOn(cluster, [1, 5, last], ['a', 'n6', 'n7'])
  })
})
