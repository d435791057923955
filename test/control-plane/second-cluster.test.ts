import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { bootstrap, type ControlPlane, join, type NodeAgent } from '../../src/control-plane/index.ts'
import { sleep } from '../../src/core/async.ts'
import { utf8 } from '../../src/core/bytes.ts'
import { greeting, greetingKey, Site, secret } from './support/site.ts'

suite('a server that has lost its disk and is told to bootstrap again', () => {
  test('is refused by whoever knows the cluster, and told to join; then it comes back', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      const others = ['cp2:1', 'cp3:1']
      const cp1 = site.machine('cp1')
      cp1.crash()
      cp1.wipe()
      // One of the others is enough.
      site.machine('cp2').crash()
      cp1.restart()
      await assert.rejects(site.server('cp1', bootstrap({ others, secret })), {
        code: 'ALREADY_BOOTSTRAPPED',
        message: /cp3 .*cp1 was one, too, and has lost its disk: open cp1 with join/,
      })
      site.machine('cp2').restart()
      await site.server('cp2', join({ seeds: ['cp3:1'], secret }))
      cp1.crash()
      cp1.restart()
      const again = await site.server('cp1', join({ seeds: others, secret }))
      await site.until('it has everything', async () => (await greeting(again.store)) === 'of the first')
      assert.equal(again.status().group.configuration?.replicas.length, 3)
    })
  })

  test('waits while nobody can be asked, and begins nothing', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      for (const name of ['cp1', 'cp2', 'cp3']) site.machine(name).crash()
      site.machine('cp1').wipe()
      site.machine('cp1').restart()
      const opening = site.server('cp1', bootstrap({ others: ['cp2:1', 'cp3:1'], secret }))
      let ended = false
      const end = assert.rejects(opening, { code: 'ALREADY_BOOTSTRAPPED' }).finally(() => {
        ended = true
      })
      await sleep(site.env.timers, 60_000)
      assert.equal(ended, false)
      site.machine('cp2').restart()
      // It is only starting, as it cannot lead alone; it has a history all the same.
      await Promise.all([end, site.server('cp2', join({ seeds: ['cp1:1', 'cp3:1'], secret }))])
    })
  })

  test('is refused by what is left on its own disk', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.server('cp1', bootstrap({ secret }))
      const cp1 = site.machine('cp1')
      cp1.crash()
      cp1.log.wipe()
      cp1.restart()
      await assert.rejects(site.server('cp1', bootstrap({ secret })), {
        code: 'ALREADY_BOOTSTRAPPED',
        message: /its log is gone/,
      })
    })
  })

  test('is kept apart with the second cluster that it begins when it asks nobody', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      const all = ['cp1:1', 'cp2:1', 'cp3:1']
      const token = await site.token('cp3')
      const reconciled: number[] = []
      const serve = (agent: NodeAgent): void =>
        agent.serve({
          ranges: {
            reconcile: async (wanted) => void reconciled.push(wanted.length),
            observe: () => [],
          },
        })
      serve(await site.agent('db1', all, token))
      const cp1 = site.machine('cp1')
      cp1.crash()
      cp1.wipe()
      cp1.restart()
      const second = await site.server('cp1', bootstrap({ secret }))
      await site.until('the second cluster has a leader', () => second.duties !== undefined)
      await second.store.txn({ then: [{ type: 'put', key: greetingKey, value: utf8('of the second') }] })
      const founding = site.machine('cp2').plane?.founding
      assert.ok(founding !== undefined && second.founding !== undefined && founding !== second.founding)

      // A node of the first cluster, started again, whose first seed is the server of the second one.
      const db1 = site.machine('db1')
      db1.crash()
      db1.restart()
      const agent = await site.agent('db1', all)
      serve(agent)
      await site.until('it is live again', () => agent.live)
      for (let i = 0; i < 40; i++) {
        assert.equal(await greeting(agent.store), 'of the first')
        await sleep(site.env.timers, 250)
      }
      assert.deepEqual(second.status().nodes, [])
      assert.deepEqual(
        second.status().servers.map(({ nodeId }) => nodeId),
        ['cp1'],
      )

      // Whoever does not know yet where it belongs is not left to the order of its seeds.
      const foreign = { code: 'FOREIGN_CLUSTER', message: /different clusters of one id/ }
      await assert.rejects(site.client(all), foreign)
      await assert.rejects(site.agent('db2', all, token), foreign)
      const client = await site.client(['cp2:1'])
      await site.until('it has heard of cp1', async () => (await greeting(client.store)) === 'of the first')
      const cp2 = site.machine('cp2')
      cp2.crash()
      cp2.wipe()
      cp2.restart()
      await assert.rejects(site.server('cp2', join({ seeds: all, secret })), foreign)
    })
  })

  test('can be stopped, wiped and joined, and the first cluster is whole', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      const cp1 = site.machine('cp1')
      cp1.crash()
      cp1.wipe()
      cp1.restart()
      const second = await site.server('cp1', bootstrap({ secret }))
      await site.until('the second cluster has a leader', () => second.duties !== undefined)
      await sleep(site.env.timers, 5_000)
      cp1.crash()
      cp1.wipe()
      cp1.restart()
      const again = await site.server('cp1', join({ seeds: ['cp2:1', 'cp3:1'], secret }))
      await site.until('it has everything', async () => (await greeting(again.store)) === 'of the first')
      assert.equal(again.founding, site.machine('cp2').plane?.founding)
    })
  })
})

