import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { bootstrap, type ControlPlane, join } from '../../src/control-plane/index.ts'
import { sleep } from '../../src/core/async.ts'
import { text, utf8 } from '../../src/core/bytes.ts'
import { KeelsonError } from '../../src/core/errors.ts'
import { Leases } from '../../src/leases/index.ts'
import {
  ControllerEpoch,
  exportBackup,
  importBackup,
  type MetadataStore,
  RangeDirectory,
  SessionHolder,
} from '../../src/metadata/index.ts'
import { greeting, Site, secret } from './support/site.ts'

const servers = ['cp1', 'cp2', 'cp3']
const seeds = servers.map((name) => `${name}:1`)

/** What a cluster had when the last of its servers was lost. */
interface Lost {
  readonly founding: number
  readonly backup: readonly Uint8Array[]
  /** Revision of the backup. */
  readonly revision: number
  /** The last of what it gave out, after the backup. */
  readonly epoch: number
  readonly session: number
  readonly sequence: number
}

async function leases(site: Site, name: string, at: readonly string[]): Promise<Leases> {
  const { store } = await site.client([...at, `${name}:1`])
  const holder = await SessionHolder.open({ env: site.env, store, holder: name, ttlMs: 120_000 })
  return Leases.open({ env: site.env, store, holder: name, session: () => holder })
}

/** Three servers that gave things out, a backup of some moment in between, and the machines are gone. */
async function loseAll(site: Site): Promise<Lost> {
  await site.threeServers()
  const cp1 = site.machine('cp1').plane
  assert.ok(cp1?.founding !== undefined)
  const { founding, store } = cp1
  await (await leases(site, 'a', seeds)).acquire('L')
  await ControllerEpoch.acquire(store, 'of-the-host', 'first')
  const backup: Uint8Array[] = []
  for await (const chunk of exportBackup(store)) backup.push(chunk.slice())
  const { revision } = await store.range({ key: utf8('/'), end: null }, { limit: 1 })
  const { number: epoch } = await ControllerEpoch.acquire(store, 'of-the-host', 'lost')
  const reserving = await ControllerEpoch.acquire(store, 'ids', 'lost')
  assert.equal(await new RangeDirectory(store).reserveIds(reserving, 1_000), 1)
  await (await leases(site, 'a2', seeds)).acquire('M')
  const { sequence } = await (await leases(site, 'a3', seeds)).acquire('N')
  const session = await store.grantSession('db1', 10_000)
  for (const name of servers) site.machine(name).crash()
  return { founding, backup, revision, epoch, session, sequence }
}

async function refound(
  site: Site,
  name: string,
  { founding, revision, backup }: Lost,
): Promise<MetadataStore> {
  site.machine(name).wipe()
  site.machine(name).restart()
  const plane = await site.server(name, bootstrap({ secret, founding, revision }))
  await importBackup(plane.store, backup)
  await site.until('it leads', () => plane.duties !== undefined)
  return plane.store
}

