import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ObservedReplica } from '../../../src/interfaces/range-host.ts'
import type { Load } from '../../../src/model/descriptors.ts'
import { separateLoads } from '../../../src/placement/core/model/loads.ts'

const replica = (replicaId: number, load: Load): ObservedReplica => ({
  rangeId: 1,
  replicaId,
  generation: 1,
  replicas: [],
  leaseHolder: false,
  sequence: 1,
  caughtUp: [],
  load,
})

test('leading takes what the holder reports beyond the others', () => {
  const reports = [
    replica(1, { bytes: 90, cpu: 9, requests: 100 }),
    replica(2, { bytes: 60, cpu: 2 }),
    replica(3, { bytes: 99, cpu: 4 }),
  ]
  assert.deepEqual(separateLoads(reports, 1), {
    load: { bytes: 90, cpu: 3, requests: 0 },
    leaderLoad: { cpu: 6, requests: 100 },
  })
})

test('what is reported is what is counted, also where the holder has least to do', () => {
  const reports = [replica(1, { cpu: 1 }), replica(2, { cpu: 4 }), replica(3, { cpu: 4 })]
  assert.deepEqual(separateLoads(reports, 1), { load: { cpu: 3 }, leaderLoad: {} })
})

test('without a leader a range goes on having what its replicas report', () => {
  const reports = [replica(1, { bytes: 80, cpu: 2 }), replica(2, { bytes: 90, cpu: 4 })]
  assert.deepEqual(separateLoads(reports, undefined), { load: { bytes: 90, cpu: 3 }, leaderLoad: {} })
})

test('what only the holder reports is taken for what every replica needs', () => {
  assert.deepEqual(separateLoads([replica(1, { cpu: 5 })], 1), { load: { cpu: 5 }, leaderLoad: {} })
  assert.deepEqual(separateLoads([], 1), { load: {}, leaderLoad: {} })
})
