import { bugs } from './bugs.ts'

/** A rule of the design that keeps a group safe, and the planted bugs that break it, by name. */
export interface SafetyRule {
  readonly rule: string
  readonly bugs: readonly string[]
}

/** The safety rules of the design that a simulated group can break; docs/simulation.md says where the others are tested. */
export const safetyRules: readonly SafetyRule[] = [
  {
    rule: 'a voter is a replica id, minted once, bound to one life of one node',
    bugs: [
      'messages of a replica are taken from any node',
      'a wiped disk comes back as the replica that it was',
      'an empty replica keeps the id that awakened it',
    ],
  },
  {
    rule: 'a replica that was destroyed leaves a tombstone and never comes back',
    bugs: ['a destroyed replica begins again under its id'],
  },
  {
    rule: 'a replica whose disk forgot what it acknowledged is quarantined',
    bugs: [
      'a replica whose disk forgot what it acknowledged is believed',
      'what other nodes know of a disk is not compared with it',
      'what other nodes know of a disk is compared with what it has written since it started',
      'a quarantined replica says what it had promised before',
      'a quarantined replica acknowledges the snapshot that was on its way to it',
    ],
  },
  {
    rule: 'applied is only what is committed and durable here',
    bugs: ['entries are applied before they are durable'],
  },
  {
    rule: 'writes become durable in their order',
    bugs: [
      'writes become durable in any order',
      'promises wait for the oldest write under way, not the last',
      'completions of writes that come late take back the progress of earlier ones',
    ],
  },
  {
    rule: 'an acknowledgement speaks for what its append has proven',
    bugs: ['a follower acknowledges its whole log'],
  },
  {
    rule: 'an acknowledgement counts in the term in which it was given, and in no later one',
    bugs: ['acknowledgements of an earlier term count'],
  },
  {
    rule: 'a range of the log that was read counts only if nothing has changed since',
    bugs: ['fetched entries are sent although the log changed'],
  },
  {
    rule: 'applied index, configuration and client sessions are stored with the state, atomically',
    bugs: ['the applied index is not atomic with the state', 'a snapshot leaves out the client sessions'],
  },
  {
    rule: 'the commands of unknown sessions are refused',
    bugs: ['the command of a session that is gone is taken for a new one'],
  },
  {
    rule: 'a restore switches the state, then resets the log, and the start completes it',
    bugs: [
      'snapshots are installed without the reset of the log',
      'what waited to be applied is applied over a snapshot, with its old configuration',
    ],
  },
  {
    rule: 'a candidate campaigns under its latest configuration, and votes whatever that says',
    bugs: [
      'a promoted learner refuses to vote because it has not heard of its promotion',
      'a truncated configuration stays in force',
    ],
  },
  {
    rule: 'a lease runs from when a round was sent that a quorum pledged itself to',
    bugs: [
      'a lease begins when the answer comes in, not when the round was sent',
      'one pledge makes a lease',
      'a leader counts on more than its followers have pledged',
    ],
  },
  {
    rule: 'who has pledged votes for nobody else, in any term, and for as long after a start',
    bugs: [
      'votes are given in spite of a pledge',
      'a replica votes for itself in spite of its pledge',
      'a pledge ends with its term',
      'a replica that starts again does not keep the pledges of its former life',
      'the drift of clocks is not allowed for',
    ],
  },
  {
    rule: 'a node that pledges itself for many groups votes in one of them only when it has ended that for all',
    bugs: [
      'a replica votes although its node has pledged itself for it',
      'a node votes in one group, and goes on pledging itself for it under the same epoch',
      'a node goes on pledging itself under an epoch that has ended, or of its former life',
      'what a node pledges counts for replicas that do not rest under it',
      'the pledge of a node is counted from when its answer comes in',
      'a replica is free to vote as soon as something wakes it',
    ],
  },
  {
    rule: 'a group rests only when all have all and nothing is under way, and whatever does not fit wakes it',
    bugs: [
      'a group goes to rest although a replica lacks something',
      'a replica goes to rest with another log than its leader',
      'answers from before a replica was woken say that it rests',
      'a replica at rest is not woken when the node of its leader is gone',
      'a leader at rest does not care for those who are awake',
      'a leader at rest with too few nodes does not wake up',
    ],
  },
  {
    rule: 'TimeoutNow ends the lease of the term',
    bugs: ['a lease outlives the message that hands leadership over'],
  },
  {
    rule: 'wall time that outruns monotonic time voids leases, and never extends them',
    bugs: ['a machine that slept keeps its lease', 'the wall clock measures the lease'],
  },
  {
    rule: 'after a lost quorum every message carries the recovery generation',
    bugs: ['recovery generations are not compared', 'lost members that come back are not told'],
  },
  {
    rule: 'a write resolves when it is durable',
    bugs: [
      'the log store acknowledges before its sync',
      'messages do not wait for the write that they promise',
    ],
  },
  {
    rule: 'a record says by checksum, index and term what it is',
    bugs: ['a record is believed wherever it stands'],
  },
  {
    rule: 'damage before what is synced is no torn tail',
    bugs: ['a damaged record in the middle of the log is taken for a torn tail'],
  },
  {
    rule: 'a store is poisoned by a failed sync',
    bugs: ['a failed sync is tried again, and then taken for good'],
  },
  {
    rule: 'compaction never passes the applied index that is synced',
    bugs: ['the log is compacted although the state was not flushed'],
  },
]

/** The mistakes of the list of 40 that no bug stands for. */
export function mistakesWithoutBug(): number[] {
  const known = new Set(bugs.flatMap(({ mistake }) => mistake ?? []))
  return Array.from({ length: 40 }, (_, i) => i + 1).filter((mistake) => !known.has(mistake))
}
