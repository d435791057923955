import { chance, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { FaultKind } from '../../../src/simulation/faults.ts'
import { type BlockedLink, isolate, oneWay } from '../../../src/simulation/partitions.ts'
import type { Node } from './node.ts'
import type { World } from './world.ts'

/** What happens to a leader at the worst moment, or to those around it. */
export function leaderKinds(world: World): FaultKind[] {
  const { electionTimeoutMs: timeoutMs = 300, leaseMs = 100 } = world.settings.raft
  let isAlone = false
  return [
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
        for (const node of world.nodes.values()) {
          if (node === leader || node.process.state === 'crashed') continue
          node.process.crash(chance(random, 0.5) ? 'kill' : 'power')
          world.simulation.scheduler.schedule(5 + random.float() * timeoutMs * 0.2, () => world.restart(node))
        }
        return heal
      },
    },
    {
      name: 'leader alone for longer than its lease',
      meanIntervalMs: 5_000,
      // Until nobody is pledged to it any more, and the others have had the time to elect somebody, who writes.
      durationMs: [leaseMs + timeoutMs * 3, leaseMs * 1.2 + timeoutMs * 8],
      begin: () => {
        const leader = world.leader()
        // Two of them would leave nobody to elect another leader.
        if (isAlone || leader?.process.state !== 'running') return undefined
        isAlone = true
        const heal = world.conditions.partition(isolate(leader.name, world.names))
        return () => {
          isAlone = false
          heal()
        }
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
        for (const node of world.nodes.values())
          node.process.setClockRate(node === leader ? 1 - clockDrift : 1 + clockDrift)
        return cutOff(world, leader, random)
      },
    },
  ]
}

function cutOffLeader(world: World, random: SeededRandom): (() => void) | undefined {
  const leader = world.leader()
  return leader === undefined ? undefined : cutOff(world, leader, random)
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
