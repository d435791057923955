import { type Bounds, defaultBounds } from './bounds.ts'

/** A small world that is explored to its end. */
export interface NamedBounds {
  readonly name: string
  readonly bounds: Bounds
}

/** Nothing happens but what a world adds. */
const calm: Bounds = Object.freeze({
  ...defaultBounds,
  proposals: 0,
  changes: 0,
  joints: 0,
  crashes: 0,
  messages: 2,
  losses: 0,
  duplicates: 0,
  heartbeats: 0,
})

/** From the bootstrap on. */
const fresh = (name: string, bounds: Partial<Bounds>): NamedBounds => ({
  name,
  bounds: { ...calm, ...bounds },
})

/** With a leader, and disks that are quick unless a world says otherwise. */
const led = (name: string, bounds: Partial<Bounds>): NamedBounds =>
  fresh(name, { elected: true, quickDisks: true, ...bounds })

/** What `npm run explore` looks at: a hundred thousand states to some millions each. */
export const worlds: readonly NamedBounds[] = [
  fresh('elections', { crashes: 1 }),
  fresh('elections and proposals', { proposals: 2, quickDisks: true }),
  led('losses and duplicates', {
    terms: 1,
    proposals: 2,
    crashes: 1,
    losses: 1,
    duplicates: 1,
    heartbeats: 1,
  }),
  led('slow disks', { proposals: 1, crashes: 1, quickDisks: false }),
  led('two leaders', { proposals: 2, crashes: 1, messages: 3 }),
  led('two leaders and heartbeats', { proposals: 2, crashes: 1, heartbeats: 1 }),
  led('two leaders and duplicates', { proposals: 2, crashes: 1, duplicates: 1 }),
  led('three leaders', { terms: 3, proposals: 1, crashes: 1 }),
  led('three leaders and proposals', { terms: 3, proposals: 2 }),
  led('a membership change', { proposals: 2, changes: 1, crashes: 1 }),
  led('a membership change and slow disks', { changes: 1, crashes: 1, quickDisks: false }),
  led('a joint change', { proposals: 2, joints: 1, crashes: 1, learners: 1 }),
  led('a joint change to one voter', { proposals: 2, joints: 1, crashes: 1 }),
  led('a joint change that is left when asked', {
    proposals: 1,
    joints: 1,
    crashes: 1,
    learners: 1,
    explicitLeave: true,
  }),
  led('a joint change and slow disks', { joints: 1, crashes: 1, learners: 1, quickDisks: false }),
  led('a learner is promoted', { learners: 1, changes: 2, crashes: 1 }),
  led('a learner is added', { spares: 1, changes: 2, crashes: 1 }),
  led('reads', { proposals: 1, reads: 1, crashes: 1 }),
  led('handing over', { proposals: 1, transfers: 1, crashes: 1 }),
  led('PreVote and CheckQuorum', { proposals: 1, crashes: 1, preVote: true, checkQuorum: true }),
  led('several inputs a turn', { proposals: 1, turns: true }),
]

/** A second or two each: part of the tests. */
export const quickWorlds: readonly NamedBounds[] = [
  fresh('elections and a crash', { crashes: 1, quickDisks: true }),
  led('one leader and slow disks', { terms: 1, proposals: 2, crashes: 1, quickDisks: false }),
  led('two leaders', { proposals: 2 }),
  led('two leaders and slow disks', { proposals: 1, quickDisks: false }),
  led('three leaders', { terms: 3 }),
  led('a membership change', { changes: 1 }),
  led('a joint change', { joints: 1, learners: 1 }),
  led('a joint change to one voter', { joints: 1 }),
  led('a read', { proposals: 1, reads: 1 }),
  led('PreVote and CheckQuorum', { preVote: true, checkQuorum: true }),
]
