import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join as path } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { bootstrap, ControlPlane, NodeAgent } from '../../src/control-plane/index.ts'
import { Cleanup, sleep } from '../../src/core/async.ts'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import { parseLocality } from '../../src/model/locality.ts'
import { encodeTuple } from '../../src/model/tuple.ts'
import { MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'
import {
  certificateNamesNode,
  type WebSocketOptions,
  webSocket,
} from '../../src/transport/websocket/index.ts'
import { PlainRanges } from '../control-plane/support/plain-ranges.ts'
import { TestAuthority } from '../support/certificates.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { keelson, keelsonWith } from './support/keelson.ts'

const env = nodeEnvironment()
const clusterId = 'shop'
const authority = new TestAuthority('the authority')

/** A server and four nodes in two zones, over sockets with TLS, with a table of two ranges. */
describe('keelson, of a cluster that runs', () => {
  const cleanup = new Cleanup()
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>
  let plane: ControlPlane
  let seeds = ''

  const transport = (nodeId: string, more: WebSocketOptions = {}) =>
    webSocket({
      ...more,
      tls: { ...authority.issue(nodeId), ca: authority.cert },
      verifyPeer: certificateNamesNode,
    })

  const database = async (): Promise<MemoryLevel<Uint8Array, Uint8Array>> => {
    const made = new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
    await made.open()
    cleanup.add(() => made.close())
    return made
  }

  before(async () => {
    directory = await temporaryDirectory()
    const listen = { host: '127.0.0.1', port: 0 }
    plane = cleanup.use(
      await ControlPlane.open({
        env,
        clusterId,
        nodeId: 'cp1',
        cluster: bootstrap({ secret: 'a secret that all servers share' }),
        transport: transport('cp1', { listen }),
        log: memoryLog(),
        database: await database(),
        placement: { intervalMs: 50 },
      }),
    )
    seeds = plane.addresses.join(',')
    const hosts = new PlainRanges(() => ({ bytes: 10 }))
    for (let i = 1; i <= 4; i++) {
      const nodeId = `db${i}`
      const agent = await NodeAgent.join({
        env,
        clusterId,
        nodeId,
        incarnation: 1,
        seeds: plane.addresses,
        token: await plane.admin.nodes.createToken({ reason: 'a test' }),
        transport: transport(nodeId, { listen }),
        database: await database(),
        locality: parseLocality(`zone=${i % 2 === 0 ? 'a' : 'b'}`),
        capacity: { bytes: 1000 },
        reportIntervalMs: 50,
      })
      cleanup.use(agent)
      agent.serve({ ranges: hosts.host(nodeId) })
    }
    await plane.admin.createTable(
      {
        name: 'rows',
        columns: [{ name: 'id', valueType: 'number', required: true }],
        primaryKey: ['id'],
      },
      { replicas: 3, splitKeys: ({ tableId }) => [encodeTuple([tableId, 10])] },
    )
    for (const [name, text] of Object.entries({ ...authority.issue('operator'), ca: authority.cert }))
      await writeFile(path(directory.path, `${name}.pem`), text)
    while (plane.duties?.placement.snapshot().range(2)?.load(0) !== 10) await sleep(env.timers, 20)
  })

  after(async () => {
    await cleanup.run()
    await directory.remove()
  })

  const file = (name: string): string => path(directory.path, name)
  const connection = (): readonly string[] => [
    `--cluster=${clusterId}`,
    `--seeds=${seeds}`,
    `--cert=${file('cert.pem')}`,
    `--key=${file('key.pem')}`,
    `--ca=${file('ca.pem')}`,
    '--name=operator',
  ]

  async function says(...words: readonly string[]): Promise<string> {
    const { code, out, err } = await keelson(...words, ...connection())
    assert.deepEqual([code, err], [0, ''])
    return out
  }

  it('lists nodes, ranges and jobs', async () => {
    const nodes = await says('nodes')
    assert.match(nodes, /^NODE +STATE +ALIVE +LOCALITY +CAPACITY +ADDRESSES\n/)
    assert.match(nodes, /^db1 +active +epoch \d+ +zone=b +bytes=1000 +127\.0\.0\.1:\d+$/m)
    assert.deepEqual(
      JSON.parse(await says('nodes', '--json')).map(({ nodeId }: { nodeId: string }) => nodeId),
      ['db1', 'db2', 'db3', 'db4'],
    )
    assert.match(await says('ranges'), /^1 +1 +\d+ +db\d, db\d, db\d +0x/m)
    assert.match(await says('ranges', '--limit=1'), /and 1 more ranges; --limit shows them/)
    const onOne = JSON.parse(await says('ranges', '--node', 'db1', '--json'))
    for (const { replicas } of onOne.ranges)
      assert.ok(replicas.some(({ nodeId }: { nodeId: string }) => nodeId === 'db1'))
    assert.match(await says('jobs', '--all'), /create-ranges +succeeded +\S+Z +2 ranges from 1 on/)
    assert.doesNotMatch(await says('jobs'), /create-ranges/)
  })

  it('explains a range and a node, and says by whom', async () => {
    const range = await says('explain', 'range', '1')
    assert.match(range, /^range 1 needs nothing\nreplica 1 on db\d: voter/)
    assert.match(range, /\nby cp1 under epoch \d+, which planned last at \S+Z\n$/)
    assert.match(await says('explain', 'node', 'db1'), /^db1: it takes replicas\n/)
    assert.equal(JSON.parse(await says('explain', 'range', '2', '--json')).explanation.rangeId, 2)
    const missing = await keelson('explain', 'range', '99', ...connection())
    assert.deepEqual([missing.code, missing.out], [1, ''])
    assert.match(missing.err, /^keelson: NOT_FOUND: the snapshot has no range 99/)
  })

  it('says what is planned and how good it could be', async () => {
    const text = await says('plan')
    assert.match(text, /^bytes: the fullest store is at 2\.0 %; 1\.5 % is the least that can be/m)
    const { bounds, madeBy } = JSON.parse(await says('plan', '--json'))
    assert.equal(bounds.utilisation[0].utilisation, 0.015)
    assert.equal(madeBy.leader, 'cp1')
  })

  it('says what would come of a loss, of new nodes and of more load', async () => {
    assert.match(await says('what-if', 'lose', 'node', 'db1'), /moves of replicas and .* in \d+ plans/)
    assert.match(await says('what-if', 'lose', 'domain', 'zone=a'), /need what cannot be done/)
    const change = { addNodes: [{ nodeId: 'db9', capacity: { bytes: 500 } }], growLoad: { bytes: 3 } }
    await writeFile(file('change.json'), JSON.stringify(change))
    const { result } = JSON.parse(await says('what-if', '--change', file('change.json'), '--json'))
    assert.equal(result.after.stores.length, 5)
    assert.equal(result.changed.stores[0].used.bytes % 30, 0)
    const words = ['what-if', '--change=-', ...connection()]
    const wrong = await keelsonWith('{"loseNode":["db1"]}', ...words)
    assert.equal(wrong.code, 1)
    assert.match(wrong.err, /INVALID_ARGUMENT: .*did you mean 'loseNodes'\?/)
    assert.match((await keelsonWith('lose db1', ...words)).err, /standard input is not a change as JSON/)
  })

  it('lists rules, sets them, and names both of those that exclude each other', async () => {
    assert.match(await says('rules'), /^replicas-of-table-1 +table 1 +voters 3$/m)
    const rules = [{ id: 'all', scope: { type: 'cluster' }, spread: ['zone'] }]
    await writeFile(file('rules.json'), JSON.stringify({ rules }))
    assert.equal(await says('rules', 'set', file('rules.json')), 'set: 1 rules, and the zones of 0 tables\n')
    // What was listed can be set again.
    await writeFile(file('listed.json'), await says('rules', '--json'))
    assert.match(await says('rules', 'set', file('listed.json')), /^set: 2 rules/)
    const match = [{ label: 'zone', in: ['a'] }]
    const two = [
      { id: 'only a', scope: { type: 'cluster' }, require: [{ match }] },
      { id: 'never a', scope: { type: 'cluster' }, prohibit: [match] },
    ]
    const { code, err } = await keelsonWith(
      JSON.stringify({ rules: two }),
      'rules',
      'set',
      '-',
      ...connection(),
    )
    assert.equal(code, 1)
    assert.match(err, /^keelson: INVALID_OPTION: rules 'only a' and 'never a' exclude each other: /)
    assert.equal(await says('rules', 'remove', 'all'), 'taken away: all\n')
    const odd = [{ id: 'odd\u001b[2J', scope: { type: 'table', tableId: 99 }, voters: 3 }]
    await writeFile(file('odd.json'), JSON.stringify({ rules: odd }))
    await says('rules', 'set', file('odd.json'))
    assert.match(await says('rules'), /^odd\ufffd\[2J +table 99/m)
    assert.doesNotMatch(await says('rules'), /spread/)
  })

  it('is refused under another name, or another cluster', async () => {
    const named = await keelson('nodes', ...connection(), '--name=db1')
    assert.equal(named.code, 1)
    assert.match(named.err, /^keelson: (UNAUTHORIZED|TIMEOUT): /)
    const other = await keelson('nodes', ...connection(), '--cluster=other')
    assert.match(other.err, /^keelson: FOREIGN_CLUSTER: /)
  })

  it('gives up in time, and sends nothing in plaintext beyond this machine', async () => {
    const silent = await keelson('nodes', '--cluster=shop', '--seeds=127.0.0.1:1', '--timeout=1')
    assert.equal(silent.code, 1)
    assert.match(silent.err, /^keelson: TIMEOUT: no answer from 127\.0\.0\.1:1 within 1 s/)
    const plain = await keelson('nodes', '--cluster=shop', '--seeds=192.0.2.1:7000')
    assert.match(plain.err, /^keelson: INVALID_OPTION: .*plaintext/)
  })
})
