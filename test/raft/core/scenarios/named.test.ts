import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

// build/test/raft/core/scenarios, seen from test/raft/core.
const folder = fileURLToPath(new URL('../../../../../test/raft/core/', import.meta.url))

/** The scenarios that implementations of Raft are known by, and the tests that play them. */
const scenarios: readonly (readonly [scenario: string, file: string, ...tests: readonly string[]])[] = [
  ['election of 1, 3, 5 nodes', 'election', 'replicas elect one leader and commit'],
  ['stale log cannot win', 'election', 'a stale log cannot win'],
  [
    'duelling candidates',
    'election',
    'duelling candidates: the votes split, and a later campaign settles it',
  ],
  [
    'PreVote and CheckQuorum together',
    'election',
    'a replica that was cut off disturbs nobody when it comes back',
    'a pre-candidate with a low term learns of the higher one and wins',
    'a partial partition: a quorum that is connected gets a leader',
  ],
  [
    'leader removes itself, and steps down',
    'membership',
    'as leader: leads until that is committed, steps down, and another takes over at once',
  ],
  [
    'leader removes itself, and has nobody to hand over to',
    'membership',
    'as leader of two: does not count itself, and may campaign until it is committed',
  ],
  ['add one', 'membership', 'has the index of its entry for an id, learns, is promoted and votes'],
  [
    'add two (joint, auto-leave and explicit leave)',
    'joint',
    "adds two voters at once, and is left ${autoLeave ? 'by itself' : 'explicitly'}",
    'is left by the next leader (mistake 22)',
  ],
  [
    'replace the leader by transfer while joint',
    'joint',
    'leadership is handed to an incoming voter, not to one that goes',
    'replaces all voters at once, and the one that led hands over',
  ],
  ['forget-leader', 'priorities', 'is not protected any more, until it is heard again'],
  [
    'promoted learner must vote',
    'membership',
    'answers for a vote although it has not heard of its promotion',
  ],
  [
    'heartbeat response recovers from probing',
    'replication',
    'a heartbeat answer resumes a probe whose message was lost',
  ],
  [
    'lagging commit after a hiccup',
    'replication',
    'commits after a hiccup: a follower that lagged learns the commit with the next append',
  ],
  [
    'paper figure 7 (probe then replicate)',
    'replication',
    'brings logs of every shape of figure 7 in line: probe first, then stream',
  ],
  [
    'paper figure 8',
    'replication',
    'figure 8: an entry of an earlier term on a majority is not committed by counting',
  ],
  [
    'in-flight limit pauses and resumes',
    'replication',
    'stops at the limits in flight, and goes on with each acknowledgement',
    'stops at the bytes in flight, but lets a larger entry pass alone',
  ],
  ['slow follower after compaction', 'scenarios/snapshots', 'slow follower after compaction'],
  ['snapshot older than pending snapshot', 'scenarios/snapshots', 'snapshot older than pending snapshot'],
  [
    'snapshot acknowledged by an append response',
    'snapshot',
    'are acknowledged by an append answer, with no report of the host',
  ],
  [
    'append acknowledgement of an older term after truncation (ABA)',
    'replication',
    'an acknowledgement does not survive the truncation of what it spoke for',
    'a write does not make durable what was cut off and refilled meanwhile (ABA)',
    'ignores acknowledgements of another term, of strangers and of what it never sent',
  ],
  ['single node commits only after persist', 'replication', 'a single voter commits only after its write'],
  [
    'transfer timeout',
    'requests',
    'refuses proposals and changes meanwhile, and for no longer than an election timeout',
  ],
  ['transfer to a lagging peer', 'requests', 'to one that lags waits until it has everything'],
  [
    'read index with leader change',
    'requests',
    'of a leader that was replaced without knowing are not served',
    'fail when leadership is lost',
  ],
  ['group-wide restart', 'replication', 'of the whole group lose nothing that was committed'],
  ['restart mid-snapshot', 'snapshot', 'that were restored before a crash are completed by the start'],
  ['wiped disk', 'membership', 'comes back as a new member, and under its old id it is quarantined'],
]

suite('the named scenarios', () => {
  for (const [scenario, file, ...titles] of scenarios) {
    test(`${scenario}: ${titles.length === 1 ? 'a test' : `${titles.length} tests`} in ${file}`, () => {
      const source = readFileSync(`${folder}${file}.test.ts`, 'utf8')
      assert.ok(titles.length > 0)
      for (const title of titles) {
        // The title, or its end where the beginning is worked out.
        const ends = [`${title}'`, `${title}\``]
        assert.ok(
          ends.some((end) => source.includes(end)),
          `no test "${title}" in ${file}`,
        )
      }
    })
  }
})
