import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { votesInIncoming } from '../../../src/model/replica-roles.ts'
import type { RaftMember } from '../../../src/raft/core/membership-types.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import { chaos } from '../support/chaos.ts'

const seeds = Number(process.env.KEELSON_CHAOS_SEEDS ?? 120)
const first = Number(process.env.KEELSON_CHAOS_FIRST ?? 1)

/** What it hears of its leader does not keep it from campaigning, and others let it. */
class Impatient extends RaftCore {
  override armElection(): void {
    const before = this.electionDeadlineMs
    super.armElection()
    if (before > this.nowMs) this.electionDeadlineMs = Math.min(before, this.electionDeadlineMs)
  }
  override protectsLeader(): boolean {
    return this.role === 'leader'
  }
}

/** A leader that hands over to anybody who can take over. */
class Restless extends RaftCore {
  override preferredHeir(): RaftMember | undefined {
    return this.configuration?.replicas.find(
      (replica) => votesInIncoming(replica) && this.canTakeOver(this.progress.get(replica.replicaId)),
    )
  }
}

suite('chaos', () => {
  test(`${seeds} random runs break no invariant and heal`, () => {
    const total = {
      committed: 0,
      elections: 0,
      crashes: 0,
      snapshots: 0,
      changes: 0,
      joints: 0,
      reads: 0,
      fetches: 0,
    }
    for (let seed = first; seed < first + seeds; seed++) {
      try {
        const report = chaos(seed, 1500)
        for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += report[key]
      } catch (cause) {
        throw new Error(`seed ${seed}: ${(cause as Error).message}`, { cause })
      }
    }
    // Runs that do nothing would find nothing.
    for (const [what, count] of Object.entries(total)) assert.ok(count > seeds / 2, `only ${count} ${what}`)
  })

  for (const Core of [Impatient, Restless]) {
    test(`ends with a judge who notices a leader that is disturbed: ${Core.name} replicas`, () => {
      const found = Array.from({ length: 60 }, (_, i) => i + 1).some((seed) => {
        try {
          chaos(seed, 300, Core)
          return false
        } catch (thrown) {
          if (!/the leader was disturbed/.test((thrown as Error).message)) return false
        }
        chaos(seed, 300)
        return true
      })
      assert.ok(found)
    })
  }
})
