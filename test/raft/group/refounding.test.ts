import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { utf8 } from '../../../src/core/bytes.ts'
import { entryKinds } from '../../../src/interfaces/log-store.ts'
import { decodeConfiguration } from '../../../src/raft/core/configuration.ts'
import { decodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { areApart, recoveriesOf } from '../../../src/raft/group/lost-quorum.ts'
import { refoundedState } from '../../../src/raft/group/refounding.ts'

const members = (incarnation: number) =>
  [1, 2, 3].map((replicaId) => ({ replicaId, nodeId: `n${replicaId}`, incarnation, role: 'voter' as const }))
const refounding = { recoveries: 16, firstCommands: [utf8('raise'), utf8('mark')] }

suite('the first members of a group that takes the place of a lost one', () => {
  test('start from the same, whatever order they were named in', () => {
    const state = refoundedState(7, members(1), refounding)
    assert.deepEqual(refoundedState(7, members(1).reverse(), refounding), state)
  })

  test('have the first commands behind everything that a new group has, all of it committed', () => {
    const { entries, hardState } = refoundedState(7, members(1), refounding)
    assert.deepEqual(
      entries.map(({ index, kind }) => [index, kind]),
      [
        [1, entryKinds.configuration],
        [2, entryKinds.noop],
        [3, entryKinds.noop],
        [4, entryKinds.command],
        [5, entryKinds.command],
      ],
    )
    assert.equal(hardState.commit, 5)
    const commands = entries.slice(3).map(({ data }) => decodeEnvelope(data).payload)
    assert.deepEqual(commands, refounding.firstCommands)
  })

  test('are of a recovery that no other founding made, and count configurations behind all of the lost one', () => {
    const state = refoundedState(7, members(1), refounding)
    assert.equal(recoveriesOf(state.recoveryGeneration), refounding.recoveries)
    const other = refoundedState(7, members(2), refounding)
    assert.ok(areApart(state.recoveryGeneration, other.recoveryGeneration))
    const { generation } = decodeConfiguration(state.entries[0]?.data as Uint8Array)
    assert.ok(generation >= 16 * 2 ** 32)
    assert.ok(Number.isSafeInteger(generation))
  })
})
