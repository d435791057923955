import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { bootstrapState } from '../../../src/raft/core/configuration.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import { RaftCore } from '../../../src/raft/core/raft.ts'
import type { Ready } from '../../../src/raft/core/types.ts'

const replicas = [1, 2, 3].map((replicaId) => ({
  replicaId,
  nodeId: `n${replicaId}`,
  incarnation: 1,
  role: 'voter' as const,
}))

test('a read that was confirmed just before leadership was lost gets an answer', () => {
  const { entries, hardState } = bootstrapState(replicas)
  const restored = { entries, hardState, compacted: { index: 0, term: 0 }, appliedIndex: 0 }
  const core = new RaftCore({ replicaId: 1, restored, random: new SeededRandom(1), nowMs: 0 })
  const step = (message: Message) => core.step(message, 1)
  const settle = () => {
    const all: Ready[] = []
    for (let ready = core.takeReady(); ready !== undefined; ready = core.takeReady()) {
      all.push(ready)
      if (ready.write !== undefined) core.persisted(ready.write.writeId, 1)
    }
    return all
  }
  core.campaign(1)
  settle()
  step({ kind: 'preVoteReply', from: 2, to: 1, term: 1, candidateTerm: 2, granted: true, removed: false })
  settle()
  step({ kind: 'voteReply', from: 2, to: 1, term: 2, granted: true })
  settle()
  assert.equal(core.role, 'leader')
  const reply = {
    kind: 'appendReply',
    from: 2,
    to: 1,
    term: 2,
    accepted: true,
    hintIndex: 0,
    hintTerm: 0,
  } as const
  step({ ...reply, index: core.lastIndex })
  settle()
  assert.equal(core.commitIndex, core.lastIndex)

  assert.ok(core.requestRead(7, 1).accepted)
  const round = settle()
    .flatMap((ready) => ready.messages)
    .find((message) => message.kind === 'heartbeat' && message.round > 0)
  assert.ok(round?.kind === 'heartbeat')
  step({ kind: 'heartbeatReply', from: 2, to: 1, term: 2, round: round.round, pledgeMs: 0 })
  step({ kind: 'heartbeat', from: 3, to: 1, term: 3, round: 1, commit: 0, match: 0 })
  const answered = settle().flatMap((ready) => [
    ...ready.reads.map((read) => read.context),
    ...ready.failedReads,
  ])
  assert.deepEqual(answered, [7])
})