suite('a control plane that has lost all of its servers', () => {
  test('goes on from a backup, and gives out no number a second time', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseAll(site)
      const store = await refound(site, 'cp1', lost)
      assert.equal(await greeting(store), 'of the first')
      const epoch = await ControllerEpoch.acquire(store, 'of-the-host', 'found')
      assert.ok(epoch.number > lost.epoch, `epoch ${epoch.number} may have been that of another`)
      assert.ok((await store.grantSession('db1', 10_000)) > lost.session)
      const later = await leases(site, 'b', ['cp1:1'])
      for (const name of ['L', 'M', 'N']) {
        const { sequence } = await later.acquire(name)
        assert.ok(sequence > lost.sequence, `${name} has sequence ${sequence}`)
      }
      const plane = site.machine('cp1').plane
      await site.until('it leads again', () => (plane?.duties?.epoch.number ?? 0) > lost.epoch)
      const reserving = await ControllerEpoch.acquire(store, 'ids', 'found')
      assert.ok((await new RangeDirectory(store).reserveIds(reserving)) > 1_000)
      for (const name of ['cp2', 'cp3']) {
        site.machine(name).wipe()
        site.machine(name).restart()
        await site.server(name, join({ seeds: ['cp1:1'], secret }))
      }
      assert.equal(plane?.status().group.configuration?.replicas.length, 3)
    })
  })

  test('goes on from its own disk after a crash', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseAll(site)
      await refound(site, 'cp1', lost)
      site.machine('cp1').crash()
      site.machine('cp1').restart()
      const { founding, revision } = lost
      const { store } = await site.server('cp1', bootstrap({ secret, founding, revision }))
      await site.until('it serves', async () => (await greeting(store).catch(() => '')) === 'of the first')
      const epoch = await ControllerEpoch.acquire(store, 'of-the-host', 'found')
      assert.ok(epoch.number > lost.epoch)
    })
  })

  test('does not take a client of the lost one for one of its own', async () => {
    const site = new Site()
    await site.run(async () => {
      const names = Array.from({ length: 8 }, (_, i) => i)
      const put = async (store: MetadataStore, path: string): Promise<void> => {
        await store.txn({ then: [{ type: 'put', key: utf8(path), value: utf8('!') }] })
      }
      await site.threeServers()
      const old = await Promise.all(names.map((i) => site.client([...seeds, `old${i}:1`])))
      for (const [i, { store }] of old.entries()) await put(store, `/old/${i}/1`)
      const plane = site.machine('cp1').plane
      assert.ok(plane?.founding !== undefined)
      const { founding, store: before } = plane
      const { revision } = await before.range({ key: utf8('/'), end: null }, { limit: 1 })
      for (const name of servers) site.machine(name).crash()
      site.machine('cp1').wipe()
      site.machine('cp1').restart()
      const { store } = await site.server('cp1', bootstrap({ secret, founding, revision }))
      // So many that their sessions are at all the places in the log where those of the old ones were.
      const ages = Array.from({ length: 40 }, (_, i) => i)
      const young = await Promise.all(ages.map((i) => site.client(['cp1:1', `young${i}:1`])))
      await Promise.all(young.map(({ store: at }, i) => put(at, `/young/${i}/1`)))
      for (const [i, client] of old.entries()) {
        // It hears that its session is over; whatever it wrote last before that may or may not have happened.
        const first = put(client.store, `/old/${i}/2`)
        await first.catch(async (error: unknown) => {
          assert.ok(KeelsonError.hasCode(error, 'OUTCOME_UNKNOWN'), String(error))
          await put(client.store, `/old/${i}/2`)
        })
      }
      for (const [i, client] of young.entries()) await put(client.store, `/young/${i}/2`)
      const paths = ages.flatMap((i) => [`/young/${i}/1`, `/young/${i}/2`])
      for (const path of [...names.map((i) => `/old/${i}/2`), ...paths])
        assert.ok((await store.get(utf8(path))) !== undefined, `${path} was acknowledged`)
    })
  })

  test('begun twice from one backup, gives out nothing that the first attempt did', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseAll(site)
      const numbers: number[][] = []
      const clients: MetadataStore[] = []
      for (const attempt of [1, 2]) {
        const store = await refound(site, 'cp1', lost)
        const epoch = await ControllerEpoch.acquire(store, 'of-the-host', 'a')
        const { sequence } = await (await leases(site, `holder${attempt}`, ['cp1:1'])).acquire(`M${attempt}`)
        // Many at once, and then some: ids are counted apart from revisions.
        const directory = new RangeDirectory(store)
        const ids = await ControllerEpoch.acquire(store, 'ids', 'a')
        const first = await directory.reserveIds(ids, 10_000)
        const last = await directory.reserveIds(ids)
        const session = await store.grantSession('db1', 10_000)
        if (attempt === 1) numbers.push([epoch.number, sequence, last, session])
        else numbers.push([epoch.number, sequence, first, session])
        const names = Array.from({ length: 10 }, (_, i) => i)
        if (attempt === 1) {
          for (const i of names) clients.push((await site.client(['cp1:1', `a${i}:1`])).store)
          for (const each of clients)
            await each.txn({ then: [{ type: 'put', key: utf8('/x'), value: utf8('') }] })
        } else {
          for (const i of names) {
            const { store: young } = await site.client(['cp1:1', `b${i}:1`])
            await young.txn({ then: [{ type: 'put', key: utf8('/x'), value: utf8('') }] })
          }
          // None of them is answered with what a client of the second attempt has done.
          for (const [i, each] of clients.entries()) {
            const key = utf8(`/again/${i}`)
            const put = { then: [{ type: 'put', key, value: utf8('') } as const] }
            await each.txn(put).catch(async (error: unknown) => {
              assert.ok(KeelsonError.hasCode(error, 'OUTCOME_UNKNOWN'), String(error))
              await each.txn(put)
            })
            assert.ok((await store.get(key)) !== undefined)
          }
        }
        await sleep(site.env.timers, 15_000)
        site.machine('cp1').crash()
      }
      const [before, after] = numbers as [number[], number[]]
      for (const [i, number] of after.entries())
        assert.ok(number > (before[i] as number), `${number} is not behind ${before[i]}`)
    })
  })

  test('does not listen to a server that was thought lost', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseAll(site)
      const store = await refound(site, 'cp1', lost)
      site.machine('cp2').restart()
      const cp2 = await site.server('cp2', join({ seeds: ['cp1:1', 'cp3:1'], secret }))
      await sleep(site.env.timers, 20_000)
      assert.equal(cp2.duties, undefined)
      assert.equal(await greeting(store), 'of the first')
      const cp1 = site.machine('cp1').plane
      assert.ok(cp1?.duties !== undefined)
      assert.equal(cp1.status().group.configuration?.replicas.length, 1)
      assert.ok(cp1.status().group.recoveryGeneration > cp2.status().group.recoveryGeneration)
    })
  })
})

/** A part of the backup comes, then the source fails. */
function* broken(backup: readonly Uint8Array[]): Iterable<Uint8Array> {
  yield* backup.slice(0, -1)
  throw new Error('the file cannot be read any further')
}

