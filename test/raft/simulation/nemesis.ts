import { chance, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { RaftCore } from '../../../src/raft/core/raft.ts'
import type { FaultKind } from '../../../src/simulation/faults.ts'
import {
  type BlockedLink,
  drawPartition,
  oneWay,
  partitionShapes,
} from '../../../src/simulation/partitions.ts'
import type { Node } from './node.ts'
import { spareNodes } from './operator.ts'
import type { World } from './world.ts'

/** Every kind of fault that comes and goes. */
export function faultKinds(world: World): FaultKind[] {
  const nodes = (): Node[] => [...world.nodes.values()]
  const timeoutMs = world.settings.raft.electionTimeoutMs ?? 300
  const running = (random: SeededRandom): Node | undefined => {
    const alive = nodes().filter((node) => node.process.state === 'running')
    if (alive.length === 0) return undefined
    const leader = world.leader()
    return leader !== undefined && chance(random, 0.4) ? leader : pick(random, alive)
  }
  const members = (): string[] => world.live().map((node) => node.name)

  const partitions = partitionShapes.map(
    (shape): FaultKind => ({
      name: `partition ${shape}`,
      meanIntervalMs: 6_000,
      durationMs: [timeoutMs * 0.2, timeoutMs * 10],
      begin: (random) => {
        const names = members()
        if (names.length < 2) return undefined
        const links = drawPartition(random, shape, names)
        if (links.length === 0) return undefined
        world.simulation.note('net', 'partition', shape, links.map(([a, b]) => `${a}>${b}`).join())
        const heal = world.conditions.partition(links)
        return () => {
          world.simulation.note('net', 'healed', shape)
          heal()
        }
      },
    }),
  )

  const crash = (
    name: string,
    kind: 'kill' | 'power',
    group: (random: SeededRandom) => Node[],
  ): FaultKind => ({
    name,
    meanIntervalMs: 3_000,
    durationMs: [5, timeoutMs * 8],
    begin: (random) => {
      const chosen = group(random).filter((node) => node.process.state !== 'crashed')
      if (chosen.length === 0) return undefined
      for (const node of chosen) node.process.crash(kind)
      return () => {
        for (const node of chosen) world.restart(node)
      }
    },
  })
  const one = (random: SeededRandom): Node[] => {
    const node = running(random)
    return node === undefined ? [] : [node]
  }

  return [
    ...partitions,
    {
      name: 'leader cut off',
      meanIntervalMs: 3_000,
      durationMs: [timeoutMs * 0.5, timeoutMs * 8],
      begin: (random) => cutOffLeader(world, random),
    },
    {
      name: 'leader cut off, its successor crashes when it is back',
      meanIntervalMs: 5_000,
      durationMs: [timeoutMs * 2, timeoutMs * 6],
      begin: (random) => {
        const heal = cutOffLeader(world, random)
        if (heal === undefined) return undefined
        return () => {
          const successor = world.leader()
          heal()
          if (world.calm || successor === undefined) return
          successor.process.crash(chance(random, 0.5) ? 'kill' : 'power')
          world.restartLater(successor)
        }
      },
    },
    {
      name: 'leader paused and cut off',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs, timeoutMs * 8],
      begin: (random) => {
        const leader = world.leader()
        if (leader === undefined || leader.process.state !== 'running') return undefined
        leader.process.pause()
        // The answers to its last heartbeats still reach it.
        let heal: (() => void) | undefined
        let over = false
        world.simulation.scheduler.schedule(random.float() * timeoutMs * 0.3, () => {
          if (!over) heal = cutOff(world, leader, random)
        })
        return () => {
          over = true
          leader.process.resume()
          if (heal === undefined) return
          // It wakes up alone with what its clients sent meanwhile, and for a moment nobody tells it better.
          if (world.calm) heal()
          else world.simulation.scheduler.schedule(random.float() * timeoutMs, heal)
        }
      },
    },
    {
      name: 'hand-over to one that nobody hears',
      meanIntervalMs: 5_000,
      durationMs: [timeoutMs, timeoutMs * 5],
      begin: (random) => {
        const leader = world.leader()
        const voters = leader?.core?.voters().filter((voter) => voter !== leader.core?.replicaId) ?? []
        if (leader?.core === undefined || voters.length === 0) return undefined
        const to = pick(random, voters)
        const heir = world.live().find(({ core }) => core?.replicaId === to)
        if (heir === undefined || !leader.core.transferLeadership(to, leader.nowMs).accepted) return undefined
        leader.input('asked to hand over to', to)
        leader.changed()
        // It takes the next term, and nobody hears of it.
        const heal = world.conditions.partition(oneWay([heir.name], world.names))
        return () => {
          heal()
          if (world.calm || leader.process.state === 'crashed' || chance(random, 0.5)) return
          leader.process.crash('kill')
          world.restartLater(leader)
        }
      },
    },
    {
      name: 'leader cut off as it hands over',
      meanIntervalMs: 5_000,
      durationMs: [timeoutMs, timeoutMs * 5],
      begin: (random) => {
        const leader = world.leader()
        const voters = leader?.core?.voters().filter((voter) => voter !== leader.core?.replicaId) ?? []
        if (leader?.core === undefined || voters.length === 0) return undefined
        const to = pick(random, voters)
        if (!leader.core.transferLeadership(to, leader.nowMs).accepted) return undefined
        leader.input('asked to hand over to', to)
        leader.changed()
        // Its message leaves in this turn, and whatever comes of it does not reach it.
        let heal = (): void => {}
        let over = false
        world.simulation.scheduler.schedule(random.float() * 3, () => {
          if (!over) heal = cutOff(world, leader, random)
        })
        return () => {
          over = true
          heal()
        }
      },
    },
    {
      name: 'leader cut off from one after the other',
      meanIntervalMs: 5_000,
      durationMs: [timeoutMs * 4, timeoutMs * 12],
      begin: (random) => {
        const leader = world.leader()
        if (leader === undefined) return undefined
        const others = shuffled(
          random,
          world.names.filter((name) => name !== leader.name),
        )
        const heals: (() => void)[] = []
        let over = false
        const next = (): void => {
          const other = over ? undefined : others.pop()
          if (other === undefined) return
          heals.push(
            world.conditions.partition([
              ...oneWay([leader.name], [other]),
              ...oneWay([other], [leader.name]),
            ]),
          )
          world.simulation.scheduler.schedule(random.float() * timeoutMs * 8, next)
        }
        next()
        return () => {
          over = true
          for (const heal of heals) heal()
        }
      },
    },
    {
      name: 'leader cut off from all but one, which comes and goes',
      meanIntervalMs: 5_000,
      durationMs: [timeoutMs * 4, timeoutMs * 12],
      begin: (random) => {
        const leader = world.leader()
        const others = world.live().filter((node) => node !== leader && node.core?.isVoter() === true)
        if (leader === undefined || others.length < 2) return undefined
        const faithful = pick(random, others)
        const far = world.names.filter((name) => name !== leader.name && name !== faithful.name)
        const heal = world.conditions.partition([
          ...oneWay([leader.name], far),
          ...oneWay(far, [leader.name]),
        ])
        let mend = (): void => {}
        let over = false
        // The others want a leader, and need its vote. It was pledged to the old one a moment ago, or is again.
        const campaign = (): void => {
          const [node] = shuffled(
            random,
            world.live().filter(({ name, process }) => far.includes(name) && process.state === 'running'),
          )
          if (over || node?.core === undefined) return
          node.core.campaign(node.nowMs)
          node.input('told to campaign')
          node.changed()
        }
        const next = (): void => {
          mend()
          mend = () => {}
          if (over) return
          const draw = random.float()
          const durationMs = random.float() * timeoutMs
          if (draw < 0.6) {
            mend = world.conditions.partition([
              ...(draw < 0.45 ? oneWay([leader.name], [faithful.name]) : []),
              ...(draw > 0.15 ? oneWay([faithful.name], [leader.name]) : []),
            ])
          } else if (draw < 0.75 && faithful.process.state === 'running') {
            faithful.process.crash(chance(random, 0.5) ? 'kill' : 'power')
            const { life } = faithful.process
            world.simulation.scheduler.schedule(1 + random.float() * timeoutMs * 0.1, () => {
              if (faithful.process.life === life) world.restart(faithful)
            })
          }
          world.simulation.scheduler.schedule(random.float() * durationMs, campaign)
          world.simulation.scheduler.schedule(durationMs, next)
        }
        next()
        return () => {
          over = true
          mend()
          heal()
        }
      },
    },
    {
      name: 'followers crash while the leader is cut off',
      meanIntervalMs: 6_000,
      durationMs: [timeoutMs * 2, timeoutMs * 8],
      begin: (random) => {
        const leader = world.leader()
        if (leader === undefined) return undefined
        const heal = cutOff(world, leader, random)
        for (const node of nodes()) {
          if (node === leader || node.process.state === 'crashed') continue
          node.process.crash(chance(random, 0.5) ? 'kill' : 'power')
          world.simulation.scheduler.schedule(5 + random.float() * timeoutMs * 0.2, () => world.restart(node))
        }
        return heal
      },
    },
    {
      name: 'halves of a joint configuration cut off from each other',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs, timeoutMs * 12],
      begin: (random) => cutInHalves(world, random),
    },
    {
      name: 'swizzle-clog',
      meanIntervalMs: 6_000,
      durationMs: [timeoutMs * 0.1, timeoutMs * 3],
      begin: (random) => {
        // Clogs a random subset one by one and lets them go in another order.
        const chosen = shuffled(random, members()).slice(0, 1 + random.integer(3))
        const others = world.names
        const opens = chosen.map((name) => {
          const links = others.flatMap((other): BlockedLink[] =>
            other === name
              ? []
              : [
                  [name, other],
                  [other, name],
                ],
          )
          return world.conditions.clog(links)
        })
        return () => {
          for (const open of shuffled(random, opens)) open()
        }
      },
    },
    {
      name: 'slow link',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs, timeoutMs * 10],
      begin: (random) => {
        const from = pick(random, world.names)
        const to = pick(random, world.names)
        world.conditions.setLinkQuality(from, to, {
          meanExtraDelayMs: timeoutMs * random.float(),
          lossProbability: random.float() * 0.3,
        })
        return () => world.conditions.setLinkQuality(from, to, undefined)
      },
    },
    crash('crash by power cut', 'power', one),
    crash('crash by kill', 'kill', one),
    crash('crash of several', 'power', (random) => shuffled(random, nodes()).slice(0, 2 + random.integer(3))),
    crash('crash of all', 'power', nodes),
    {
      name: 'pause',
      meanIntervalMs: 3_000,
      durationMs: [timeoutMs * 0.1, timeoutMs * 6],
      begin: (random) => pause(running(random)),
    },
    {
      name: 'event-loop stall',
      meanIntervalMs: 1_000,
      durationMs: [1, timeoutMs * 1.5],
      begin: (random) => pause(running(random)),
    },
    {
      name: 'machine suspended',
      meanIntervalMs: 8_000,
      durationMs: [timeoutMs * 0.1, timeoutMs * 6],
      begin: (random) => pause(running(random), { suspend: true }),
    },
    {
      name: 'disk stall',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs * 0.5, timeoutMs * 5],
      begin: (random) => running(random)?.disk.stall(),
    },
    {
      name: 'disk fails syncs',
      meanIntervalMs: 10_000,
      durationMs: [1, 50],
      begin: (random) => {
        const node = running(random)
        if (node === undefined) return undefined
        const { syncFailureProbability } = node.disk.quality
        node.disk.setQuality({ syncFailureProbability: 0.5 })
        return () => node.disk.setQuality({ syncFailureProbability })
      },
    },
    {
      name: 'clock rate changed',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs, timeoutMs * 10],
      begin: (random) => {
        const node = running(random)
        if (node === undefined || world.settings.clockDrift === 0) return undefined
        world.drawClockRate(node, random)
        return () => {}
      },
    },
    {
      name: 'slow clock of a leader that is cut off',
      meanIntervalMs: 6_000,
      durationMs: [timeoutMs * 2, timeoutMs * 12],
      begin: (random) => {
        const leader = world.leader()
        const { clockDrift } = world.settings
        if (leader === undefined || clockDrift === 0) return undefined
        for (const node of nodes())
          node.process.setClockRate(node === leader ? 1 - clockDrift : 1 + clockDrift)
        return cutOff(world, leader, random)
      },
    },
    {
      name: 'wall clock jumped',
      meanIntervalMs: 2_000,
      durationMs: [0, 0],
      begin: (random) => {
        const node = running(random)
        if (node === undefined) return undefined
        node.process.jumpWallClock((random.float() - 0.5) * timeoutMs * 20)
        return () => {}
      },
    },
    {
      name: 'connection closed hint',
      meanIntervalMs: 1_500,
      durationMs: [0, 0],
      begin: (random) => {
        const node = running(random)
        if (node?.core === undefined) return undefined
        const replica = pick(random, [node.core.leader, ...node.core.voters()])
        if (replica === 0) return undefined
        if (chance(random, 0.5)) node.core.peerUnreachable(replica, node.nowMs)
        else node.connectionClosed(node.core, replica)
        node.input('connection closed to', replica)
        node.changed()
        return () => {}
      },
    },
    {
      name: 'leader forgotten',
      meanIntervalMs: 3_000,
      durationMs: [0, 0],
      begin: (random) =>
        tell(running(random), 'told that the leader is gone', (core, nowMs) => core.forgetLeader(nowMs)),
    },
    {
      name: 'campaign without need',
      meanIntervalMs: 6_000,
      durationMs: [0, 0],
      begin: (random) => tell(running(random), 'told to campaign', (core, nowMs) => core.campaign(nowMs)),
    },
    {
      name: 'disk wiped',
      meanIntervalMs: 8_000,
      durationMs: [5, timeoutMs * 4],
      begin: (random) => wipe(world, random),
    },
  ]
}

