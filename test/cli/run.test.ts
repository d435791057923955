import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join as path } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { bootstrap, type ClusterStart, ControlPlane, join } from '../../src/control-plane/index.ts'
import { sleep } from '../../src/core/async.ts'
import { utf8 } from '../../src/core/bytes.ts'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import { openLevel } from '../../src/storage/level/index.ts'
import { segments } from '../../src/storage/segments/index.ts'
import { webSocket } from '../../src/transport/websocket/index.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { keelson } from './support/keelson.ts'

const env = nodeEnvironment()
const secret = 'a secret that all servers share'
const key = utf8('/greeting')

describe('keelson', () => {
  let directory: Awaited<ReturnType<typeof temporaryDirectory>>

  before(async () => {
    directory = await temporaryDirectory()
  })

  after(async () => {
    await directory.remove()
  })

  const place = (...parts: string[]): string => path(directory.path, ...parts)

  /** A server on the disk, for as long as `act` takes. */
  async function withServer<T>(
    nodeId: string,
    cluster: ClusterStart,
    act: (plane: ControlPlane) => Promise<T>,
  ): Promise<T> {
    await using database = await openLevel(place(`${nodeId}-state`))
    await using plane = await ControlPlane.open({
      env,
      clusterId: 'shop',
      nodeId,
      cluster,
      transport: webSocket({ listen: { host: '127.0.0.1', port: 0 } }),
      log: segments(place(`${nodeId}-log`)),
      database,
    })
    return await act(plane)
  }

  const cp1 = (): string[] => [
    '--cluster=shop',
    '--node=cp1',
    `--log=segments:${place('cp1-log')}`,
    `--database=${place('cp1-state')}`,
  ]
  const agreed = ['--accept-data-loss', '--confirm', 'recover group 1']

  it('recovers a control plane of two whose other server is gone for good', async () => {
    await withServer('cp1', bootstrap({ secret }), (first) =>
      withServer('cp2', join({ seeds: [...first.addresses], secret }), async (second) => {
        await second.store.txn({ then: [{ type: 'put', key, value: utf8('hello') }] })
        const held = await keelson('inspect', ...cp1())
        assert.equal(held.code, 1)
        assert.match(held.err, /^keelson: DIRECTORY_LOCKED: /)
      }),
    )
    const inspected = await keelson('inspect', ...cp1())
    assert.deepEqual([inspected.code, inspected.err], [0, ''])
    assert.equal(JSON.parse(inspected.out).nodeId, 'cp1')
    const file = place('cp1.json')
    await writeFile(file, inspected.out)

    const unsaid = await keelson('recover', ...cp1(), '--survivors', file)
    assert.equal(unsaid.code, 1)
    assert.match(unsaid.err, /may lose committed commands/)
    const recovered = await keelson('recover', ...cp1(), '--survivors', file, ...agreed)
    assert.deepEqual([recovered.code, recovered.err], [0, ''])
    assert.match(recovered.out, /the control plane goes on with cp1, .*is lost/s)
    const again = await keelson('recover', ...cp1(), '--survivors', file, ...agreed)
    assert.match(again.out, /^had been recovered before/)

    await withServer('cp1', join({ seeds: ['127.0.0.1:1'], secret }), async ({ store }) => {
      for (let tries = 0; ; tries++) {
        const found = await store.get(key).catch(() => undefined)
        if (found !== undefined) return
        assert.ok(tries < 600, 'the control plane has not come back')
        await sleep(env.timers, 50)
      }
    })
  })

  it('makes nothing that is not there', async () => {
    const { code, err } = await keelson(
      'inspect',
      '--cluster=shop',
      '--node=cp9',
      `--log=level:${place('no')}`,
      `--database=${place('none')}`,
    )
    assert.equal(code, 1)
    assert.match(err, /^keelson: NOT_FOUND: there is no directory /)
  })

  for (const [words, problem] of [
    [['inspekt'], /there is no command 'inspekt'; did you mean inspect\?/],
    [['inspect', '--clustr=x'], /there is no option --clustr; did you mean --cluster\?/],
    [['inspect'], /--log is missing/],
    [['inspect', '--log=tape:x'], /--log takes segments:DIR or level:DIR/],
    [['inspect', 'cp1'], /what is 'cp1' to say/],
    [['recover', '--survivors'], /survivors/],
    [['inspect', '--seeds=x'], /inspect has no option --seeds; it has --cluster, /],
    [['nodes', '--log=x'], /nodes has no option --log/],
    [['nodes', 'db1'], /what is 'db1' to say/],
    [['nodes', '--seeds=127.0.0.1:1'], /--cluster is missing/],
    [['nodes', '--cluster=shop'], /--seeds is missing/],
    [['ranges', '--limit=-1'], /limit/],
    [['ranges', '--limit=1.5'], /--limit takes a whole number from 1, not '1.5'/],
    [['nodes', '--cluster=shop', '--seeds=127.0.0.1:1', '--cert=x'], /--key is missing/],
    [['nodes', '--cluster=shop', '--seeds=127.0.0.1:1', '--ca=x'], /--cert is missing/],
    [
      ['nodes', '--cluster=shop', '--seeds=127.0.0.1:1', '--ca=x', '--insecure'],
      /--insecure is for plaintext/,
    ],
    [['explain'], /explain takes one of range, node/],
    [['explain', 'rage', '1'], /not 'rage'; did you mean range\?/],
    [['explain', 'range', 'one'], /explain range takes a whole number from 1, not 'one'/],
    [['explain', 'node'], /which node/],
    [['explain', 'node', 'db1', 'db2'], /what is 'db2' to say/],
    [['what-if'], /--change FILE/],
    [['what-if', 'loose', 'node', 'a'], /did you mean lose\?/],
    [['what-if', 'lose', 'node'], /which node is lost/],
    [['what-if', 'lose', 'domain', 'zone'], /takes TIER=VALUE/],
    [['what-if', 'lose', '--change=x'], /what is 'lose' to say/],
    [['rules', 'sets'], /did you mean set\?/],
    [['rules', 'set'], /takes a file/],
    [['rules', 'remove'], /which rule/],
  ] as const) {
    it(`says in one line what nobody understands: ${words.join(' ')}`, async () => {
      const { code, out, err } = await keelson(...words)
      assert.deepEqual([code, out], [2, ''])
      assert.match(err, problem)
      assert.match(err, /^keelson: [^\n]*see keelson --help\n$/)
    })
  }

  it('refuses a file that is no report', async () => {
    const file = place('other.json')
    await writeFile(file, 'hello')
    const { code, err } = await keelson('recover', ...cp1(), '--survivors', file, ...agreed)
    assert.equal(code, 1)
    assert.match(err, /other\.json is not what 'keelson inspect' printed/)
  })

  it('says what it can do', async () => {
    const { code, out } = await keelson('--help')
    assert.equal(code, 0)
    for (const words of [
      'inspect',
      'recover',
      '--accept-data-loss',
      '--database',
      'what-if',
      '--seeds',
      'rules',
    ])
      assert.ok(out.includes(words), words)
    assert.equal((await keelson()).code, 2)
    for (const command of [
      'nodes',
      'ranges',
      'explain',
      'plan',
      'what-if',
      'rules',
      'jobs',
      'inspect',
      'recover',
    ]) {
      const said = await keelson(command, '--help')
      assert.equal(said.code, 0)
      assert.match(said.out, new RegExp(`keelson ${command} `))
      assert.ok(out.includes(said.out.split('\n')[0] as string))
    }
  })
})
