/** How large the explored world is. Each count is at most 7. */
export interface Bounds {
  /** Members that the group begins with, 1 to 3. */
  readonly members: number
  /** How many of them begin as learners. */
  readonly learners: number
  /** Nodes without a replica, of which a membership change may make one: 0 or 1. */
  readonly spares: number
  /** The first member leads already, in the first term, and all have its first entry. */
  readonly elected: boolean
  /** Terms that may be elected in. The bootstrap has one of its own. */
  readonly terms: number
  readonly proposals: number
  /** Membership changes that leaders may append, of each kind that they accept. */
  readonly changes: number
  /** Changes of two voters at once that leaders may append, each through a joint configuration. */
  readonly joints: number
  /** Crashes. Whoever is down may start again at any time. */
  readonly crashes: number
  /** Messages under way at any time. What is sent beyond is lost, every choice of what is tried. */
  readonly messages: number
  /** Messages that are lost on the way. */
  readonly losses: number
  /** Messages that arrive once more later. */
  readonly duplicates: number
  /** Rounds of heartbeats that a timer starts. */
  readonly heartbeats: number
  /** Linearizable reads: 0 or 1. */
  readonly reads: number
  /** Leaders that are asked to hand over. */
  readonly transfers: number
  /** Joint configurations stay until a leader is asked to leave them, at any time. Else it leaves them by itself. */
  readonly explicitLeave: boolean
  /** Campaigns ask first. */
  readonly preVote: boolean
  /** Leaders look for a quorum, and followers protect a leader that they have heard of lately. */
  readonly checkQuorum: boolean
  /** Writes are durable at once, instead of some time later. */
  readonly quickDisks: boolean
  /** What a replica has to do is taken from it some time after the input, several inputs at once. */
  readonly turns: boolean
}

/** What is used where nothing else is said: the bounds of the issue. */
export const defaultBounds: Bounds = Object.freeze({
  members: 3,
  learners: 0,
  spares: 0,
  elected: false,
  terms: 2,
  proposals: 2,
  changes: 1,
  joints: 0,
  crashes: 1,
  messages: 4,
  losses: 1,
  duplicates: 1,
  heartbeats: 1,
  reads: 0,
  transfers: 0,
  explicitLeave: false,
  preVote: false,
  checkQuorum: false,
  quickDisks: false,
  turns: false,
})
