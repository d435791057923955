import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  inspectServer,
  join,
  recoverServer,
  type StoppedServerOptions,
} from '../../src/control-plane/index.ts'
import { utf8 } from '../../src/core/bytes.ts'
import { ControllerEpoch, everything, type MetadataStore, RangeDirectory } from '../../src/metadata/index.ts'
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
