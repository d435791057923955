import { SeededRandom } from '../../../src/core/random.ts'
import { confirmationsWanted, suspicionMinimumMs } from '../../../src/swim/core/formulas.ts'
import { ownProtocols } from '../../../src/swim/core/statement.ts'
import { Suspicion } from '../../../src/swim/core/suspicion.ts'
import type { ProtocolRange, SwimCore } from '../../../src/swim/index.ts'
import { lanProfile, type SwimTuning } from '../../../src/swim/index.ts'
import type { Alteration } from '../swarm/swarm.ts'

/** One column of Lifeguard's tables. */
export interface Configuration {
  readonly name: string
  readonly tuning: SwimTuning
  readonly alter: Alteration
  /**
   * What a process does while it is held up. `threads`: as in memberlist, its timers go on and only the prober hangs in its
   * first send. `loop`: as in one event loop, all of it stands still, and first takes in what has waited.
   */
  readonly heldUp: 'threads' | 'loop'
  /** Versions of the protocol: the paper's members need not prove that they ask for a view now. */
  readonly protocols: ProtocolRange
}

/** Takes away what is not in the paper: what this library does beyond Lifeguard. */
function plain(core: SwimCore, buddy: boolean): void {
  const { membership, prober } = core
  const answerAccusation = membership.voice.answerAccusation.bind(membership.voice)
  core.forgiveStall = () => {}
  core.reception.correction = () => []
  if (!buddy) core.packer.buddy = () => []
  prober.extendPeriod = () => {}
  core.antiEntropy.hurry = () => {}
  core.antiEntropy.reconnect = () => {}
  const random = new SeededRandom(1).child(core.self.nodeId)
  prober.helpersFor = (target) =>
    membership.table.pick(
      membership.tuning.indirectProbes,
      random,
      ({ member }) => member.state === 'alive' && member.nodeId !== target,
    )
  membership.voice.answerAccusation = (version, claim, nowMs) => {
    answerAccusation(version, claim, nowMs)
    membership.voice.answerDue = false
  }
  membership.newSuspicion = (version, accuser, nowMs) => {
    const {
      suspicionMultiplier: alpha,
      suspicionMaximumMultiplier: beta,
      probeIntervalMs,
    } = membership.tuning
    const members = membership.table.live
    const minimumMs = suspicionMinimumMs(alpha, members, probeIntervalMs)
    return new Suspicion(
      version,
      { accuser, toldBy: membership.teller, atMs: nowMs },
      {
        minimumMs,
        maximumMs: minimumMs * beta,
        wanted: confirmationsWanted(alpha, members, beta),
        lastCallMs: 0,
      },
    )
  }
}

function ofPaper(
  name: string,
  {
    probe,
    suspicion,
    buddy,
    alpha = 5,
  }: { probe: boolean; suspicion: boolean; buddy: boolean; alpha?: number },
): Configuration {
  return {
    name,
    tuning: {
      ...lanProfile,
      suspicionMultiplier: alpha,
      suspicionMaximumMultiplier: suspicion ? 6 : 1,
      healthMaximum: probe ? 8 : 1,
      expelRefutations: 0,
    },
    alter: (core) => plain(core, buddy),
    heldUp: 'threads',
    protocols: { minimum: 2, maximum: 3 },
  }
}

/** The paper's five, Lifeguard with the paper's fast setting, and this library as it is. */
export const configurations: readonly Configuration[] = [
  ofPaper('SWIM', { probe: false, suspicion: false, buddy: false }),
  ofPaper('LHA-Probe', { probe: true, suspicion: false, buddy: false }),
  ofPaper('LHA-Suspicion', { probe: false, suspicion: true, buddy: false }),
  ofPaper('Buddy', { probe: false, suspicion: false, buddy: true }),
  ofPaper('Lifeguard', { probe: true, suspicion: true, buddy: true }),
  ofPaper('Lifeguard α 2', { probe: true, suspicion: true, buddy: true, alpha: 2 }),
  {
    name: 'keelson',
    tuning: { ...lanProfile, suspicionMultiplier: 5, suspicionMaximumMultiplier: 6 },
    alter: () => {},
    heldUp: 'loop',
    protocols: ownProtocols,
  },
]
