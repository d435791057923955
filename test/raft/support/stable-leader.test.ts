import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { makeConfiguration } from '../../../src/raft/core/configuration.ts'
import { descriptor } from './cluster.ts'
import { disturbance, type Leading } from './stable-leader.ts'

const configuration = makeConfiguration(1, [descriptor(1), descriptor(2), { ...descriptor(3), priority: 2 }])
const before: Leading = { replicaId: 1, term: 7, elections: 4, handOvers: 1 }
const handedOver: Leading = { replicaId: 3, term: 8, elections: 5, handOvers: 2 }

suite('the judge of a leader in a group in which all is well', () => {
  const judge = (after: Partial<Leading>, from = before): string | undefined =>
    disturbance(from, { ...from, ...after }, configuration)

  test('lets it lead on', () => {
    assert.equal(judge({}), undefined)
  })

  test('lets it hand over to one of higher priority, once', () => {
    assert.equal(judge(handedOver), undefined)
    assert.match(judge({ ...handedOver, term: 10, elections: 7, handOvers: 4 }) ?? '', /3 elections/)
    assert.match(judge({ ...handedOver, term: 9 }) ?? '', /leads in term 9/)
  })

  test('lets nobody take over to whom it was not handed', () => {
    assert.match(judge({ ...handedOver, handOvers: 1 }) ?? '', /1 elections and 0 hand-overs/)
  })

  test('lets it hand over to nobody of an equal or a lower priority', () => {
    assert.match(judge({ ...handedOver, replicaId: 2 }) ?? '', /priority is 0, not above 0/)
    assert.match(judge({ replicaId: 1, term: 8, elections: 5 }) ?? '', /not above 0/, 'elected again')
    const preferred = { ...before, replicaId: 3 }
    assert.match(judge({ ...handedOver, replicaId: 1 }, preferred) ?? '', /not above 2/)
  })
})
