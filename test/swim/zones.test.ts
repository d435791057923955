import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Swarm } from './swarm/swarm.ts'

/** One way between three data centres, within each 0.3 ms. */
const oneWayMs = [
  [0.3, 15, 25],
  [15, 0.3, 30],
  [25, 30, 0.3],
] as const

/** Suspicions, and deaths, while no packet passes between the first two data centres. */
function cut(byPlace: boolean, counted: { suspected: number; failed: number }): void {
  let counting = false
  const swarm = new Swarm({
    seed: 1,
    judged: false,
    onEvent: ({ type }) => {
      if (counting && (type === 'suspected' || type === 'failed')) counted[type]++
    },
    alter: ({ prober, membership: { table, tuning } }) => {
      if (byPlace) return
      const random = swarm.random.child('helpers')
      prober.helpersFor = (target) =>
        table.pick(
          tuning.indirectProbes,
          random,
          ({ member }) => member.state === 'alive' && member.nodeId !== target,
        )
    },
  })
  const zone = (process: number): number => process % 3
  swarm.network.pathMs = (from, to) =>
    counting && zone(from) !== zone(to) && zone(from) + zone(to) === 1
      ? undefined
      : oneWayMs[zone(from)]?.[zone(to)]
  swarm.startFormed(24)
  swarm.run(180_000)
  counting = true
  swarm.run(120_000)
}

suite('three data centres', () => {
  test('when the path between two of them is cut, helpers in the third one are asked', (context) => {
    const [byPlace, byChance] = [
      { suspected: 0, failed: 0 },
      { suspected: 0, failed: 0 },
    ]
    cut(true, byPlace)
    cut(false, byChance)
    context.diagnostic(`suspected ${byPlace.suspected} times, by chance alone ${byChance.suspected} times`)
    assert.equal(byPlace.failed, 0)
    assert.ok(byPlace.suspected * 5 < byChance.suspected)
  })
})