suite('the first server of a cluster', () => {
  test('begins it when all others have said that they know of none', async () => {
    const site = new Site()
    await site.run(async () => {
      let first: ControlPlane | undefined
      const opening = site.server('cp1', bootstrap({ others: ['cp2:1', 'cp3:1'], secret })).then((plane) => {
        first = plane
      })
      const cp2 = site.server('cp2', join({ seeds: ['cp1:1', 'cp3:1'], secret }))
      await sleep(site.env.timers, 20_000)
      assert.equal(first, undefined, 'cp3 was not heard of')
      const cp3 = site.server('cp3', join({ seeds: ['cp1:1', 'cp2:1'], secret }))
      const planes = await Promise.all([cp2, cp3, opening])
      assert.equal(planes[0].status().group.configuration?.replicas.length, 3)
      const foundings = ['cp1', 'cp2', 'cp3'].map((name) => site.machine(name).plane?.founding)
      assert.ok(foundings[0] !== undefined)
      assert.deepEqual(new Set(foundings).size, 1)
    })
  })

  test('asks anew whoever answered before the last one did', async () => {
    const site = new Site()
    await site.run(async () => {
      const opening = site.server('cp1', bootstrap({ others: ['cp2:1', 'cp3:1'], secret }))
      const end = assert.rejects(opening, { code: 'ALREADY_BOOTSTRAPPED', message: /^cp2 / })
      const cp2 = site.server('cp2', join({ seeds: ['cp9:1'], secret }))
      await sleep(site.env.timers, 5_000)
      // cp2 has said that it knows of no cluster. It is taken in by another one before cp3 is there.
      await site.server('cp9', bootstrap({ secret }))
      await cp2
      const stop = new AbortController()
      const cp3 = site.server('cp3', join({ seeds: ['cp1:1'], secret }), stop.signal)
      await end
      stop.abort()
      await assert.rejects(cp3, { code: 'ABORTED' })
    })
  })

  test('is one: two that are told to bootstrap refuse each other', async () => {
    const site = new Site()
    await site.run(async () => {
      const stop = new AbortController()
      const opening = ['cp1', 'cp2'].map(async (name, i) =>
        site.server(name, bootstrap({ others: [`cp${2 - i}:1`], secret }), stop.signal),
      )
      const refusal = await Promise.race(opening).then(
        () => assert.fail('it began a cluster'),
        (error: unknown) => error as { code: string; message: string },
      )
      assert.equal(refusal.code, 'CONFLICT')
      assert.match(refusal.message, /are both to bootstrap shared/)
      stop.abort()
      const results = await Promise.allSettled(opening)
      assert.ok(results.every(({ status }) => status === 'rejected'))
    })
  })

  test('does not take a wrong address for its own', async () => {
    const site = new Site()
    await site.run(async () => {
      const stop = new AbortController()
      const opening = site.server('cp1', bootstrap({ others: ['cp2:9', 'cp1:1'], secret }), stop.signal)
      const end = assert.rejects(opening, { code: 'ABORTED' })
      await sleep(site.env.timers, 20_000)
      stop.abort()
      await end
    })
  })

  test('goes on from its directory, also when it stopped before it had written down what it had founded', async () => {
    const site = new Site()
    await site.run(async () => {
      const plane = await site.server('cp1', bootstrap({ secret }))
      const { founding } = plane
      const cp1 = site.machine('cp1')
      cp1.crash()
      // All that is left is the log, which was first.
      cp1.state.wipe()
      cp1.restart()
      const again = await site.server('cp1', bootstrap({ others: ['cp2:1'], secret }))
      await site.until('it knows its founding again', () => again.founding !== undefined)
      assert.equal(again.founding, founding)
      const cp2 = await site.server('cp2', join({ seeds: ['cp1:1'], secret }))
      assert.equal(cp2.founding, founding)
    })
  })

  test('may take over the founding of a cluster of which every server is lost, and its nodes come back', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await site.server('cp1', bootstrap({ secret }))
      const token = await site.token('cp1')
      await site.agent('db1', ['cp1:1'], token)
      const { founding } = lost
      assert.ok(founding !== undefined)
      const cp1 = site.machine('cp1')
      cp1.crash()
      cp1.wipe()
      cp1.restart()
      const again = await site.server('cp1', bootstrap({ secret, founding, revision: 100 }))
      assert.equal(again.founding, founding)
      await again.store.txn({ then: [{ type: 'put', key: greetingKey, value: utf8('restored') }] })
      const { agent } = site.machine('db1')
      assert.ok(agent !== undefined)
      await site.until('the node reads from it', async () => (await greeting(agent.store)) === 'restored')
    })
  })
})

test('a founding that is none is refused at the edge', () => {
  for (const founding of [0, -1, 1.5, Number.NaN]) {
    assert.throws(() => bootstrap({ secret, founding, revision: 1 }), { code: 'INVALID_OPTION' })
  }
})
