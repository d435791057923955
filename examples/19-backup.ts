// A control plane is backed up into a file, its only server is lost with its disks, and another one takes its place.
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bootstrap, type ClusterStart, ControlPlane, nodeEnvironment, text, utf8 } from 'keelson'
import { ControllerEpoch, exportBackup, importBackup } from 'keelson/metadata'
import { openLevel } from 'keelson/storage/level'
import { segments } from 'keelson/storage/segments'
import { memoryNetwork } from 'keelson/transport/memory'

const env = nodeEnvironment()
const secret = 'whatever all servers know'
const directory = await mkdtemp(join(tmpdir(), 'keelson-example-'))
const backupFile = join(directory, 'backup.jsonl')
const key = utf8('/shards/7/leader')

/** One life of a server, on disks of its own. */
async function server<T>(
  disks: string,
  cluster: ClusterStart,
  body: (plane: ControlPlane) => Promise<T>,
): Promise<T> {
  await using database = await openLevel(join(directory, disks, 'state'))
  await using plane = await ControlPlane.open({
    env,
    clusterId: 'example',
    nodeId: 'cp1',
    cluster,
    transport: memoryNetwork().transport(),
    log: segments(join(directory, disks, 'log'), { segmentBytes: 1024 * 1024 }),
    database,
  })
  return await body(plane)
}

const lost = await server('first', bootstrap({ secret }), async ({ store, founding }) => {
  await store.txn({ then: [{ type: 'put', key, value: utf8('db1') }] })
  // A backup is a sequence of chunks, each with a checksum. Its revision and the founding belong beside it.
  const lines: string[] = []
  for await (const chunk of exportBackup(store)) lines.push(Buffer.from(chunk).toString('base64'))
  const { revision } = await store.range({ key }, { limit: 1 })
  await writeFile(backupFile, JSON.stringify({ founding, revision, lines }))
  // Something that is given out after the backup must not be given out again.
  return await ControllerEpoch.acquire(store, 'rebalancer', 'a process that will wake up later')
})
await rm(join(directory, 'first'), { recursive: true })

const { founding, revision, lines } = JSON.parse(await readFile(backupFile, 'utf8')) as {
  founding: number
  revision: number
  lines: string[]
}
await server('second', bootstrap({ secret, founding, revision }), async ({ store }) => {
  const { keys } = await importBackup(
    store,
    lines.map((line) => Buffer.from(line, 'base64')),
  )
  const leader = await store.get(key)
  console.log(`${keys} keys came back; shard 7 is led by ${text(leader?.value ?? utf8('nobody'))}`)
  const epoch = await ControllerEpoch.acquire(store, 'rebalancer', 'its successor')
  console.log(`the epoch that was lost had the number ${lost.number}, the next one has ${epoch.number}`)
  assert.ok(epoch.number > lost.number)
})
await rm(directory, { recursive: true })
