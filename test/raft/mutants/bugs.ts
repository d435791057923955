import { mutants } from '../support/mutants.ts'
import { coreBugs } from './core-bugs.ts'
import { diskBugs } from './disk-bugs.ts'
import { hostBugs } from './host-bugs.ts'
import { leaseBugs } from './lease-bugs.ts'
import { membershipBugs } from './membership-bugs.ts'
import { recoveryBugs } from './recovery-bugs.ts'
import { restBugs } from './rest-bugs.ts'
import type { PlantedBug } from './types.ts'

type Adjust = NonNullable<PlantedBug['adjust']>

const emphasis = ['leader cut off', 'leader cut off, its successor crashes when it is back']

/** A leader that leads a minority, and comes back, more often than chance has it. */
const cutOffLeaders: Adjust = (settings) => ({
  ...settings,
  emphasis,
  link: { ...settings.link, reorderProbability: 0.2 },
})

const smallAppends: Adjust = (settings, random) => ({
  ...cutOffLeaders(settings, random),
  thinkMs: 4,
  raft: { ...settings.raft, maximumAppendEntries: 1, maximumInFlightMessages: 2 },
})

const staleReads: Adjust = (settings) => ({
  ...settings,
  emphasis: ['leader cut off', 'leader paused and cut off'],
  clients: 6,
  thinkMs: 3,
  attemptMs: 80,
  raft: { ...settings.raft, checkQuorum: false },
})

const manyChanges: Adjust = (settings, random) => ({
  ...cutOffLeaders(settings, random),
  operatorIntervalMs: 60,
  nodes: 7,
})

/** Where to look for the bugs that would hide for long. */
const corners: ReadonlyMap<string, Adjust> = new Map([
  ['a follower acknowledges its whole log', smallAppends],
  ['a follower commits beyond what was proven', smallAppends],
  ['a stale append truncates', cutOffLeaders],
  ['logs are compared by index before term', cutOffLeaders],
  ['reads are served without a confirmed round', staleReads],
  ['rounds of heartbeats are used again', staleReads],
  ['two changes are under way at once', manyChanges],
])

/** Mistakes of the list that one method of the core has. */
export const methodBugs: readonly PlantedBug[] = mutants.map(({ name, mistake, Core }) => ({
  name,
  mistake,
  Core,
  adjust: corners.get(name),
}))

/** Every bug that the simulator must catch. */
export const bugs: readonly PlantedBug[] = [
  ...methodBugs,
  ...coreBugs,
  ...diskBugs,
  ...leaseBugs,
  ...membershipBugs,
  ...restBugs,
  ...hostBugs,
  ...recoveryBugs,
].sort((a, b) => (a.mistake ?? 99) - (b.mistake ?? 99))
