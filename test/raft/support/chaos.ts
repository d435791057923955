import assert from 'node:assert/strict'
import { utf8 } from '../../../src/core/bytes.ts'
import { chance, pick, SeededRandom } from '../../../src/core/random.ts'
import { entryKinds } from '../../../src/interfaces/log-store.ts'
import type { ReplicaId } from '../../../src/model/ids.ts'
import type { Configuration, MembershipChange } from '../../../src/raft/core/membership-types.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { RaftOptions } from '../../../src/raft/core/types.ts'
import { Cluster, type CoreClass, type Replica } from './cluster.ts'
import { disturbance, type Leading } from './stable-leader.ts'

/** What a run did, to see that a run that found nothing looked at something. */
export interface ChaosReport {
  readonly committed: number
  readonly elections: number
  readonly crashes: number
  readonly snapshots: number
  readonly changes: number
  readonly joints: number
  readonly reads: number
  readonly fetches: number
  readonly cluster: Cluster
}

/**
 * A random run of a group: messages are lost, doubled and reordered, disks lag, replicas crash and come back, members
 * come and go. The invariants are checked after every step; in the end everything heals and must work.
 */
export function chaos(seed: number, steps: number, Core?: CoreClass): ChaosReport {
  const random = new SeededRandom(seed).child('chaos')
  const size = 1 + random.integer(5)
  const options: Partial<RaftOptions> = {
    maximumAppendEntries: 1 + random.integer(4),
    maximumInFlightMessages: 1 + random.integer(4),
    maximumInFlightBytes: 1 + random.integer(60),
    maximumTailBytes: chance(random, 0.5) ? random.integer(300) : 1 << 20,
    maximumApplyingBytes: chance(random, 0.5) ? 1 + random.integer(300) : 1 << 20,
    caughtUpEntries: 3,
    preVote: chance(random, 0.8),
    checkQuorum: chance(random, 0.8),
  }
  // A group may be in the middle of a change of its options: each replica as it was started last.
  const mixed = chance(random, 0.3)
  const optionsOf = (): Partial<RaftOptions> =>
    mixed ? { preVote: chance(random, 0.5), checkQuorum: chance(random, 0.5) } : {}
  const cluster = new Cluster(size, { seed, options, optionsOf, ...(Core === undefined ? {} : { Core }) })
  cluster.restores = false
  cluster.answersFetches = false
  cluster.awaits = true
  for (const replica of cluster.replicas.values()) setManual(replica)
  let crashes = 0
  let snapshots = 0
  let changes = 0
  let joints = 0
  let fetches = 0
  let proposals = 0
  let nodes = size
  const loss = random.float() * 0.3
  const crashRate = random.float() ** 3 * 0.02
  const burst = pick(random, [4, 12, 40])
  const healing = random.float()
  const calm = chance(random, 0.5) ? 0.003 : 0
  const changeRate = random.float() * pick(random, [0.03, 0.03, 0.3])
  const prefers = chance(random, 0.3)
  const several = chance(random, 0.75) ? 0.3 + 0.7 * random.float() : 0
  let cut: (message: Message) => boolean = () => true

  const live = (): ReplicaId[] => [...cluster.replicas].filter(([, r]) => r.up).map(([id]) => id)
  const deliverOne = (): void => {
    if (cluster.network.length === 0) return
    const at = chance(random, 0.7) ? 0 : random.integer(cluster.network.length)
    const message = cluster.network[at] as Message
    if (!chance(random, 0.1)) cluster.network.splice(at, 1)
    if (chance(random, loss) || !cut(message)) return
    const fresh = !cluster.replicas.has(message.to)
    cluster.receive(message)
    if (fresh) setManual(cluster.replica(message.to))
  }
  const work = (id: ReplicaId): void => {
    cluster.drain(id)
    if (chance(random, 0.6)) cluster.persist(id, 1 + random.integer(3))
    if (chance(random, 0.6)) cluster.apply(id)
    if (chance(random, 0.6) && cluster.fetch(id)) fetches++
    if (chance(random, 0.4) && cluster.restore(id)) snapshots++
  }
  const passTime = (): void => {
    const deadlines = live().map((id) => cluster.core(id).nextDeadlineMs)
    const next = Math.min(...deadlines)
    if (chance(random, 0.6) && next < Infinity) cluster.now = Math.max(cluster.now, next)
    else cluster.now += random.float() * 60
    for (const id of live()) if (chance(random, 0.8)) cluster.on(id, (core) => core.advanceTo(cluster.now))
  }
  const request = (id: ReplicaId): void => {
    const draw = random.float()
    if (draw < 0.6) {
      const data = utf8(`${++proposals}`.repeat(1 + random.integer(3)))
      cluster.on(id, (core) => core.propose([{ kind: entryKinds.command, data }], cluster.now))
    } else if (draw < 0.9) {
      if (cluster.core(id).role === 'leader') cluster.read(id)
    } else if (draw < 0.93)
      cluster.on(id, (core) => core.transferLeadership(pick(random, [id, ...core.voters()]), cluster.now))
    else if (draw < 0.96)
      cluster.on(id, (core) => core.peerDown(pick(random, [...cluster.replicas.keys()]), cluster.now))
    else if (draw < 0.975) cluster.on(id, (core) => core.campaign(cluster.now))
    else if (draw < 0.98) cluster.on(id, (core) => core.forgetLeader(cluster.now))
    else {
      const replica = cluster.replica(id)
      const position = cluster.on(id, (core) => core.compact(core.appliedIndex - random.integer(4)))
      if (position.index > replica.disk.compacted.index) {
        // The store compacts some time later, but nothing else happens to the log before it.
        while (cluster.persist(id)) continue
        if (cluster.core(id).log.compacted.index === position.index) compactDisk(replica, position)
      }
    }
  }
  const change = (id: ReplicaId): void => {
    const { configuration } = cluster.core(id)
    if (cluster.core(id).role !== 'leader' || configuration === undefined) return
    const list: MembershipChange[] = []
    for (let i = chance(random, several) ? 2 + random.integer(2) : 1; i > 0; i--) {
      const one = drawChange(configuration, i > 1 || list.length > 0)
      const twice = list.some(
        (other) => 'replicaId' in one && 'replicaId' in other && other.replicaId === one.replicaId,
      )
      if (!twice) list.push(one)
    }
    const leaves = configuration.joint !== undefined && chance(random, 0.5)
    const autoLeave = !chance(random, several * 0.3)
    const result = cluster.change(id, leaves ? { type: 'leaveJoint' } : list, { autoLeave })
    if (!result.accepted) return
    changes++
    if (result.configuration.joint !== undefined) joints++
  }
  /** One of several had better make sense, or all of them are refused. */
  const drawChange = ({ replicas }: Configuration, sensible: boolean): MembershipChange => {
    const { replicaId, role } = pick(random, replicas)
    const draw = random.float()
    if (sensible && draw < 0.7) {
      if (role === 'learner') return { type: 'promote', replicaId }
      return { type: draw < 0.45 ? 'remove' : 'demote', replicaId }
    }
    if (draw < 0.4 && replicas.length < 6) {
      const nodeId = `n${++nodes}`
      const priority = prefers ? random.integer(3) : 0
      return { type: 'addLearner', nodeId, incarnation: 1, priority, autoPromote: chance(random, several) }
    }
    if (prefers && chance(random, 0.2)) return { type: 'setPriority', replicaId, priority: random.integer(3) }
    if (draw < 0.75) return { type: 'promote', replicaId }
    return { type: chance(random, several * 0.5) ? 'demote' : 'remove', replicaId }
  }

  for (let step = 0; step < steps; step++) {
    const ids = live()
    if (ids.length > 0) {
      const draw = random.float()
      const id = pick(random, ids)
      if (draw < 0.4) for (let i = random.integer(burst); i >= 0; i--) deliverOne()
      else if (draw < 0.75) work(id)
      else if (draw < 0.85) passTime()
      else request(id)
      if (chance(random, changeRate)) for (const leader of ids) change(leader)
      if (chance(random, crashRate)) {
        cluster.drain(id)
        if (chance(random, 0.5)) cluster.persist(id, 1)
        cluster.crash(id)
        crashes++
      }
    }
    if (chance(random, 0.02))
      for (const [id, r] of cluster.replicas) if (!r.up && chance(random, 0.7)) revive(id)
    if (chance(random, 0.01)) {
      const side = new Set(live().filter(() => chance(random, 0.5)))
      if (chance(random, healing)) cut = () => true
      else {
        cut = (m) => side.has(m.from) === side.has(m.to)
        // Sockets close: the others need not wait for a timeout, so that two leaders may live side by side for a while.
        for (const id of live()) {
          const { leader } = cluster.core(id)
          if (leader !== 0 && side.has(id) !== side.has(leader) && chance(random, 0.7)) {
            cluster.on(id, (core) => core.peerDown(leader, cluster.now))
          }
        }
      }
    }
    if (cluster.network.length > 120) cluster.network.splice(0, 60)
    if (chance(random, calm)) {
      // A while of good weather: everybody catches up, so that more is at stake afterwards.
      for (const id of live()) setAutomatic(cluster.replica(id))
      cut = () => true
      cluster.advance(random.float() * 900)
      for (const id of live()) setManual(cluster.replica(id))
    }
  }
  function revive(id: ReplicaId): void {
    setManual(cluster.restart(id))
  }

  // Safety was checked all along; now everything heals, and the group must serve.
  cluster.restores = true
  cluster.answersFetches = true
  for (const [id, r] of cluster.replicas) if (!r.up) revive(id)
  for (const r of cluster.replicas.values()) setAutomatic(r)
  cluster.advance(5000)
  const leader = cluster.leader()
  assert.notEqual(leader.configuration?.joint?.autoLeave, true, `seed ${seed}: a joint configuration stays`)
  const before = leading(cluster)
  cluster.propose(leader.replicaId, 'healed')
  const context = cluster.read(leader.replicaId)
  cluster.advance(2000)
  const after = leading(cluster)
  const problem = disturbance(before, after, leader.configuration)
  assert.equal(problem, undefined, `seed ${seed}: the leader was disturbed: ${problem}`)
  const members = leader.configuration?.replicas.map((replica) => replica.replicaId) ?? []
  for (const id of members) {
    assert.ok(cluster.applied(id).includes('healed'), `seed ${seed}: replica ${id} did not heal`)
    assert.deepEqual(cluster.applied(id), cluster.applied(leader.replicaId))
    assert.equal(cluster.core(id).leader, after.replicaId, `seed ${seed}: replica ${id} follows another`)
  }
  assert.ok(
    cluster.replica(leader.replicaId).reads.some((read) => read.context === context),
    `seed ${seed}: a read was not served`,
  )
  let reads = 0
  for (const replica of cluster.replicas.values()) reads += replica.reads.length
  const { elections } = cluster.invariants
  return {
    committed: leader.commitIndex,
    elections,
    crashes,
    snapshots,
    changes,
    joints,
    reads,
    fetches,
    cluster,
  }
}

function leading(cluster: Cluster): Leading {
  const { replicaId, term } = cluster.leader()
  let handOvers = 0
  for (const { transfers } of cluster.replicas.values()) {
    for (const outcome of transfers) if (outcome === 'done') handOvers++
  }
  return { replicaId, term, elections: cluster.invariants.elections, handOvers }
}

function setManual(replica: Replica): void {
  replica.stalled = true
  replica.idle = true
}

function setAutomatic(replica: Replica): void {
  replica.stalled = false
  replica.idle = false
}

function compactDisk(replica: Replica, position: { readonly index: number; readonly term: number }): void {
  replica.disk.compacted = position
  replica.disk.entries = replica.disk.entries.filter((entry) => entry.index > position.index)
}
