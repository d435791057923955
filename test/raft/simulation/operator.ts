import type { Environment } from '../../../src/core/environment.ts'
import { chance, pick, type SeededRandom } from '../../../src/core/random.ts'
import { replicaOf, votersOf } from '../../../src/raft/core/configuration.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { Configuration, MembershipChange } from '../../../src/raft/core/types.ts'
import type { Node } from './node.ts'
import type { World } from './world.ts'

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
      const change = this.#drawChange(core)
      if (change === undefined) return this.#transfer(node, core)
      this.#change(node, core, change)
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

  #drawChange(core: RaftCore): MembershipChange | undefined {
    const { random } = this.#env
    const configuration = core.configuration as Configuration
    const { replicas } = configuration
    const lost = replicas.find(({ replicaId }) => this.#world.lost.has(replicaId))
    if (lost !== undefined) return { type: 'remove', replicaId: lost.replicaId }
    const learner = replicas.find(({ role }) => role === 'learner')
    if (learner !== undefined && chance(random, 0.8)) {
      return { type: chance(random, 0.85) ? 'promote' : 'remove', replicaId: learner.replicaId }
    }
    const voters = votersOf(configuration)
    const spare = [...this.#world.nodes.values()].filter(
      (node) => node.running && this.#isSpare(node) && replicas.every(({ nodeId }) => nodeId !== node.name),
    )
    const grow = spare.length > 0 && (voters.length <= 2 || chance(random, voters.length < 5 ? 0.8 : 0.4))
    if (grow) {
      const node = pick(random, spare)
      return { type: 'addLearner', nodeId: node.name, incarnation: node.incarnation }
    }
    if (voters.length <= 2) return undefined
    // The leader itself more often than others: that is where the subtle cases are.
    const replicaId = chance(random, 0.35) ? core.replicaId : pick(random, voters)
    return { type: 'remove', replicaId }
  }

  #isSpare(node: Node): boolean {
    if (node.core !== undefined) return node.core.isEmpty
    return node.record === undefined || node.record.destroyed
  }

  #change(node: Node, core: RaftCore, change: MembershipChange): void {
    const generation = core.configuration?.generation ?? 0
    const expected = chance(this.#env.random, 0.1) ? generation - 1 : generation
    const options = chance(this.#env.random, 0.7) ? { expectedGeneration: expected } : {}
    const answer = core.changeMembership(change, options, node.nowMs)
    this.#world.count(`change ${change.type} ${answer.accepted ? 'accepted' : answer.reason}`)
    if (!answer.accepted) return
    node.input('change', change.type, JSON.stringify(change))
    node.changed()
    if (change.type === 'addLearner' && chance(this.#regret, 0.3)) this.#takeBack(node, core, change, 0)
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
      node.destroy()
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
