import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  inspectServer,
  join,
  recoverServer,
  type StoppedServerOptions,
} from '../../src/control-plane/index.ts'
import { sleep } from '../../src/core/async.ts'
import { utf8 } from '../../src/core/bytes.ts'
import { Leases } from '../../src/leases/index.ts'
import {
  ControllerEpoch,
  everything,
  type MetadataStore,
  RangeDirectory,
  SessionHolder,
} from '../../src/metadata/index.ts'
import type { GroupRecovery, GroupReport } from '../../src/raft/index.ts'
import { memoryLog } from '../../src/storage/memory/index.ts'
import { clusterId, greeting, Site, secret } from './support/site.ts'

/** Opens what one server has, while it does not run. */
async function visit<T>(
  site: Site,
  nodeId: string,
  act: (server: StoppedServerOptions) => Promise<T>,
): Promise<T> {
  const machine = site.machine(nodeId)
  await using database = await machine.database()
  return await act({ env: site.env, clusterId, nodeId, log: memoryLog({ disk: machine.log }), database })
}

async function reportOf(site: Site, nodeId: string): Promise<GroupReport> {
  const report = await visit(site, nodeId, inspectServer)
  // It is carried from machine to machine as a text.
  return JSON.parse(JSON.stringify(report)) as GroupReport
}

async function recover(
  site: Site,
  nodeId: string,
  survivors: readonly GroupReport[],
): Promise<GroupRecovery> {
  return visit(site, nodeId, (server) => recoverServer({ ...server, survivors, ...acknowledged }))
}

const acknowledged = { acceptDataLoss: true, confirm: 'recover group 1' }
const lostKey = utf8('/lost')

/**
 * Three servers, of which cp3 stops first; the others go on, and then they are gone for good. Returns the highest revision
 * that they counted.
 */
async function loseTwo(site: Site): Promise<number> {
  await site.threeServers()
  const cp1 = site.machine('cp1').plane
  assert.ok(cp1 !== undefined)
  await site.until(
    'cp3 has it',
    async () => (await greeting(site.machine('cp3').plane?.store as MetadataStore)) !== undefined,
  )
  site.machine('cp3').crash()
  let revision = 0
  await site.until('the others go on', async () => {
    try {
      ;({ revision } = await cp1.store.txn({ then: [{ type: 'put', key: lostKey, value: utf8('?') }] }))
      return true
    } catch {
      return false
    }
  })
  const epoch = await ControllerEpoch.acquire(cp1.store, 'of-the-host', 'lost')
  assert.ok(epoch.number > revision)
  assert.equal(await new RangeDirectory(cp1.store).reserveIds(epoch, 1_000), 1)
  for (const name of ['cp1', 'cp2']) site.machine(name).crash()
  return epoch.number
}

