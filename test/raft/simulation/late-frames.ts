import { between, chance, pick, type SeededRandom, shuffled } from '../../../src/core/random.ts'
import type { FaultKind } from '../../../src/simulation/faults.ts'
import { oneWay } from '../../../src/simulation/partitions.ts'
import type { Node } from './node.ts'
import { copyPacket, type Packet } from './wire.ts'
import type { World } from './world.ts'

/** Frames that are kept of one such time: the last ones. */
const maximumFrames = 100

/**
 * A network may deliver what it was given once more, at any later time. The copies that links make come within an election
 * timeout or two, in the same term or the next. These come when their receiver has led, followed, and leads again, with
 * another log than the one that they speak of.
 */
export function lateFrameKinds(world: World): FaultKind[] {
  const timeoutMs = world.settings.raft.electionTimeoutMs ?? 300
  let isUnderWay = false
  return [
    {
      name: 'frames of long ago arrive once more',
      meanIntervalMs: 3_000,
      durationMs: [timeoutMs * 4, timeoutMs * 40],
      begin: (random) => framesOfLongAgo(world, random, timeoutMs),
    },
    {
      name: 'leader cut off with one other leads again',
      meanIntervalMs: 4_000,
      durationMs: [timeoutMs * 4, timeoutMs * 20],
      begin: (random) => {
        // Two of them would leave nobody to elect another leader.
        const end = isUnderWay ? undefined : leadsAgain(world, random, timeoutMs)
        if (end === undefined) return undefined
        isUnderWay = true
        return () => {
          isUnderWay = false
          end()
        }
      },
    },
  ]
}

/** What some nodes sent to another. */
class Tape {
  readonly #world: World
  readonly #receiver: string
  readonly #random: SeededRandom
  readonly #frames: { readonly from: string; readonly packet: Packet }[] = []
  readonly stop: () => void

  constructor(world: World, random: SeededRandom, receiver: string, senders: readonly string[]) {
    this.#world = world
    this.#random = random
    this.#receiver = receiver
    this.stop = world.whenSent((from, to, packet) => {
      if (to !== receiver || packet.type !== 'frame' || !senders.includes(from)) return
      this.#frames.push({ from, packet: copyPacket(packet) })
      if (this.#frames.length > maximumFrames) this.#frames.shift()
    })
  }

  /** In any order, and not all of it. */
  play(): void {
    for (const { from, packet } of shuffled(this.#random, this.#frames)) {
      if (chance(this.#random, 0.5)) this.#world.network.send(from, this.#receiver, packet)
    }
  }
}

function framesOfLongAgo(world: World, random: SeededRandom, timeoutMs: number): () => void {
  const leader = world.leader()
  const receiver = leader !== undefined && chance(random, 0.7) ? leader.name : pick(random, world.names)
  const { scheduler } = world.simulation
  const tape = new Tape(world, random, receiver, world.names)
  scheduler.schedule(between(random, 0.1, 4) * timeoutMs, tape.stop)
  return () => {
    tape.stop()
    if (!world.calm) tape.play()
  }
}

/**
 * What a leader and one other have alone is acknowledged, but not committed, and cut off by whom the rest elects. Then the
 * first one gets the lead back, from a group that goes on as if nothing had happened, and hears the acknowledgements of
 * what is gone once more. The one that gave them may not hear of all that yet.
 */
function leadsAgain(world: World, random: SeededRandom, timeoutMs: number): (() => void) | undefined {
  const first = world.leader()
  const followers = world.live().filter((node) => node !== first && node.core?.isVoter() === true)
  if (first === undefined || followers.length < 3) return undefined
  const faithful = pick(random, followers)
  const side = [first.name, faithful.name]
  const rest = world.names.filter((name) => !side.includes(name))
  const { scheduler } = world.simulation
  const tape = new Tape(world, random, first.name, [faithful.name])
  let heal = world.conditions.partition([...oneWay(side, rest), ...oneWay(rest, side)])
  let isOver = false
  const after = (timeouts: number, act: () => void): void => {
    scheduler.schedule(random.float() * timeouts * timeoutMs, () => {
      if (!isOver) act()
    })
  }
  const handBack = (): void => {
    if (world.leader() !== first) {
      askToHandOver(world.leader(), first)
      after(0.5, handBack)
    } else {
      for (let i = random.integer(6); i >= 0; i--) after(1, () => tape.play())
    }
  }
  const forget = world.whenElected(() => {
    if (world.leader() === first) return
    forget()
    after(1, () => {
      tape.stop()
      heal()
      const others = world.names.filter((name) => name !== faithful.name)
      heal = chance(random, 0.5) ? world.conditions.partition(oneWay(others, [faithful.name])) : () => {}
      handBack()
    })
  })
  return () => {
    isOver = true
    forget()
    tape.stop()
    heal()
  }
}

function askToHandOver(leader: Node | undefined, to: Node): void {
  const replicaId = to.core?.replicaId ?? 0
  if (leader?.process.state !== 'running') return
  if (leader.core?.transferLeadership(replicaId, leader.nowMs).accepted !== true) return
  leader.input('asked to hand back to', replicaId)
  leader.changed()
}
