import type { Environment } from '../../../src/core/environment.ts'
import { chance, pick, type Random, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import { replicaOf } from '../../../src/raft/core/configuration.ts'
import type { Configuration, MembershipChange } from '../../../src/raft/core/membership-types.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { Node } from './node.ts'
import type { World } from './world.ts'

/** Nodes that could be given a replica, in any order. */
export function spareNodes(world: World, { replicas }: Configuration, random: Random): Node[] {
  const spare = [...world.nodes.values()].filter(
    (node) =>
      node.running &&
      !node.forgot &&
      (node.core?.isEmpty ?? (node.record === undefined || node.record.destroyed)) &&
      replicas.every(({ nodeId }) => nodeId !== node.name),
  )
  return shuffled(random, spare)
}

/** Who changes the members and hands over leadership, while faults happen, and cleans up after what was removed. */
export class Operator {
  readonly #world: World
  readonly #env: Environment
  readonly #meanIntervalMs: number
  readonly #regret: SeededRandom
  #stopped = false
  #tidies = true

  constructor(world: World, meanIntervalMs: number) {
    this.#world = world
    this.#meanIntervalMs = meanIntervalMs
    this.#env = world.simulation.environment('operator')
    this.#regret = world.simulation.random('regret')
  }

  start(): void {
    this.#next()
  }

  /** No new changes. `tidies`: what was removed is still destroyed; otherwise it runs on, and must disturb nobody. */
  stop(tidies: boolean): void {
    this.#stopped = true
    this.#tidies = tidies
  }

  #next(): void {
    const delayMs = -Math.log(1 - this.#env.random.float()) * this.#meanIntervalMs
    this.#env.timers.schedule(Math.min(delayMs, 5_000), () => {
      this.#act()
      this.#next()
    })
  }

  /** A leader was elected: sometimes it is asked for something before it has committed anything. */
  elected(): void {
    if (this.#stopped || this.#meanIntervalMs > 5_000 || !chance(this.#env.random, 0.5)) return
    this.#env.timers.schedule(this.#env.random.float() * 3, () => this.#act())
  }

  #act(): void {
    this.#destroyRemoved()
    if (this.#stopped) return
    // A deposed leader is asked as well: what it takes must come to nothing.
    const leaders = this.#world.live().filter((node) => node.leads && node.process.state === 'running')
    if (leaders.length === 0) return
    const node = pick(this.#env.random, leaders)
    const core = node.core as RaftCore
    if (chance(this.#env.random, 0.2)) return this.#transfer(node, core)
    // Sometimes a second one before the first can be committed.
    for (let i = chance(this.#env.random, 0.3) ? 2 : 1; i > 0; i--) {
      const changes = this.#drawChanges(core)
      if (changes.length === 0) return this.#transfer(node, core)
      this.#change(node, core, changes)
    }
  }

  #transfer(node: Node, core: RaftCore): void {
    const to = pick(this.#env.random, core.voters())
    const answer = core.transferLeadership(to, node.nowMs)
    if (!answer.accepted) return
    this.#world.count('transfer asked')
    node.input('asked to hand over to', to)
    node.changed()
  }

  #drawChanges(core: RaftCore): MembershipChange[] {
    const { random } = this.#env
    const configuration = core.configuration as Configuration
    const { jointShare, leaveProbability } = this.#world.settings
    if (configuration.joint !== undefined) {
      if (chance(random, leaveProbability)) return [{ type: 'leaveJoint' }]
      // Refused, most of the time.
      if (chance(random, 0.7)) return []
    }
    if (chance(random, jointShare)) return this.#drawSeveral(core, configuration)
    const change = this.#drawChange(core, configuration)
    return change === undefined ? [] : [change]
  }

  #drawChange(core: RaftCore, configuration: Configuration): MembershipChange | undefined {
    const { random } = this.#env
    const { replicas } = configuration
    const lost = replicas.find(({ replicaId }) => this.#world.lost.has(replicaId))
    if (lost !== undefined) return { type: 'remove', replicaId: lost.replicaId }
    const { priorities, autoPromoteShare } = this.#world.settings
    if (priorities && chance(random, 0.15)) {
      return { type: 'setPriority', replicaId: pick(random, replicas).replicaId, priority: random.integer(4) }
    }
    const learner = replicas.find(({ role }) => role === 'learner')
    if (learner?.autoPromote === true && chance(random, 0.8)) return undefined
    if (learner !== undefined && chance(random, autoPromoteShare * 0.3)) {
      return { type: 'promoteLater', replicaId: learner.replicaId }
    }
    if (learner !== undefined && chance(random, 0.8)) {
      return { type: chance(random, 0.85) ? 'promote' : 'remove', replicaId: learner.replicaId }
    }
    const voters = core.voters()
    const spare = spareNodes(this.#world, configuration, random)
    const grow = spare.length > 0 && (voters.length <= 2 || chance(random, voters.length < 5 ? 0.8 : 0.4))
    if (grow) return this.#addition(pick(random, spare))
    if (voters.length <= 2) return undefined
    // The leader itself more often than others: that is where the subtle cases are.
    const replicaId = chance(random, 0.35) ? core.replicaId : pick(random, voters)
    return { type: chance(random, 0.8) ? 'remove' : 'demote', replicaId }
  }

  /** A replacement in one step, or whatever else comes of a handful of changes, so long as two voters are left. */
  #drawSeveral(core: RaftCore, configuration: Configuration): MembershipChange[] {
    const { random } = this.#env
    const { replicas } = configuration
    const changes: MembershipChange[] = []
    const taken = new Set<number>()
    const take = (candidates: readonly number[]): number | undefined => {
      const free = candidates.filter((replicaId) => !taken.has(replicaId))
      if (free.length === 0) return undefined
      const replicaId = pick(random, free)
      taken.add(replicaId)
      return replicaId
    }
    const lost = replicas.filter(({ replicaId }) => this.#world.lost.has(replicaId))
    for (const { replicaId } of lost) {
      taken.add(replicaId)
      changes.push({ type: 'remove', replicaId })
    }
    const spare = spareNodes(this.#world, configuration, random)
    if (lost.length === 0 && chance(random, 0.25))
      return spare.slice(0, 4).map((node) => this.#addition(node))
    const learners = replicas.filter(({ role }) => role === 'learner').map(({ replicaId }) => replicaId)
    const voters = replicas.filter(({ role }) => role !== 'learner').map(({ replicaId }) => replicaId)
    let left = voters.length - lost.length
    for (let i = 1 + random.integer(3); i > 0; i--) {
      const draw = random.float()
      if (draw < 0.4) {
        const replicaId = take(learners)
        if (replicaId === undefined) continue
        changes.push({ type: 'promote', replicaId })
        left++
      } else if (draw < 0.6) {
        const node = spare.pop()
        if (node === undefined) continue
        changes.push(this.#addition(node))
      } else if (lost.length === 0 && left > 2) {
        const replicaId = chance(random, 0.3) ? take([core.replicaId]) : take(voters)
        if (replicaId === undefined) continue
        changes.push({ type: chance(random, 0.7) ? 'remove' : 'demote', replicaId })
        left--
      }
    }
    return changes
  }

  #addition(node: Node): Extract<MembershipChange, { readonly type: 'addLearner' }> {
    const { random } = this.#env
    const { autoPromoteShare, priorities } = this.#world.settings
    return {
      type: 'addLearner',
      nodeId: node.name,
      incarnation: node.incarnation,
      ...(priorities ? { priority: random.integer(4) } : {}),
      ...(chance(random, autoPromoteShare) ? { autoPromote: true } : {}),
    }
  }

  #change(node: Node, core: RaftCore, changes: readonly MembershipChange[]): void {
    const { random } = this.#env
    const generation = core.configuration?.generation ?? 0
    const expectedGeneration = chance(random, 0.1) ? generation - 1 : generation
    const answer = core.changeMembership(
      changes,
      {
        ...(chance(random, 0.7) ? { expectedGeneration } : {}),
        ...(chance(random, this.#world.settings.jointShare * 0.4) ? { autoLeave: false } : {}),
      },
      node.nowMs,
    )
    const result = answer.accepted ? 'accepted' : answer.reason
    for (const { type } of changes) this.#world.count(`change ${type} ${result}`)
    if (!answer.accepted) return
    const { joint } = answer.configuration
    if (joint !== undefined)
      this.#world.count(`joint ${joint.autoLeave ? 'left by itself' : 'left on demand'}`)
    node.input('change', JSON.stringify(changes))
    node.changed()
    const [change] = changes
    if (change?.type !== 'addLearner' || changes.length > 1) return
    if (chance(this.#regret, 0.3)) this.#takeBack(node, core, change, 0)
  }

  /**
   * Takes a learner out again as soon as that may be done, and adds the same node anew: what it hears of first is the
   * replica that it is no more.
   */
  #takeBack(
    node: Node,
    core: RaftCore,
    change: Extract<MembershipChange, { readonly type: 'addLearner' }>,
    waitedMs: number,
  ): void {
    this.#env.timers.schedule(1, () => {
      if (this.#stopped || node.core !== core || !node.leads || waitedMs > 200) return
      const learner = core.configuration?.replicas.find(
        ({ nodeId, role }) => nodeId === change.nodeId && role === 'learner',
      )
      const next: MembershipChange =
        learner === undefined ? change : { type: 'remove', replicaId: learner.replicaId }
      if (!core.changeMembership(next, {}, node.nowMs).accepted) {
        return this.#takeBack(node, core, change, waitedMs + 1)
      }
      node.input('change', next.type, JSON.stringify(next))
      node.changed()
      if (next.type === 'remove') this.#takeBack(node, core, change, waitedMs)
      else this.#world.count('learner added anew')
    })
  }

  /** A replica is destroyed only after its removal is committed; sometimes it is left running for a while. */
  #destroyRemoved(): void {
    for (const node of this.#world.live()) {
      const { core } = node
      if (core === undefined || node.process.state !== 'running') continue
      if (!node.removed && !this.#isRemoved(node, core)) continue
      const awaited = this.#isAwaited(node, core)
      // One that is still empty becomes the other by itself.
      if (awaited ? core.isEmpty : !this.#tidies) continue
      if (!this.#world.calm && !chance(this.#env.random, 0.3)) continue
      this.#world.count('replica destroyed')
      node.retire()
    }
  }

  /** The group waits for another replica of this node. */
  #isAwaited(node: Node, { replicaId }: RaftCore): boolean {
    const { replicas = [] } = this.#world.leader()?.core?.configuration ?? {}
    return replicas.some((member) => member.nodeId === node.name && member.replicaId !== replicaId)
  }

  /**
   * Some replica has committed a configuration without it, made after it was minted. Also when the id is another node's by
   * now: the entry that gave it to this one was truncated. Whoever was left behind by a recovery has another history, in
   * which the same index says something else: it is not asked.
   */
  #isRemoved(node: Node, { replicaId }: RaftCore): boolean {
    return this.#world.live().some(({ core, recoveryGeneration }) => {
      if (recoveryGeneration < node.recoveryGeneration) return false
      const committed = core?.configurationState().committed
      if (core === undefined || committed === undefined || replicaId > core.commitIndex) return false
      const member = replicaOf(committed, replicaId)
      return member?.nodeId !== node.name || member.incarnation !== node.incarnation
    })
  }
}