suite('a control plane that has lost most of its servers', () => {
  test('goes on with what one server has, and gives out no number a second time', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseTwo(site)
      const report = await reportOf(site, 'cp3')
      const recovery = await recover(site, 'cp3', [report])
      assert.equal(recovery.repeated, false)
      // Whoever is not sure whether it was done may do it again.
      const again = await recover(site, 'cp3', [report])
      assert.equal(again.repeated, true)

      site.machine('cp3').restart()
      const cp3 = await site.server('cp3', join({ seeds: ['cp1:1', 'cp2:1'], secret }))
      await site.until('it leads', () => cp3.duties !== undefined)
      const epoch = await ControllerEpoch.acquire(cp3.store, 'of-the-host', 'found')
      assert.ok(epoch.number > lost, `epoch ${epoch.number} may have been that of another, up to ${lost}`)
      assert.ok((cp3.duties?.epoch.number ?? 0) > lost)
      assert.ok((await new RangeDirectory(cp3.store).reserveIds(epoch)) > 1_000)
      const session = await cp3.store.grantSession('db1', 10_000)
      assert.ok(session > lost)
      assert.equal(await greeting(cp3.store), 'of the first')
      assert.equal(await cp3.store.get(lostKey), undefined)
    })
  })

  test('gives a controller whose epoch is of before no id a second time', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      const [cp1, cp3] = ['cp1', 'cp3'].map((name) => site.machine(name).plane)
      const { store } = await site.client(['cp1:1', 'cp2:1', 'cp3:1', 'host:1'])
      const epoch = await ControllerEpoch.acquire(store, 'of-the-host', 'host')
      await site.until(
        'cp3 has it',
        () => cp3?.status().group.appliedIndex === cp1?.status().group.commitIndex,
      )
      site.machine('cp3').crash()
      const lost = await new RangeDirectory(store).reserveIds(epoch, 1_000)
      for (const name of ['cp1', 'cp2']) site.machine(name).crash()
      await recover(site, 'cp3', [await reportOf(site, 'cp3')])
      site.machine('cp3').restart()
      await site.server('cp3', join({ seeds: ['cp1:1'], secret }))
      let found: number | undefined
      await site.until('it serves', async () => {
        found = await new RangeDirectory(store).reserveIds(epoch).catch(() => undefined)
        return found !== undefined
      })
      assert.ok((found ?? 0) >= lost + 1_000, `id ${found} after those from ${lost} on`)
    })
  })

  test('gives its nodes new epochs, above all that are lost', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      const seeds = ['cp1:1', 'cp2:1', 'cp3:1']
      const agent = await site.agent('db1', seeds, await site.token('cp1'))
      agent.serve({ ranges: { reconcile: async () => {}, observe: () => [] } })
      await site.until('the node has an epoch', () => agent.live)
      const [cp1, cp3] = ['cp1', 'cp3'].map((name) => site.machine(name).plane)
      await site.until(
        'cp3 has it',
        () => cp3?.status().group.appliedIndex === cp1?.status().group.commitIndex,
      )
      site.machine('cp3').crash()
      assert.ok(cp1 !== undefined)
      const lost = await cp1.store.grantSession('db2', 60_000)
      for (const name of ['cp1', 'cp2']) site.machine(name).crash()
      await recover(site, 'cp3', [await reportOf(site, 'cp3')])
      site.machine('cp3').restart()
      const plane = await site.server('cp3', join({ seeds: ['cp1:1'], secret }))
      await site.until('the node has an epoch above', () => agent.live && (agent.epoch ?? 0) > lost)
      const alive = (): boolean =>
        plane.status().nodes.some(({ nodeId, liveness }) => nodeId === 'db1' && liveness === 'live')
      await site.until('its controllers count on the node again', alive)
    })
  })

  test('has whoever has read what is lost read anew', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseTwo(site)
      const survivors = [await reportOf(site, 'cp3')]
      await recover(site, 'cp3', survivors)
      site.machine('cp3').restart()
      const { store } = await site.server('cp3', join({ seeds: ['cp1:1'], secret }))
      await site.until('it serves', async () => (await greeting(store).catch(() => undefined)) !== undefined)
      await assert.rejects(store.range(everything, { revision: lost }), { code: 'COMPACTED' })
      const watch = async (): Promise<void> => {
        for await (const _ of store.watch(everything, { fromRevision: lost })) return
      }
      await assert.rejects(watch(), { code: 'COMPACTED' })
    })
  })

  test('takes in new servers, and goes on from its disks afterwards', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseTwo(site)
      const survivors = [await reportOf(site, 'cp3')]
      await recover(site, 'cp3', survivors)
      site.machine('cp3').restart()
      await site.server('cp3', join({ seeds: ['cp1:1'], secret }))
      for (const name of ['cp4', 'cp5']) await site.server(name, join({ seeds: ['cp3:1'], secret }))
      // Its state is loaded from the disk, that of the others came as a snapshot or by the log.
      site.machine('cp3').crash()
      site.machine('cp3').restart()
      const cp3 = await site.server('cp3', join({ seeds: ['cp4:1'], secret }))
      await site.until('all agree', async () => {
        const servers = ['cp3', 'cp4', 'cp5'].map((name) => site.machine(name).plane)
        return servers.every((plane) => plane?.status().group.appliedIndex === cp3.status().group.commitIndex)
      })
      assert.equal(await greeting(cp3.store), 'of the first')
      const { revision } = await cp3.store.range(everything, { limit: 1 })
      assert.ok(revision > lost)
    })
  })

  test('can lose them again: the second recovery counts on behind the first one', async () => {
    const site = new Site()
    await site.run(async () => {
      await loseTwo(site)
      await recover(site, 'cp3', [await reportOf(site, 'cp3')])
      site.machine('cp3').restart()
      await site.server('cp3', join({ seeds: ['cp1:1'], secret }))
      for (const name of ['cp4', 'cp5']) await site.server(name, join({ seeds: ['cp3:1'], secret }))
      const cp4 = site.machine('cp4').plane
      assert.ok(cp4 !== undefined)
      await site.until('three vote', () => cp4.status().group.configuration?.replicas.length === 3)
      // What it has applied is on no disk yet, the first command of its recovery included.
      site.machine('cp3').crash()
      let lost: ControllerEpoch | undefined
      await site.until('the others go on', async () => {
        lost = await ControllerEpoch.acquire(cp4.store, 'of-the-host', 'lost').catch(() => undefined)
        return lost !== undefined
      })
      for (const name of ['cp4', 'cp5']) site.machine(name).crash()
      await recover(site, 'cp3', [await reportOf(site, 'cp3')])
      site.machine('cp3').restart()
      const { store } = await site.server('cp3', join({ seeds: ['cp4:1'], secret }))
      let found: ControllerEpoch | undefined
      await site.until('it serves', async () => {
        found = await ControllerEpoch.acquire(store, 'of-the-host', 'found').catch(() => undefined)
        return found !== undefined
      })
      assert.ok((found?.number ?? 0) > (lost?.number ?? 0), `${found?.number} after ${lost?.number}`)
    })
  })

  test('does not take a client of what is lost for one that came afterwards', async () => {
    const site = new Site()
    await site.run(async () => {
      const seeds = ['cp1:1', 'cp2:1', 'cp3:1']
      const put = async (store: MetadataStore, path: string): Promise<void> => {
        await store.txn({ then: [{ type: 'put', key: utf8(path), value: utf8('!') }] })
      }
      await site.threeServers()
      site.machine('cp3').crash()
      const names = Array.from({ length: 12 }, (_, i) => i)
      // Each opens a session with its first write, in the part of the log that is lost.
      const old = await Promise.all(names.map((i) => site.client([...seeds, `old${i}:1`])))
      for (const [i, { store }] of old.entries()) await put(store, `/old/${i}/1`)
      for (const name of ['cp1', 'cp2']) site.machine(name).crash()
      await recover(site, 'cp3', [await reportOf(site, 'cp3')])
      site.machine('cp3').restart()
      const cp3 = await site.server('cp3', join({ seeds: ['cp1:1'], secret }))
      await site.until('it leads', () => cp3.duties !== undefined)
      const young = await Promise.all(names.map((i) => site.client(['cp3:1', `young${i}:1`])))
      for (const [i, { store }] of young.entries()) await put(store, `/young/${i}/1`)
      for (const [i, { store }] of old.entries()) await put(store, `/old/${i}/2`)
      for (const [i, { store }] of young.entries()) await put(store, `/young/${i}/2`)
      for (const i of names) {
        for (const path of [`/old/${i}/2`, `/young/${i}/1`, `/young/${i}/2`])
          assert.ok((await cp3.store.get(utf8(path))) !== undefined, `${path} was acknowledged`)
      }
    })
  })

  test('ends the sessions that it knows: who holds a lease by one may have given it to another', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      const seeds = ['cp1:1', 'cp2:1', 'cp3:1']
      const join3 = async (name: string): Promise<Leases> => {
        const { store } = await site.client([...seeds, `${name}:1`])
        const holder = await SessionHolder.open({ env: site.env, store, holder: name, ttlMs: 120_000 })
        return Leases.open({ env: site.env, store, holder: name, session: () => holder })
      }
      const [a, b] = [await join3('a'), await join3('b')]
      await a.acquire('L')
      const waiting = b.acquire('L')
      const [cp1, cp3] = ['cp1', 'cp3'].map((name) => site.machine(name).plane)
      await sleep(site.env.timers, 2_000)
      await site.until(
        'cp3 has all',
        () => cp3?.status().group.appliedIndex === cp1?.status().group.commitIndex,
      )
      site.machine('cp3').crash()
      await a.transfer('L', 'b')
      const lost = await waiting
      for (const name of ['cp1', 'cp2']) site.machine(name).crash()
      await recover(site, 'cp3', [await reportOf(site, 'cp3')])
      site.machine('cp3').restart()
      const again = await site.server('cp3', join({ seeds: ['cp1:1'], secret }))
      await site.until('it leads', () => again.duties !== undefined)
      await site.until('b has heard that its session is over', () => b.current('L') === undefined)
      const { store } = await site.client(['cp3:1', 'c:1'])
      const holder = await SessionHolder.open({ env: site.env, store, holder: 'c', ttlMs: 120_000 })
      const c = Leases.open({ env: site.env, store, holder: 'c', session: () => holder })
      const found = await c.acquire('L')
      assert.ok(found.sequence > lost.sequence)
      assert.equal(b.current('L'), undefined)
    })
  })

  test('is not recovered by mistake', async () => {
    const site = new Site()
    await site.run(async () => {
      await site.threeServers()
      for (const name of ['cp1', 'cp2', 'cp3']) site.machine(name).crash()
      const reports = [await reportOf(site, 'cp1'), await reportOf(site, 'cp2')]
      await assert.rejects(recover(site, 'cp1', reports), {
        code: 'INVALID_ARGUMENT',
        message: /are a quorum .* nothing is lost/,
      })
      const unsaid = visit(site, 'cp1', (server) =>
        recoverServer({ ...server, survivors: reports.slice(0, 1), ...acknowledged, acceptDataLoss: false }),
      )
      await assert.rejects(unsaid, {
        code: 'INVALID_ARGUMENT',
        message: /acceptDataLoss: true and confirm: 'recover group 1'/,
      })
    })
  })
})