suite('while the backup is not imported', () => {
  test('nobody has duties and no node joins, over an interrupted import, restarts and another leader', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseAll(site)
      const { founding, revision, backup } = lost
      const pending: unknown[] = []
      const begin = async (name: string): Promise<ControlPlane> => {
        const start =
          name === 'cp1' ? bootstrap({ secret, founding, revision }) : join({ seeds: ['cp1:1'], secret })
        const plane = await site.server(name, start)
        plane.on('leadership', (duties) => pending.push(duties === undefined ? 'none' : 'duties'))
        return plane
      }
      for (const name of servers) {
        site.machine(name).wipe()
        site.machine(name).restart()
        await begin(name)
      }
      // It must not be refused by a cluster that does not know its tokens yet.
      let refusal: unknown
      const joining = site.agent('db1', seeds, 'a token that nobody made').catch((error: unknown) => {
        refusal = error
      })
      await sleep(site.env.timers, 90_000)
      const states = (): unknown[] => servers.map((name) => site.machine(name).plane?.status().pendingImport)
      assert.deepEqual(states(), Array(3).fill({ revision: undefined }))
      const first = site.machine('cp1').plane
      assert.ok(first !== undefined)
      await assert.rejects(importBackup(first.store, broken(backup)), /cannot be read/)
      const leader = servers.find((name) => site.machine(name).plane?.status().group.role === 'leader')
      assert.ok(leader !== undefined)
      site.machine(leader).crash()
      await sleep(site.env.timers, 60_000)
      site.machine(leader).restart()
      await begin(leader)
      await sleep(site.env.timers, 60_000)
      assert.deepEqual(states(), Array(3).fill({ revision }))
      const next = servers.find((name) => site.machine(name).plane?.status().group.role === 'leader')
      assert.notEqual(next, leader)
      assert.deepEqual(pending, [])
      assert.equal(refusal, undefined)
      const store = site.machine('cp2').plane?.store
      assert.ok(store !== undefined)
      assert.equal((await store.range({ key: utf8('/nodes/'), end: utf8('/nodes0') })).count, 0)
      await importBackup(store, backup)
      await site.until('somebody has duties', () =>
        servers.some((name) => site.machine(name).plane?.duties !== undefined),
      )
      assert.deepEqual(pending, ['duties'])
      await joining
      assert.ok(KeelsonError.hasCode(refusal, 'UNAUTHORIZED'), String(refusal))
      assert.deepEqual(states(), Array(3).fill(undefined))
    })
  })

  test('an import into a control plane that runs takes the duties away until its end', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseAll(site)
      for (const name of servers) site.machine(name).wipe()
      for (const name of servers) site.machine(name).restart()
      const plane = await site.server('cp1', bootstrap({ secret }))
      await site.until('it has duties', () => plane.duties !== undefined)
      const { epoch } = plane.duties ?? {}
      await assert.rejects(importBackup(plane.store, broken(lost.backup)), /cannot be read/)
      const write = { then: [{ type: 'put', key: utf8('/x'), value: utf8('') } as const] }
      await assert.rejects(async () => epoch?.txn(write), { code: 'STALE_EPOCH' })
      await site.until('it has none', () => plane.duties === undefined)
      await sleep(site.env.timers, 30_000)
      assert.equal(plane.duties, undefined)
      await importBackup(plane.store, lost.backup)
      await site.until('it has duties again', () => plane.duties !== undefined)
    })
  })

  test('a server that crashed before it wrote down its founding is of the lost cluster all the same', async () => {
    const site = new Site()
    await site.run(async () => {
      const lost = await loseAll(site)
      const { founding, revision } = lost
      const machine = site.machine('cp1')
      machine.wipe()
      machine.restart()
      const open = machine.database.bind(machine)
      machine.database = async () => {
        const database = await open()
        const batch: () => object = database.batch.bind(database)
        const failing = (): object => {
          const made = batch()
          const put: unknown = Reflect.get(made, 'put')
          const fail = (key: Uint8Array, ...rest: unknown[]): unknown => {
            if (text(key) === 'server/founding') throw new Error('the power is gone')
            return Reflect.apply(put as () => unknown, made, [key, ...rest])
          }
          return Object.assign(made, { put: fail })
        }
        Object.assign(database, { batch: failing })
        return database
      }
      await assert.rejects(site.server('cp1', bootstrap({ secret, founding, revision })), /the power is gone/)
      machine.crash()
      machine.restart()
      machine.database = open
      // Whoever starts it again says what a server with a history is given.
      const plane = await site.server('cp1', join({ seeds: ['cp2:1'], secret }))
      await site.until('it knows', () => plane.founding !== undefined)
      assert.equal(plane.founding, founding)
      assert.deepEqual(plane.status().pendingImport, { revision: undefined })
      assert.equal(plane.duties, undefined)
    })
  })
})

test('a founding without a revision, and the other way round, is refused at the edge', () => {
  assert.throws(() => bootstrap({ secret, founding: 7 }), { code: 'INVALID_OPTION', message: /revision/ })
  assert.throws(() => bootstrap({ secret, revision: 7 }), { code: 'INVALID_OPTION', message: /founding/ })
})