/** A node stands still until it is over. */
function pause(
  node: Node | undefined,
  options: { readonly suspend?: boolean } = {},
): (() => void) | undefined {
  node?.process.pause(options)
  return node === undefined ? undefined : () => node.process.resume()
}

/** Somebody calls the replica of a node, once. */
function tell(
  node: Node | undefined,
  what: string,
  act: (core: RaftCore, nowMs: number) => void,
): (() => void) | undefined {
  if (node?.core === undefined) return undefined
  act(node.core, node.nowMs)
  node.input(what)
  node.changed()
  return () => {}
}

function cutOffLeader(world: World, random: SeededRandom): (() => void) | undefined {
  const leader = world.leader()
  return leader === undefined ? undefined : cutOff(world, leader, random)
}

/**
 * A leader is asked to replace most of the other voters at once, and at that moment it can reach only one of the two sets:
 * neither may decide anything without the other. Where there are too few learners to take their places, some are added
 * before, and get a while to catch up.
 */
function cutInHalves(world: World, random: SeededRandom): (() => void) | undefined {
  const leader = world.leader()
  const configuration = leader?.core?.configuration
  if (leader?.core === undefined || configuration === undefined || world.settings.jointShare === 0)
    return undefined
  const learners = configuration.replicas.filter(({ role }) => role === 'learner').length
  const spare = spareNodes(world, configuration, random).slice(0, Math.max(0, 3 - learners))
  const additions = spare.map(
    ({ name, incarnation }) => ({ type: 'addLearner', nodeId: name, incarnation }) as const,
  )
  if (
    leader.process.state !== 'running' ||
    !leader.core.changeMembership(additions, {}, leader.nowMs).accepted
  )
    return swapAndCut(world, random)
  leader.input('asked to add', spare.map(({ name }) => name).join())
  leader.changed()
  let isOver = false
  let heal: (() => void) | undefined
  world.simulation.scheduler.schedule(10 + random.float() * 200, () => {
    if (!isOver) heal = swapAndCut(world, random)
  })
  return () => {
    isOver = true
    heal?.()
  }
}

