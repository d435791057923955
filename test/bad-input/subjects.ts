import { utf8 } from '../../src/core/bytes.ts'
import { devCluster } from '../../src/index.ts'
import type { LogStoreFactory } from '../../src/interfaces/log-store.ts'
import type { MetadataStore } from '../../src/interfaces/metadata-store.ts'
import type { Channel, Transport, TransportFactory } from '../../src/interfaces/transport.ts'
import { Jobs } from '../../src/jobs/index.ts'
import { Leases } from '../../src/leases/index.ts'
import {
  abandonImport,
  ControllerEpoch,
  everything,
  exportBackup,
  followKeys,
  followPendingImport,
  importBackup,
  listKeys,
  MetadataStateMachine,
  memoryStore,
  pendingImport,
  RangeDirectory,
} from '../../src/metadata/index.ts'
import type { RangeDescriptor } from '../../src/model/descriptors.ts'
import { Nodes } from '../../src/nodes/index.ts'
import { NodeOperations, QuorumSet, ReplicaSets } from '../../src/placement/index.ts'
import { RaftHost } from '../../src/raft/index.ts'
import { SchemaCatalog } from '../../src/schema/index.ts'
import { defineSettings, integerSetting, Settings } from '../../src/settings/index.ts'
import { levelLog } from '../../src/storage/level/index.ts'
import { MemoryFileSystem, MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'
import { segments } from '../../src/storage/segments/index.ts'
import { Swim } from '../../src/swim/index.ts'
import { until } from '../../src/testing/index.ts'
import { datagram } from '../../src/transport/datagram/index.ts'
import { Rpc } from '../../src/transport/index.ts'
import { memoryDatagrams, memoryNetwork } from '../../src/transport/memory/index.ts'
import { webSocket } from '../../src/transport/websocket/index.ts'
import type { Argument, Call, Subject } from './calls.ts'
import { env } from './factories.ts'
import { nonsense } from './refusals.ts'

const key = utf8('/key')
const value = utf8('value')
const count: Argument = { kind: 'count' }
const id: Argument = { kind: 'id' }
const name: Argument = { kind: 'name' }
const bytes: Argument = { kind: 'bytes' }
const text: Argument = { kind: 'text' }
const port: Argument = { kind: 'port' }

function level(): MemoryLevel<Uint8Array, Uint8Array> {
  return new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
}

/** The two arguments of every `on`. */
function threeCopies(): QuorumSet {
  return QuorumSet.of(['n1', 'n2', 'n3'].map((nodeId) => ({ nodeId, incarnation: 1 })))
}

function listening(emitter: { on: (event: never, listener: never) => unknown }, event: string): Call {
  return {
    name: `on ${event}`,
    right: [event, () => {}],
    arguments: [{ kind: 'word' }, { kind: 'function' }],
    call: (...args) => emitter.on(...(args as unknown as [never, never])),
    closed: 'ignores',
  }
}

/** A call whose one option is tried with whatever it cannot be. */
function option(
  call: string,
  member: string,
  wrong: readonly unknown[],
  act: (options: object) => unknown,
): Call {
  return {
    name: `${call} with ${member}`,
    right: [],
    arguments: [{ also: wrong, optional: true }],
    call: (given: unknown) => act({ [member]: given }),
    closed: 'ignores',
  }
}

const wrongSelections = [
  {},
  { key: 'x' },
  { key: new Uint8Array(0) },
  { key, end: 'x' },
  { key, ende: key },
  { key: new Uint8Array(5_000) },
]

const put = { type: 'put', key, value } as const
const compare = { key, target: 'version', is: '=', operand: 0 } as const
const wrongTransactions = [
  { then: put },
  { than: [put] },
  { then: [null] },
  { then: [{ ...put, type: 'set' }] },
  { then: [{ ...put, key: 'x' }] },
  { then: [{ ...put, value: 'x' }] },
  { then: [{ ...put, value: new Uint8Array(1 << 20) }] },
  { then: [{ ...put, sesion: 1 }] },
  { then: [{ ...put, session: -1 }] },
  { then: [put, put] },
  { then: [{ type: 'delete', key }] },
  { then: [{ type: 'delete', select: { key: 'x' } }] },
  { then: [{ type: 'range', select: everything, limit: '5' }] },
  { then: Array.from({ length: 1_025 }, () => ({ type: 'range', select: { key } })) },
  { if: compare, then: [put] },
  { if: [{ ...compare, target: 'age' }] },
  { if: [{ ...compare, is: '==' }] },
  { if: [{ ...compare, operand: '0' }] },
  { if: [{ ...compare, operands: 1 }] },
  { if: [{ ...compare, target: 'value' }] },
]

function storeCalls(store: MetadataStore): readonly Call[] {
  return [
    {
      name: 'get',
      right: [key],
      arguments: [{ ...bytes, also: [new Uint8Array(0), new Uint8Array(5_000)] }],
      options: ['revision', 'limit', 'consistency'],
      call: store.get.bind(store),
    },
    {
      name: 'range',
      right: [everything],
      arguments: [{ kind: 'object', also: wrongSelections }],
      options: ['revision', 'limit', 'consistency'],
      call: store.range.bind(store),
    },
    option('range', 'revision', ['1', -1, 1.5], (options) => store.range(everything, options)),
    option('range', 'limit', ['1', -1, Number.NaN], (options) => store.range(everything, options)),
    option('range', 'consistency', ['none', 1, null], (options) => store.range(everything, options)),
    {
      name: 'txn',
      right: [{ then: [put] }],
      arguments: [{ kind: 'object', also: wrongTransactions }],
      options: [],
      call: store.txn.bind(store),
    },
    {
      name: 'watch',
      right: [everything],
      arguments: [{ kind: 'object', also: wrongSelections }],
      options: ['fromRevision', 'previous'],
      call: store.watch.bind(store),
    },
    option('watch', 'fromRevision', ['1', 0, -1, 1.5], (options) => store.watch(everything, options)),
    option('watch', 'previous', ['yes', 1, null], (options) => store.watch(everything, options)),
    { name: 'compact', right: [0], arguments: [count], options: [], call: store.compact.bind(store) },
    {
      name: 'grantSession',
      right: ['holder', 1_000],
      arguments: [text, { ...count, also: [1, 10 ** 9] }],
      options: [],
      call: store.grantSession.bind(store),
    },
    {
      name: 'renewSession',
      right: [1],
      arguments: [count],
      options: [],
      call: store.renewSession.bind(store),
    },
    {
      name: 'revokeSession',
      right: [1],
      arguments: [count],
      options: [],
      call: store.revokeSession.bind(store),
    },
    { name: 'sessions', right: [], arguments: [], options: [], call: store.sessions.bind(store) },
  ]
}

/** What nobody wrote must not be there. */
async function revision(store: MetadataStore): Promise<number> {
  return (await store.range(everything)).revision
}

const range: RangeDescriptor = {
  rangeId: 1,
  start: new Uint8Array(0),
  end: undefined,
  generation: 1,
  replicas: [{ replicaId: 1, nodeId: 'n1', incarnation: 1, role: 'voter' }],
}
const wrongRanges = [
  {},
  { ...range, rangeId: 0 },
  { ...range, start: 'a' },
  { ...range, end: 'z' },
  { ...range, start: key, end: key },
  { ...range, generation: 0 },
  { ...range, replicas: {} },
  { ...range, replicas: [null] },
  { ...range, replicas: [{ ...range.replicas[0], nodeId: 'A B' }] },
  { ...range, replicas: [{ ...range.replicas[0], role: 'boss' }] },
  { ...range, replicas: [{ ...range.replicas[0], incarnation: 0 }] },
  { ...range, replicas: [...range.replicas, ...range.replicas] },
]
const wrongStores = [5, ''].map((storeId) => ({ type: 'addLearner', nodeId: 'n2', incarnation: 1, storeId }))

const wrongChanges = [
  {},
  { type: 'addVoter' },
  { type: 'addLearner', nodeId: 'A B', incarnation: 1 },
  { type: 'addLearner', nodeId: 'n2', incarnation: 0 },
  { type: 'promote' },
  { type: 'remove', replicaId: '1' },
  { type: 'swap', promote: 1 },
  { type: 'split', key: 'm', rightRangeId: 2 },
  { type: 'split', key, rightRangeId: 0 },
  { type: 'freeze', into: 1 },
  { type: 'freeze', into: 0, intoGeneration: 1 },
  { type: 'merge', rightRangeId: 2 },
  { type: 'merge', rightRangeId: 0, rightGeneration: 1 },
]

async function openDirectory(): ReturnType<Subject['open']> {
  const store = memoryStore({ env })
  const epoch = await ControllerEpoch.acquire(store, 'test', 'me')
  const directory = new RangeDirectory(store)
  const calls: Call[] = [
    {
      name: 'ControllerEpoch.acquire',
      right: [store, 'name', 'holder'],
      arguments: [port, { ...text, but: [5], also: ['a/b'] }, text],
      options: ['session'],
      call: (...args: Parameters<typeof ControllerEpoch.acquire>) => ControllerEpoch.acquire(...args),
    },
    {
      name: 'ControllerEpoch.current',
      right: [store, 'name'],
      arguments: [port, { ...text, but: [5], also: ['a/b'] }],
      options: [],
      call: (...args: Parameters<typeof ControllerEpoch.current>) => ControllerEpoch.current(...args),
    },
    {
      name: 'ControllerEpoch.txn',
      right: [{ then: [put] }],
      arguments: [{ kind: 'object', also: [...wrongTransactions, { else: [put] }] }],
      options: [],
      call: epoch.txn.bind(epoch),
    },
    {
      name: 'RangeDirectory',
      right: [store],
      arguments: [port],
      call: (given: MetadataStore) => void new RangeDirectory(given),
      closed: 'ignores',
    },
    {
      name: 'RangeDirectory.create',
      right: [epoch, [range]],
      arguments: [
        port,
        { kind: 'array', also: [[], [null], [range, range], ...wrongRanges.map((wrong) => [wrong])] },
      ],
      options: ['bootstrap'],
      call: directory.create.bind(directory),
    },
    {
      name: 'RangeDirectory.project',
      right: [epoch, range],
      arguments: [port, { kind: 'object', also: wrongRanges }],
      options: [],
      call: directory.project.bind(directory),
    },
    {
      name: 'RangeDirectory.retile',
      right: [epoch, [], [range]],
      arguments: [
        port,
        { kind: 'array', also: [[0], ['1'], [1]] },
        { kind: 'array', also: [[], [null], [range, range], ...wrongRanges.map((wrong) => [wrong])] },
      ],
      options: [],
      call: directory.retile.bind(directory),
    },
    {
      name: 'RangeDirectory.want',
      right: [epoch, 1, { type: 'promote', replicaId: 1 }],
      arguments: [port, id, { kind: 'object', also: [...wrongChanges, ...wrongStores], optional: true }],
      options: ['bootstrap', 'expectedGeneration'],
      call: directory.want.bind(directory),
    },
    option('RangeDirectory.want', 'bootstrap', [1, 'A B', null], (options) =>
      directory.want(epoch, 1, undefined, options),
    ),
    option('RangeDirectory.want', 'expectedGeneration', ['1', -1, null], (options) =>
      directory.want(epoch, 1, undefined, options),
    ),
    {
      name: 'RangeDirectory.forget',
      right: [epoch, 'n1', 1],
      arguments: [port, name, id],
      options: [],
      call: directory.forget.bind(directory),
    },
    {
      name: 'RangeDirectory.dismiss',
      right: [epoch, 'n1', 1],
      arguments: [port, name, id],
      options: [],
      call: directory.dismiss.bind(directory),
    },
    {
      name: 'RangeDirectory.reserveIds',
      right: [epoch, 1],
      arguments: [port, { ...count, also: [0], optional: true }],
      options: [],
      call: directory.reserveIds.bind(directory),
    },
    {
      name: 'RangeDirectory.split',
      right: [epoch, range, range],
      arguments: [port, { kind: 'object', also: wrongRanges }, { kind: 'object', also: wrongRanges }],
      options: [],
      call: directory.split.bind(directory),
    },
    {
      name: 'RangeDirectory.merge',
      right: [epoch, range, 2],
      arguments: [port, { kind: 'object', also: wrongRanges }, id],
      options: [],
      call: directory.merge.bind(directory),
    },
    {
      name: 'RangeDirectory.get',
      right: [1],
      arguments: [id],
      options: [],
      call: directory.get.bind(directory),
    },
    {
      name: 'RangeDirectory.told',
      right: [1],
      arguments: [id],
      options: [],
      call: directory.told.bind(directory),
    },
    {
      name: 'RangeDirectory.list',
      right: [],
      arguments: [],
      options: [],
      call: directory.list.bind(directory),
    },
    {
      name: 'RangeDirectory.watch',
      right: [],
      arguments: [],
      options: ['consistency'],
      call: directory.watch.bind(directory),
    },
    {
      name: 'RangeDirectory.wantedFor',
      right: ['n1'],
      arguments: [name],
      options: [],
      call: directory.wantedFor.bind(directory),
    },
    {
      name: 'RangeDirectory.watchWanted',
      right: ['n1'],
      arguments: [name],
      options: ['consistency'],
      call: directory.watchWanted.bind(directory),
    },
    {
      name: 'listKeys',
      right: [store, everything],
      arguments: [port, { kind: 'object', also: wrongSelections }],
      options: ['revision', 'consistency'],
      call: listKeys,
    },
    {
      name: 'followKeys',
      right: [store, everything],
      arguments: [port, { kind: 'object', also: wrongSelections }],
      options: ['consistency'],
      call: followKeys,
    },
    { name: 'exportBackup', right: [store], arguments: [port], options: ['select'], call: exportBackup },
    {
      name: 'importBackup',
      right: [store, [await firstChunk(store)]],
      arguments: [port, { kind: 'array', but: ['x'], also: ['chunk', ['chunk'], [5], new Uint8Array(3)] }],
      options: [],
      call: importBackup,
    },
    { name: 'pendingImport', right: [store], arguments: [port], options: [], call: pendingImport },
    {
      name: 'followPendingImport',
      right: [store],
      arguments: [port],
      options: ['consistency'],
      call: followPendingImport,
    },
    {
      name: 'abandonImport',
      right: [store],
      arguments: [port],
      options: ['acceptDataLoss'],
      needed: { acceptDataLoss: true },
      call: abandonImport,
    },
  ]
  const before = await revision(store)
  return {
    calls,
    close: () => store.close(),
    unchanged: async () => (await revision(store)) === before,
  }
}

async function firstChunk(store: MetadataStore): Promise<Uint8Array> {
  for await (const chunk of exportBackup(store)) return chunk
  throw new Error('a backup has a chunk')
}

const form = { type: 'test', encode: (state: number) => [state], decode: (state: never) => Number(state) }
const descriptor = {
  nodeId: 'n1',
  incarnation: 1,
  addresses: ['host:1'],
  locality: [{ key: 'zone', value: 'a' }],
  capacity: { bytes: 1 },
  labels: { disk: 'ssd' },
}
const joining = { descriptor, credential: 'a credential of many characters' }
const column = { name: 'id', valueType: 'string', required: true }
const table = { name: 't', columns: [column], primaryKey: ['id'] }
const wrongTables = [
  {},
  { ...table, name: 'No' },
  { ...table, columns: 'id' },
  { ...table, columns: [null] },
  { ...table, columns: [{ ...column, valueType: 'int' }] },
  { ...table, columns: [{ ...column, required: 1 }] },
  { ...table, columns: [{ ...column, requird: true }] },
  { ...table, columns: [column, column] },
  { ...table, primaryKey: 'id' },
  { ...table, primaryKey: [] },
  { ...table, primaryKey: ['no'] },
  { ...table, primarykey: ['id'] },
]
const wrongSchemaChanges = [
  {},
  { type: 'addTable', name: 'x' },
  { type: 'addIndex', name: 'x', columns: 'id' },
  { type: 'addIndex', name: 'X', columns: ['id'] },
  { type: 'addIndex', name: 'x', columns: [5] },
  { type: 'addIndex', name: 'x', column: ['id'] },
  { type: 'addColumn', name: 'x', valueType: 'int' },
  { type: 'dropColumn' },
]
const reason = { reason: 'test' }

async function openControllers(): ReturnType<Subject['open']> {
  const store = memoryStore({ env })
  const jobs = new Jobs({ store, env })
  const nodes = new Nodes({ store, env, replicasOf: async () => 0 })
  const catalog = new SchemaCatalog({ store, env })
  const definitions = defineSettings({
    limit: integerSetting({ description: 'd', default: 1, min: 0, max: 9 }),
    free: { description: 'd', default: null, check: (given: unknown) => given },
  })
  const settings = await Settings.open({ env, store, definitions })
  const leases = Leases.open({ env, store, holder: 'me', session: () => undefined })
  const operations = new NodeOperations({ store, env })
  const sets = new ReplicaSets({ store, env })
  await sets.create('s', threeCopies())
  const nodeList: Argument = { kind: 'array', also: [[], [5], ['UPPER'], ['n1', '']] }
  const wish = { right: [1, 'test'], arguments: [id, text], options: [] }
  const life = { right: ['n1', 'test'], arguments: [name, text], options: [] }
  const leaseName: Argument = { ...text, also: ['a/b', 'x'.repeat(300)] }
  const calls: Call[] = [
    {
      name: 'Jobs.create',
      right: [form, 5],
      arguments: [
        {
          kind: 'port',
          also: [
            { ...form, type: 'No' },
            {
              ...form,
              decode: () => {
                throw new Error('no')
              },
            },
          ],
        },
        {
          optional: true,
          also: [undefined, Symbol('x'), () => 1, new Map([[1, 2]])],
        },
      ],
      options: ['reason', 'key', 'fence'],
      needed: reason,
      call: jobs.create.bind(jobs),
    },
    option('Jobs.create', 'key', ['', 5, null, 'x'.repeat(600)], (options) =>
      jobs.create(form, 5, { ...reason, ...options }),
    ),
    option('Jobs.create', 'fence', [{}, 5, null], (options) =>
      jobs.create(form, 5, { ...reason, ...options }),
    ),
    { name: 'Jobs.get', right: [1], arguments: [id], options: [], call: jobs.get.bind(jobs) },
    {
      name: 'Jobs.list',
      right: [],
      arguments: [],
      options: ['type', 'unfinished'],
      call: jobs.list.bind(jobs),
    },
    {
      name: 'Jobs.watch',
      right: [],
      arguments: [],
      options: [],
      aborted: 'ignores',
      call: jobs.watch.bind(jobs),
    },
    { name: 'Jobs.ended', right: [1], arguments: [id], options: [], call: jobs.ended.bind(jobs) },
    { name: 'Jobs.pause', ...wish, call: jobs.pause.bind(jobs) },
    { name: 'Jobs.resume', ...wish, call: jobs.resume.bind(jobs) },
    { name: 'Jobs.cancel', ...wish, call: jobs.cancel.bind(jobs) },
    {
      name: 'ReplicaSets.create',
      right: ['s', threeCopies()],
      arguments: [
        name,
        {
          kind: 'port',
          also: [
            {},
            { epoch: 1, slots: [], writeQuorum: 1, readQuorum: 1 },
            {
              epoch: 1,
              slots: [[{ nodeId: 'n1', incarnation: 1, joined: 2 }]],
              writeQuorum: 1,
              readQuorum: 1,
            },
            {
              epoch: 1,
              slots: [[{ nodeId: 'n1', incarnation: 1, joined: 1 }]],
              writeQuorum: 0,
              readQuorum: 1,
            },
          ],
        },
      ],
      options: [],
      call: sets.create.bind(sets),
    },
    { name: 'ReplicaSets.get', right: ['s'], arguments: [name], options: [], call: sets.get.bind(sets) },
    {
      name: 'ReplicaSets.changeMember',
      right: ['s', { suspect: 'n1', candidate: 'n4', incarnation: 1 }],
      arguments: [
        name,
        {
          kind: 'port',
          also: [
            {},
            { suspect: 'n1' },
            { suspect: 'n1', candidate: 'n4' },
            { suspect: 'n1', candidate: 'n1', incarnation: 1 },
            { suspect: 5, candidate: 'n1', incarnation: 1 },
            { suspect: 'n1', candidate: 'n4', incarnation: 0 },
            { suspect: 'n1', candidate: 'n4', incarnation: 1, mayReturn: 5 },
          ],
        },
      ],
      options: ['reason'],
      needed: reason,
      call: sets.changeMember.bind(sets),
    },
    {
      name: 'ReplicaSets.changePrimary',
      right: ['s', { to: 'n1' }],
      arguments: [
        name,
        {
          kind: 'port',
          also: [{}, { to: 5 }, { to: 'n1', force: true }, { emergency: 1 }, { emergency: true, force: 1 }],
        },
      ],
      options: ['reason'],
      needed: reason,
      call: sets.changePrimary.bind(sets),
    },
    {
      name: 'NodeOperations.maintenance',
      right: [['n1']],
      arguments: [nodeList],
      options: ['reason', 'boundMs', 'force'],
      needed: { ...reason, boundMs: 5 },
      call: operations.maintenance.bind(operations),
    },
    option('NodeOperations.maintenance', 'boundMs', ['5', 0, -1, 1.5, null], (options) =>
      operations.maintenance(['n1'], { ...reason, boundMs: 5, ...options }),
    ),
    option('NodeOperations.maintenance', 'force', ['5', 0, null], (options) =>
      operations.maintenance(['n1'], { ...reason, boundMs: 5, ...options }),
    ),
    {
      name: 'NodeOperations.rollingRestart',
      right: [['n1']],
      arguments: [nodeList],
      options: ['reason', 'boundMs', 'atOnce'],
      needed: { ...reason, boundMs: 5 },
      call: operations.rollingRestart.bind(operations),
    },
    option('NodeOperations.rollingRestart', 'atOnce', ['5', 0, -1, 1.5, null, 10 ** 6], (options) =>
      operations.rollingRestart(['n1'], { ...reason, boundMs: 5, ...options }),
    ),
    {
      name: 'NodeOperations.evacuate',
      right: [{ nodeIds: ['n1'] }],
      arguments: [
        {
          kind: 'port',
          also: [{}, { nodeIds: [] }, { nodeIds: 'n1' }, { tier: 'zone' }, { tier: 5, value: 'a' }],
        },
      ],
      options: ['reason'],
      needed: reason,
      call: operations.evacuate.bind(operations),
    },
    {
      name: 'Nodes.createToken',
      right: [],
      arguments: [],
      options: ['validForMs', 'reason'],
      needed: reason,
      call: nodes.createToken.bind(nodes),
    },
    option('Nodes.createToken', 'validForMs', ['5', 0, -1, 1.5, null, 10 ** 12], (options) =>
      nodes.createToken({ ...reason, ...options }),
    ),
    {
      name: 'Nodes.join',
      right: [joining],
      arguments: [
        {
          kind: 'object',
          also: [
            {},
            { ...joining, credential: 'short' },
            { ...joining, token: 5 },
            { ...joining, tokn: 'x' },
            ...Object.entries({
              nodeId: nonsense.name,
              incarnation: nonsense.id,
              addresses: [...nonsense.array, [5], [''], ['x'.repeat(300)]],
              locality: [...nonsense.array, [5], [{ key: 'a b', value: 'x' }], [{ key: 'zone' }]],
              capacity: [...nonsense.object, { bytes: '5' }, { bytes: -1 }, { '': 1 }],
              labels: [...nonsense.object, { disk: 5 }, { '': 'x' }],
            }).flatMap(([member, wrong]) =>
              wrong.map((given) => ({ ...joining, descriptor: { ...descriptor, [member]: given } })),
            ),
          ],
        },
      ],
      options: [],
      call: nodes.join.bind(nodes),
    },
    { name: 'Nodes.get', right: ['n1'], arguments: [name], options: [], call: nodes.get.bind(nodes) },
    { name: 'Nodes.list', right: [], arguments: [], options: [], call: nodes.list.bind(nodes) },
    { name: 'Nodes.drain', ...life, call: nodes.drain.bind(nodes) },
    { name: 'Nodes.undrain', ...life, call: nodes.undrain.bind(nodes) },
    { name: 'Nodes.decommission', ...life, call: nodes.decommission.bind(nodes) },
    {
      name: 'SchemaCatalog.createTable',
      right: [table],
      arguments: [{ kind: 'object', also: wrongTables }],
      options: [],
      call: catalog.createTable.bind(catalog),
    },
    { name: 'SchemaCatalog.get', right: [1], arguments: [id], options: [], call: catalog.get.bind(catalog) },
    {
      name: 'SchemaCatalog.byName',
      right: ['t'],
      arguments: [name],
      options: [],
      call: catalog.byName.bind(catalog),
    },
    { name: 'SchemaCatalog.list', right: [], arguments: [], options: [], call: catalog.list.bind(catalog) },
    {
      name: 'SchemaCatalog.watch',
      right: [],
      arguments: [],
      options: [],
      aborted: 'ignores',
      call: catalog.watch.bind(catalog),
    },
    {
      name: 'Settings.set',
      right: ['limit', 5],
      arguments: [{ optional: true }, { kind: 'count', also: [10] }],
      options: ['reason', 'scope', 'expectedRevision'],
      needed: reason,
      call: settings.set.bind(settings) as never,
    },
    {
      name: 'Settings.set of what JSON cannot say',
      right: ['free', 5, reason],
      arguments: [{ optional: true }, { optional: true, also: [undefined, () => 1, Symbol('x'), 10n] }],
      call: settings.set.bind(settings) as never,
      closed: 'ignores',
    },
    option('Settings.set', 'scope', [null, 5, 'nodes', {}, { nodeId: 'A' }, { nodeid: 'a' }], (options) =>
      settings.set('limit', 5, { ...reason, ...options }),
    ),
    option('Settings.set', 'expectedRevision', ['5', -1, null], (options) =>
      settings.set('limit', 5, { ...reason, ...options }),
    ),
    {
      name: 'Settings.reset',
      right: ['limit'],
      arguments: [],
      options: ['reason', 'scope', 'expectedRevision'],
      needed: reason,
      call: (given: never) => settings.reset('limit', given),
    },
    listening(settings, 'change'),
    {
      name: 'Leases.acquire',
      right: ['a'],
      arguments: [leaseName],
      options: ['preference'],
      call: leases.acquire.bind(leases),
    },
    option('Leases.acquire', 'preference', ['5', -1, 1.5, null], (options) => leases.acquire('a', options)),
    {
      name: 'Leases.tryAcquire',
      right: ['a'],
      arguments: [leaseName],
      options: [],
      call: leases.tryAcquire.bind(leases),
    },
    {
      name: 'Leases.release',
      right: ['a'],
      arguments: [leaseName],
      options: ['drain'],
      call: leases.release.bind(leases),
    },
    option('Leases.release', 'drain', [5, {}, null], (options) => leases.release('a', options)),
    {
      name: 'Leases.transfer',
      right: ['a', 'you'],
      arguments: [leaseName, text],
      options: ['drain'],
      call: leases.transfer.bind(leases),
    },
    {
      name: 'Leases.watch',
      right: ['a'],
      arguments: [leaseName],
      options: [],
      call: leases.watch.bind(leases),
    },
    { name: 'Leases.list', right: [], arguments: [], options: [], call: leases.list.bind(leases) },
    {
      name: 'Leases.history',
      right: ['a'],
      arguments: [leaseName],
      options: [],
      call: leases.history.bind(leases),
    },
    listening(leases, 'status'),
  ]
  const before = await revision(store)
  return {
    calls,
    close: async () => {
      await leases.close()
      await settings.close()
      await store.close()
    },
    unchanged: async () => (await revision(store)) === before,
  }
}

async function openGroup(): ReturnType<Subject['open']> {
  const log = await memoryLog()({ env, clusterId: 'c', nodeId: 'n1' })
  const { incarnation } = log
  const self = { nodeId: 'n1', incarnation, role: 'node' } as const
  const transport = await memoryNetwork().transport()({ env, clusterId: 'c', self, resolve: () => [] })
  const host = await RaftHost.open({
    env,
    log,
    clusterId: 'c',
    nodeId: 'n1',
    channel: transport.channel('raft'),
  })
  const database = level()
  const replicas = [{ replicaId: 1, nodeId: 'n1', incarnation, role: 'voter' }] as const
  const group = await host.bootstrap(1, { replicas, stateMachine: new MetadataStateMachine({ database }) })
  await until(env, 'it leads', () => group.token() !== undefined)
  const stateMachine = new MetadataStateMachine({ database: level() })
  const setup: Argument = {
    kind: 'object',
    also: [{}, { stateMachine: {} }, { stateMachine, stateMachin: 1 }, { statemachine: stateMachine }],
  }
  const first = { replicas, stateMachine }
  const calls: Call[] = [
    {
      name: 'propose',
      right: [value],
      arguments: [bytes],
      options: ['commandId', 'acknowledgedBelow', 'token'],
      call: group.propose.bind(group),
    },
    option(
      'propose',
      'commandId',
      [5, null, {}, { session: 0, sequence: 1 }, { session: 1, sequence: '1' }],
      (options) => group.propose(value, options),
    ),
    option(
      'propose',
      'token',
      [5, null, {}, { groupId: 2, sequence: 1 }, { groupId: 1, sequence: 0 }],
      (options) => group.propose(value, options),
    ),
    {
      name: 'proposeBatch',
      right: [[{ sequence: 1, data: value }], { session: 1 }],
      arguments: [
        {
          kind: 'array',
          also: [
            [5],
            [null],
            [{}],
            [{ sequence: 1, data: 'x' }],
            [{ sequence: 0, data: value }],
            [{ sequence: '1', data: value }],
            [
              { sequence: 2, data: value },
              { sequence: 2, data: value },
            ],
            Array.from({ length: 5_000 }, (_, i) => ({ sequence: i + 1, data: value })),
          ],
        },
        { kind: 'object', also: [{}, { session: 0 }, { session: '1' }, { session: 1, token: 5 }] },
      ],
      call: group.proposeBatch.bind(group),
    },
    { name: 'openSession', right: [], arguments: [], options: [], call: group.openSession.bind(group) },
    {
      name: 'closeSessions',
      right: [[1]],
      arguments: [
        {
          kind: 'array',
          also: [['1'], [0], [-1], [Number.NaN], [null], Array.from({ length: 1_001 }, () => 1)],
        },
      ],
      options: [],
      call: group.closeSessions.bind(group),
    },
    { name: 'read', right: [], arguments: [], options: [], call: group.read.bind(group) },
    {
      name: 'changeMembership',
      right: [{ type: 'promote', replicaId: 99 }],
      arguments: [{ kind: 'object', also: [...wrongChanges, { type: 'transferLease', replicaId: 1 }] }],
      options: ['expectedGeneration', 'autoLeave'],
      call: group.changeMembership.bind(group),
    },
    {
      name: 'changeMembership',
      right: [[{ type: 'promote', replicaId: 99 }]],
      arguments: [
        {
          kind: 'array',
          also: [
            [null],
            [{ type: 'addLearner', nodeId: 'n2', incarnation: 1, autoPromote: 1 }],
            [{ type: 'addLearner', nodeId: 'n2', incarnation: 1, priority: '1' }],
            [{ type: 'addLearner', nodeId: 'n2', incarnation: 1, priority: 1_001 }],
            [{ type: 'setPriority', replicaId: 1, priority: -1 }],
            [{ type: 'demote', replicaId: '1' }],
            [{ type: 'promoteLater' }],
            Array.from({ length: 65 }, () => ({ type: 'remove', replicaId: 1 })),
          ],
        },
      ],
      options: [],
      call: group.changeMembership.bind(group),
    },
    option('changeMembership', 'autoLeave', ['no', 1, null], (options) =>
      group.changeMembership({ type: 'remove', replicaId: 9 }, options),
    ),
    option('changeMembership', 'expectedGeneration', ['1', -1, null, 1.5], (options) =>
      group.changeMembership({ type: 'remove', replicaId: 9 }, options),
    ),
    {
      name: 'replace',
      right: [{ replicaId: 99, nodeId: 'n2', incarnation: 1 }],
      arguments: [
        {
          kind: 'object',
          also: [
            { replicaId: 0, nodeId: 'n2', incarnation: 1 },
            { replicaId: 1, nodeId: 'A B', incarnation: 1 },
            { replicaId: 1, nodeId: 'n2', incarnation: '1' },
          ],
        },
      ],
      options: ['catchUpTimeoutMs'],
      call: group.replace.bind(group),
    },
    option('replace', 'catchUpTimeoutMs', ['1', -1, null, 1.5], (options) =>
      group.replace({ replicaId: 99, nodeId: 'n2', incarnation: 1 }, options),
    ),
    { name: 'campaign', right: [], arguments: [], call: group.campaign.bind(group) },
    { name: 'forgetLeader', right: [], arguments: [], call: group.forgetLeader.bind(group) },
    {
      name: 'transferLeadership',
      right: [1],
      arguments: [id],
      options: [],
      call: group.transferLeadership.bind(group),
    },
    listening(group, 'leadership'),
    listening(host, 'stopped'),
    {
      name: 'bootstrap',
      right: [2, first],
      arguments: [
        id,
        {
          ...setup,
          also: [
            ...(setup.also ?? []),
            { ...first, replicas: {} },
            { ...first, replicas: [] },
            { ...first, replicas: [null] },
            { ...first, replicas: [{ ...replicas[0], replicaId: 2 }] },
            { ...first, replicas: [{ ...replicas[0], role: 'boss' }] },
            { ...first, replicas: [{ ...replicas[0], nodeId: 'n2' }] },
            { ...first, replicas: [{ ...replicas[0], incarnation: '1' }] },
            { ...first, refounding: true },
            { ...first, refounding: { recoveries: 0, firstCommands: [new Uint8Array(1)] } },
            { ...first, refounding: { recoveries: 1, firstCommands: ['raise'] } },
            { ...first, refounding: { recoveries: 1, firstCommands: [] } },
            { ...first, refounding: { recoveries: 1 } },
          ],
        },
      ],
      call: host.bootstrap.bind(host),
    },
    {
      name: 'openGroup',
      right: [2, { stateMachine }],
      arguments: [id, setup],
      call: host.openGroup.bind(host),
    },
    {
      name: 'adoptGroup',
      right: [5, { stateMachine }],
      arguments: [id, setup],
      call: host.adoptGroup.bind(host),
    },
    {
      name: 'awaitGroup',
      right: [3, { stateMachine }],
      arguments: [id, setup],
      call: host.awaitGroup.bind(host),
    },
    {
      name: 'destroyGroup',
      right: [4],
      arguments: [id, { ...setup, optional: true, also: [{ stateMachine: {} }, { statemachine: 1 }] }],
      call: host.destroyGroup.bind(host),
    },
  ]
  const before = group.status().lastIndex
  return {
    calls,
    close: async () => {
      await host.close()
      await transport.close()
    },
    unchanged: async () => {
      const { lastIndex, stopped } = group.status()
      return lastIndex === before && stopped === undefined
    },
  }
}

function transportSubject(called: string, make: () => TransportFactory): Subject {
  return {
    name: called,
    open: async () => {
      const addresses = new Map<string, readonly string[]>()
      const resolve = (peer: string): readonly string[] => addresses.get(peer) ?? []
      const open = async (nodeId: string): Promise<Transport> => {
        const self = { nodeId, incarnation: 1, role: 'node' } as const
        const transport = await factory({ env, clusterId: 'c', self, resolve })
        addresses.set(nodeId, transport.addresses)
        return transport
      }
      const factory = make()
      const [a, b] = [await open('a'), await open('b')]
      b.channel('x').onStream(async (_peer, _header, chunks) => {
        for await (const _ of chunks);
      })
      const channel: Channel = a.channel('x')
      const rpc = new Rpc({ env, channel: a.channel('rpc') })
      const stream = await channel.openStream('b', new Uint8Array(0))
      const large = new Uint8Array(channel.maximumMessageBytes + 1)
      const message: Argument = { ...bytes, also: [large] }
      const method: Argument = { ...text, also: ['a b', '/x', 'x'.repeat(200)] }
      const peer: Argument = { ...text }
      const calls: Call[] = [
        {
          name: 'channel',
          right: ['y'],
          arguments: [{ ...name, but: ['../x'], also: ['x'] }],
          call: a.channel.bind(a) as never,
        },
        {
          name: 'dial',
          right: [b.addresses[0]],
          arguments: [{ kind: 'address' }],
          options: [],
          call: a.dial.bind(a),
        },
        {
          name: 'onPeer',
          right: [() => {}],
          arguments: [{ kind: 'function' }],
          call: a.onPeer.bind(a),
          closed: 'ignores',
        },
        {
          name: 'send',
          right: ['b', value],
          arguments: [peer, message],
          call: channel.send.bind(channel),
          // Best effort: false says enough.
          closed: 'ignores',
        },
        {
          name: 'onMessage',
          right: [() => {}],
          arguments: [{ kind: 'function' }],
          call: channel.onMessage.bind(channel),
          closed: 'ignores',
        },
        {
          name: 'onLost',
          right: [() => {}],
          arguments: [{ kind: 'function' }],
          call: channel.onLost.bind(channel),
          closed: 'ignores',
        },
        {
          name: 'onStream',
          right: [() => {}],
          arguments: [{ kind: 'function' }],
          call: channel.onStream.bind(channel) as never,
          closed: 'ignores',
        },
        {
          name: 'openStream',
          right: ['b', value],
          arguments: [peer, message],
          options: [],
          call: channel.openStream.bind(channel),
        },
        {
          name: 'write',
          right: [value],
          arguments: [message],
          options: [],
          call: stream.write.bind(stream),
          closed: 'ignores',
        },
        {
          name: 'end',
          right: [],
          arguments: [],
          options: [],
          call: stream.end.bind(stream),
          closed: 'ignores',
        },
        {
          name: 'handle',
          right: ['m', async () => value],
          arguments: [method, { kind: 'function' }],
          call: rpc.handle.bind(rpc),
        },
        {
          name: 'handleStream',
          right: ['s', () => []],
          arguments: [method, { kind: 'function' }],
          call: rpc.handleStream.bind(rpc) as never,
        },
        {
          name: 'call',
          right: ['b', 'm', value],
          arguments: [peer, method, message],
          options: ['timeoutMs'],
          call: rpc.call.bind(rpc),
        },
        option('call', 'timeoutMs', ['5', 0, -1, null, 1.5, 10 ** 12], (options) =>
          rpc.call('b', 'm', value, options),
        ),
        {
          name: 'stream',
          right: ['b', 'm', value],
          arguments: [peer, method, message],
          options: [],
          call: rpc.stream.bind(rpc),
        },
      ]
      return {
        calls,
        close: async () => {
          await rpc.close()
          await Promise.all([a.close(), b.close()])
        },
      }
    },
  }
}

function logSubject(called: string, make: () => LogStoreFactory): Subject {
  return {
    name: called,
    open: async () => {
      const log = await make()({ env, clusterId: 'c', nodeId: 'n1' })
      const entry = { index: 1, term: 1, kind: 0, data: value } as const
      const write = { groupId: 1, entries: [entry], hardState: { term: 1, votedFor: 0, commit: 0 } }
      const position = { index: 0, term: 0 }
      const calls: Call[] = [
        {
          name: 'write',
          right: [[write]],
          arguments: [
            {
              kind: 'array',
              also: [
                [null],
                [{ ...write, groupId: 0 }],
                [{ ...write, entries: {} }],
                [{ ...write, entries: [null] }],
                [{ ...write, entries: [{ ...entry, index: 2 }] }],
                [{ ...write, entries: [{ ...entry, index: '1' }] }],
                [{ ...write, entries: [{ ...entry, term: -1 }] }],
                [{ ...write, entries: [{ ...entry, kind: 9 }] }],
                [{ ...write, entries: [{ ...entry, data: 'x' }] }],
                [{ ...write, hardState: 5 }],
                [{ ...write, hardState: { term: 1 } }],
                [{ ...write, metadata: 'x' }],
                [{ ...write, reset: 5 }],
                [{ ...write, reset: { index: -1, term: 0 } }],
              ],
            },
          ],
          call: log.write.bind(log),
        },
        {
          name: 'compact',
          right: [1, position],
          arguments: [id, { kind: 'object', also: [{}, { index: '1', term: 1 }, { index: 9, term: 1 }] }],
          call: log.compact.bind(log),
        },
        { name: 'destroy', right: [1, value], arguments: [id, bytes], call: log.destroy.bind(log) },
        {
          name: 'read',
          right: [1, 1, 1, 100],
          arguments: [
            id,
            count,
            count,
            // A number of bytes, and no number is too large.
            { kind: 'count', but: [1.5, 2 ** 53, Number.POSITIVE_INFINITY] },
          ],
          call: log.read.bind(log),
        },
      ]
      return { calls, close: () => log.close() }
    },
  }
}

async function openGossip(): ReturnType<Subject['open']> {
  const socket = await memoryDatagrams().socket()({ env, clusterId: 'c', nodeId: 'n1' })
  const udp = await datagram({ listen: { host: '127.0.0.1', port: 0 } })({
    env,
    clusterId: 'c',
    nodeId: 'n1',
  })
  const swim = await Swim.open({ env, socket, nodeId: 'n1', incarnation: 1, label: 'c' })
  const packet: Argument = { ...bytes, also: [new Uint8Array(70_000)] }
  const calls: Call[] = [
    {
      name: 'join',
      right: [['host:1']],
      arguments: [{ kind: 'array', also: [[5], ['x'], [null]] }],
      call: swim.join.bind(swim),
    },
    {
      name: 'setMetadata',
      right: [value],
      arguments: [{ ...bytes, also: [new Uint8Array(70_000)] }],
      call: swim.setMetadata.bind(swim),
    },
    { name: 'suspect', right: ['n2'], arguments: [name], call: swim.suspect.bind(swim) },
    { name: 'remove', right: ['n2'], arguments: [name], call: swim.remove.bind(swim) },
    {
      name: 'tell',
      right: ['news', value],
      arguments: [text, { ...bytes, also: [new Uint8Array(600)] }],
      call: swim.tell.bind(swim),
    },
    {
      name: 'ask',
      right: ['load', value],
      arguments: [text, { ...bytes, also: [new Uint8Array(600)] }],
      options: ['timeoutMs'],
      call: swim.ask.bind(swim),
    },
    {
      name: 'answer',
      right: ['load', () => value],
      arguments: [text, { kind: 'function' }],
      call: swim.answer.bind(swim),
    },
    { name: 'nearest', right: [3], arguments: [count], call: swim.nearest.bind(swim), closed: 'ignores' },
    listening(swim, 'change'),
    ...[socket, udp].map(
      (each): Call => ({
        name: 'send',
        right: [udp.address, value],
        arguments: [{ kind: 'address' }, packet],
        call: each.send.bind(each),
        closed: 'ignores',
      }),
    ),
    ...[socket, udp].map(
      (each): Call => ({
        name: 'onMessage',
        right: [() => {}],
        arguments: [{ kind: 'function' }],
        call: each.onMessage.bind(each),
        closed: 'ignores',
      }),
    ),
    { name: 'leave', right: [], arguments: [], options: [], call: swim.leave.bind(swim) },
  ]
  return {
    calls,
    close: async () => {
      await swim.close()
      await udp.close()
    },
  }
}

async function openCluster(): ReturnType<Subject['open']> {
  const cluster = await devCluster({ servers: 1, env })
  const { agent } = await cluster.addNode('n1')
  const { admin, store } = cluster.client
  const server = cluster.leader()
  await until(env, 'the node has a session', () => agent.live)
  const ranges = { reconcile: async () => {}, observe: () => [] }
  const job = { jobId: 99 }
  const calls: Call[] = [
    ...storeCalls(store),
    {
      name: 'addNode',
      right: ['n2'],
      arguments: [{ ...name, also: ['n1'] }],
      options: ['locality'],
      call: cluster.addNode.bind(cluster),
    },
    option('addNode', 'locality', [5, null, 'zone', 'a=b=c', 'zone=a,zone=b'], (options) =>
      cluster.addNode('n3', options),
    ),
    {
      name: 'serve',
      right: [{ ranges }],
      arguments: [
        {
          kind: 'object',
          also: [
            {},
            { ranges: {} },
            { ranges, schema: {} },
            { ranges, load: 5 },
            { ranges, lod: () => ({}) },
          ],
        },
      ],
      call: agent.serve.bind(agent),
    },
    listening(agent, 'session'),
    listening(server, 'leadership'),
    {
      name: 'createTable',
      right: [table],
      arguments: [{ kind: 'object', also: wrongTables }],
      options: ['splitKeys', 'replicas'],
      needed: { replicas: 1 },
      call: admin.createTable.bind(admin) as never,
    },
    option('createTable', 'replicas', ['1', 0, 16, 1.5, null], (options) =>
      admin.createTable(table as never, options as never),
    ),
    option('createTable', 'splitKeys', [5, {}, null], (options) =>
      admin.createTable(table as never, { replicas: 1, ...options }),
    ),
    {
      name: 'changeSchema',
      right: ['t', { type: 'dropColumn', name: 'x' }],
      arguments: [
        { ...name, also: ['No'] },
        { kind: 'object', also: wrongSchemaChanges },
      ],
      options: ['reason'],
      needed: reason,
      call: admin.changeSchema.bind(admin),
    },
    { name: 'ranges', right: [], arguments: [], options: [], call: admin.ranges.bind(admin) },
    {
      name: 'placement.explain',
      right: [1],
      arguments: [id],
      options: [],
      call: admin.placement.explain.bind(admin.placement),
    },
    {
      name: 'placement.explainNode',
      right: ['n1'],
      arguments: [name],
      options: [],
      call: admin.placement.explainNode.bind(admin.placement),
    },
    {
      name: 'placement.plan',
      right: [],
      arguments: [],
      options: ['moves', 'bounds'],
      call: admin.placement.plan.bind(admin.placement),
    },
    {
      name: 'placement.whatIf',
      right: [{}],
      arguments: [{ kind: 'object', also: [{ loseNode: ['n1'] }, { growLoad: { bytes: Number.NaN } }] }],
      options: ['limits', 'seed', 'maximumRounds'],
      call: admin.placement.whatIf.bind(admin.placement),
    },
    {
      name: 'placement.lostSight',
      right: [],
      arguments: [],
      options: [],
      call: admin.placement.lostSight.bind(admin.placement),
    },
    {
      name: 'finished',
      right: [job],
      arguments: [{ kind: 'object', also: [{}] }],
      options: [],
      call: admin.finished.bind(admin) as never,
    },
  ]
  return { calls, close: () => cluster.close() }
}

export const subjects: readonly Subject[] = [
  {
    name: 'memoryStore',
    open: async () => {
      const store = memoryStore({ env })
      const before = await revision(store)
      return {
        calls: storeCalls(store),
        close: () => store.close(),
        unchanged: async () => (await revision(store)) === before,
      }
    },
  },
  { name: 'epochs, the directory, backups', open: openDirectory },
  { name: 'jobs, nodes, tables, settings, leases', open: openControllers },
  { name: 'a Raft group and its host', open: openGroup },
  transportSubject('a memory transport, its channels and remote calls', () => memoryNetwork().transport()),
  transportSubject('a WebSocket transport, its channels and remote calls', () =>
    webSocket({ listen: { host: '127.0.0.1', port: 0 } }),
  ),
  logSubject('memoryLog', () => memoryLog()),
  logSubject('levelLog', () => levelLog(level())),
  logSubject('segments', () => segments('log', { fileSystem: new MemoryFileSystem().mount() })),
  { name: 'gossip', open: openGossip },
  { name: 'a cluster, its client, an agent', open: openCluster },
]
