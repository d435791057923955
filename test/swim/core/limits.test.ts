import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { SeededRandom } from '../../../src/core/random.ts'
import { Proofs } from '../../../src/swim/core/proofs.ts'
import { Reception } from '../../../src/swim/core/reception.ts'
import { Refusals } from '../../../src/swim/core/refusals.ts'
import { alive, hear, makeCore, runTo, said, sent, sentOf } from '../support/core.ts'

suite('what waits in a core has limits', () => {
  test('probes for others: beyond 1,024 who asks is told no at once', () => {
    const core = makeCore({ probeTimeoutMs: 500 })
    hear(core, 'a', 0, alive('a', 1), alive('b', 1))
    sent(core)
    const ask = (sequence: number) =>
      ({ kind: 'indirectPing', sequence, target: 'b', patienceMs: 400 }) as const
    let sequence = 0
    for (; sequence < 1_024; sequence += 16)
      hear(core, 'a', 1, ...Array.from({ length: 16 }, (_, i) => ask(sequence + i)))
    assert.deepEqual(sentOf(core, 'nack'), [])
    hear(core, 'a', 1, ask(sequence))
    assert.deepEqual(
      sentOf(core, 'nack').map(({ message }) => message.sequence),
      [sequence],
    )
    runTo(core, 5_000)
    sent(core)
    hear(core, 'a', 5_000, ask(1))
    assert.deepEqual(sentOf(core, 'nack'), [], 'there is room again')
  })

  test('requests of one packet: the seventeenth is counted and left out', () => {
    const core = makeCore()
    hear(core, 'a', 0, alive('a', 1))
    core.proofs.accepts = () => true
    const before = core.counters.requestsRefused
    const pings = Array.from(
      { length: 20 },
      (_, sequence) => ({ kind: 'ping', sequence, target: 'self' }) as const,
    )
    sent(core)
    hear(core, 'a', 1, { kind: 'proof', number: 1 }, ...pings)
    assert.equal(sentOf(core, 'ack').length, 16)
    assert.equal(core.counters.requestsRefused - before, 4)
  })

  test('what an unproven packet draws: no longer than the packet is looked at, even if that fails', (t) => {
    const pings = (failing: boolean): number => {
      const core = makeCore()
      hear(core, 'a', 0, ...Array.from({ length: 20 }, (_, i) => alive(`m${i}`, 1)))
      if (failing) {
        const handle = t.mock.method(Reception.prototype, 'handle', () => {
          throw new RangeError('a mistake')
        })
        assert.throws(() => hear(core, 'a', 1, { kind: 'ping', sequence: 1, target: 'self' }), RangeError)
        handle.mock.restore()
      }
      sent(core)
      runTo(core, 20_000)
      return sentOf(core, 'ping').length
    }
    assert.equal(pings(true), pings(false))
  })

  test('metadata that are fetched: sixteen at once, the others in their turn', () => {
    const core = makeCore()
    const bare = { metadata: new Uint8Array(0), metadataBytes: 2_000, metadataChecksum: 1 }
    for (let i = 0; i < 40; i++) hear(core, 'a', 0, { kind: 'alive', statement: said(`m${i}`, 1).with(bare) })
    runTo(core, 400)
    const asked = new Set(sentOf(core, 'fetch').map(({ message }) => message.nodeId))
    assert.equal(asked.size, 16)
    runTo(core, 600_000)
    for (const { message } of sentOf(core, 'fetch')) asked.add(message.nodeId)
    assert.equal(asked.size, 40)
  })

  test('numbers that others are to repeat: the oldest goes, and none lasts', () => {
    const proofs = new Proofs(new SeededRandom(1))
    const numbers = Array.from({ length: 1_025 }, () => proofs.ask(0))
    assert.equal(proofs.accepts(numbers[0] as number, 1), false)
    assert.equal(proofs.accepts(numbers[1] as number, 1), true)
    assert.equal(proofs.accepts(numbers[1] as number, 10_000), false)
  })

  test('members: who comes when there is no room is counted', () => {
    const core = makeCore({ maximumMembers: 3 })
    hear(core, 'a', 0, alive('a', 1), alive('b', 1), alive('c', 1), alive('d', 1))
    assert.equal(core.members().length, 3)
    assert.equal(core.counters.membersRefused, 2)
  })

  test('members that the host keeps out: as many are remembered as it takes, and no more', () => {
    const refusals = new Refusals()
    for (let i = 0; i < 100_000; i++) refusals.add(said(`x${i}`, 1), 'no', 1_000)
    let known = 0
    for (let i = 0; i < 100_000; i++) if (refusals.get(`x${i}`, 0) !== undefined) known++
    assert.equal(known, 4_096)
  })

  test('a confirmation travels on, and one that is not wanted any more does not', () => {
    const core = makeCore()
    // So many that two confirmations are wanted.
    hear(core, 'a', 0, ...['a', 'b', 'c', 'd', 'e', 'f'].map((nodeId) => alive(nodeId, 1)))
    const accuse = (accuser: string, nowMs: number): string[] => {
      hear(core, accuser, nowMs, { kind: 'suspect', nodeId: 'b', version: 1, accuser })
      const about = [...core.membership.queue.take(10_000, 100)].find(({ key }) => key === 'b')
      const message = about?.message
      core.membership.queue.remove('b')
      return message?.kind === 'suspect' ? [message.accuser] : []
    }
    assert.deepEqual(accuse('a', 1), ['a'])
    assert.deepEqual(accuse('c', 2), ['c'], 'it is told on though the suspicion is known')
    assert.deepEqual(accuse('c', 3), [], 'a second time it is no news')
    assert.deepEqual(accuse('d', 4), ['d'])
    assert.deepEqual(accuse('e', 5), [], 'no more are wanted')
  })
})