function swapAndCut(world: World, random: SeededRandom): (() => void) | undefined {
  const leader = world.leader()
  const configuration = leader?.core?.configuration
  if (leader?.core === undefined || configuration === undefined) return undefined
  if (world.lost.size > 0 || leader.process.state !== 'running') return undefined
  const others = shuffled(
    random,
    configuration.replicas.filter(
      ({ role, replicaId }) => role === 'voter' && replicaId !== leader.core?.replicaId,
    ),
  )
  const arriving = configuration.replicas
    .filter(({ role }) => role === 'learner')
    .filter(({ replicaId }) => leader.core?.mayPromote(replicaId) === true)
    .slice(0, Math.max(2, others.length))
  const leaving = others.slice(0, arriving.length)
  const answer = leader.core.changeMembership(
    [
      ...arriving.map(({ replicaId }) => ({ type: 'promote', replicaId }) as const),
      ...leaving.map(({ replicaId }) => ({ type: 'remove', replicaId }) as const),
    ],
    { autoLeave: chance(random, 0.5) },
    leader.nowMs,
  )
  if (!answer.accepted) return undefined
  leader.input('asked to replace', leaving.map(({ nodeId }) => nodeId).join(), 'by', arriving.length)
  leader.changed()
  const side = new Set((chance(random, 0.7) ? leaving : arriving).map(({ nodeId }) => nodeId))
  return world.conditions.partition(
    world.names.flatMap((a) =>
      world.names.filter((b) => side.has(a) !== side.has(b)).map((b): BlockedLink => [a, b]),
    ),
  )
}

/** The leader speaks to nobody, is heard by nobody, or both; its clients still reach it. */
function cutOff(world: World, leader: Node, random: SeededRandom): () => void {
  const others = world.names.filter((name) => name !== leader.name)
  const draw = random.float()
  const links: BlockedLink[] = [
    ...(draw < 0.75 ? oneWay([leader.name], others) : []),
    ...(draw > 0.25 ? oneWay(others, [leader.name]) : []),
  ]
  world.simulation.note('net', 'leader cut off', leader.name, links.length)
  const heal = world.conditions.partition(links)
  return () => {
    world.simulation.note('net', 'leader back', leader.name)
    heal()
  }
}

/**
 * A voter loses its disk and comes back as another life of its node: to its group it is gone for good. Only while nothing
 * else can cost the quorum: all others hold the same configuration, committed, and no replica was lost before.
 */
function wipe(world: World, random: SeededRandom): (() => void) | undefined {
  const live = world.live()
  const configuration = live[0]?.core?.configuration
  if (configuration === undefined || configuration.replicas.length < 3) return undefined
  if (configuration.replicas.some(({ replicaId }) => world.lost.has(replicaId))) return undefined
  if (configuration.replicas.some(({ role }) => role !== 'voter')) return undefined
  const agreed = configuration.replicas.every((replica) => {
    const state = world.nodeOf(replica)?.core?.configurationState()
    return (
      state?.latest?.generation === configuration.generation &&
      state.committed?.generation === configuration.generation
    )
  })
  if (!agreed) return undefined
  const node = pick(
    random,
    configuration.replicas.map((replica) => world.nodeOf(replica) as Node),
  )
  world.lost.add(node.core?.replicaId ?? 0)
  node.process.crash('power')
  node.wipe()
  return () => world.restart(node)
}
