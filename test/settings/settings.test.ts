import assert from 'node:assert/strict'
import { test } from 'node:test'
import { utf8 } from '../../src/core/bytes.ts'
import { memoryStore } from '../../src/metadata/index.ts'
import { encodeSetting, settingKey } from '../../src/settings/core/records.ts'
import {
  booleanSetting,
  defineSettings,
  integerSetting,
  Settings,
  type StandardSchema,
  schemaSetting,
  stringSetting,
  wordSetting,
} from '../../src/settings/index.ts'
import { Simulation } from '../../src/simulation/index.ts'

const window: StandardSchema<{ from: number; to: number }> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      const { from, to } = (value ?? {}) as { from?: unknown; to?: unknown }
      return typeof from === 'number' && typeof to === 'number' && from < to
        ? { value: { from, to } }
        : { issues: [{ message: 'from must be below to' }] }
    },
  },
}

const definitions = defineSettings({
  'range.maximum-bytes': integerSetting({
    description: 'Size at which a range splits, in bytes.',
    default: 64,
    min: 1,
    max: 1024,
  }),
  'backup.enabled': booleanSetting({ description: 'Whether backups run.', default: false }),
  'backup.window': schemaSetting({ description: 'Hours.', default: { from: 1, to: 5 }, schema: window }),
  'backup.key': stringSetting({ description: 'Key.', default: '', secret: true }),
  'log.level': wordSetting({ description: 'Level.', default: 'info', words: ['info', 'debug'] }),
})

async function simulated(
  body: (
    open: (nodeId?: string) => Promise<Settings<typeof definitions>>,
    sim: Simulation,
    store: ReturnType<typeof memoryStore>,
  ) => Promise<void>,
): Promise<void> {
  const sim = new Simulation({ seed: 1 })
  const env = sim.environment('cp1')
  const store = memoryStore({ env })
  await sim.until(
    (async () => {
      await body(
        (nodeId) => Settings.open({ env, store, definitions, ...(nodeId === undefined ? {} : { nodeId }) }),
        sim,
        store,
      )
      await store.close()
    })(),
  )
}

test('values are typed, checked, followed by others and kept in a history', async () => {
  await simulated(async (open) => {
    const here = await open()
    const there = await open()
    const changed = new Promise<[string, unknown]>((resolve) =>
      there.on('change', (name, value) => resolve([name, value])),
    )
    const size: number = here.get('range.maximum-bytes')
    assert.equal(size, 64)
    const revision = await here.set('range.maximum-bytes', 128, { reason: 'larger disks' })
    assert.deepEqual(await changed, ['range.maximum-bytes', 128])
    assert.equal(there.get('range.maximum-bytes'), 128)
    await assert.rejects(
      here.set('range.maximum-bytes', 256, { reason: 'again', expectedRevision: revision - 1 }),
      { code: 'CONFLICT' },
    )
    await here.reset('range.maximum-bytes', { reason: 'a mistake', expectedRevision: revision })
    assert.deepEqual(
      (await here.history('range.maximum-bytes')).map(({ value, reason, reset }) => [value, reason, reset]),
      [
        [128, 'larger disks', false],
        [null, 'a mistake', true],
      ],
    )
    await here.close()
    await there.close()
    await there.close()
  })
})

test('a node’s own value goes before the cluster’s', async () => {
  await simulated(async (open) => {
    const admin = await open()
    await admin.set('log.level', 'debug', { reason: 'look closer', scope: { nodeId: 'db1' } })
    const db1 = await open('db1')
    const db2 = await open('db2')
    assert.equal(db1.get('log.level'), 'debug')
    assert.equal(db2.get('log.level'), 'info')
    assert.deepEqual(
      [db1, db2].map((settings) => settings.list().find(({ name }) => name === 'log.level')?.source),
      ['node', 'default'],
    )
    for (const settings of [admin, db1, db2]) await settings.close()
  })
})

test('bad input says what to do, and changes nothing', async () => {
  await simulated(async (open) => {
    const settings = await open()
    const set = settings.set.bind(settings) as (
      name: string,
      value: unknown,
      options: { reason: string },
    ) => Promise<number>
    const reason = { reason: 'test' }
    await assert.rejects(set('range.maximum-byte', 1, reason), {
      code: 'NOT_FOUND',
      message: /did you mean 'range.maximum-bytes'/,
    })
    await assert.rejects(set('range.maximum-bytes', 4096, reason), {
      code: 'INVALID_ARGUMENT',
      message: /from 1 to 1024, not 4096/,
    })
    await assert.rejects(set('backup.window', { from: 5, to: 1 }, reason), {
      message: /from must be below to/,
    })
    await assert.rejects(set('backup.enabled', 'yes', reason), { message: /true or false, not "yes"/ })
    await assert.rejects(set('log.level', 'loud', reason), { message: /one of info, debug/ })
    await assert.rejects(set('backup.enabled', true, { reason: '' }), { code: 'INVALID_ARGUMENT' })
    await assert.rejects(set('toString', 1, reason), { code: 'NOT_FOUND' })
    assert.ok(settings.list().every(({ revision }) => revision === 0))
    await settings.close()
  })
})

test('secrets appear in no listing and no event', async () => {
  await simulated(async (open) => {
    const settings = await open()
    const seen: unknown[] = []
    const changed = new Promise<void>((resolve) => {
      settings.on('change', (name, value) => {
        seen.push(name, value)
        resolve()
      })
    })
    await settings.set('backup.key', 'canary', { reason: 'rotation' })
    await changed
    assert.equal(settings.get('backup.key'), 'canary')
    assert.ok(!JSON.stringify([seen, settings.list()]).includes('canary'))
    await settings.close()
  })
})

test('a stored value that this release refuses is passed over, and unknown names are left alone', async () => {
  await simulated(async (open, _sim, store) => {
    const record = (value: number): Uint8Array =>
      encodeSetting({ value, reason: 'old release', atMs: 0, reset: false })
    await store.txn({
      then: [
        { type: 'put', key: settingKey('range.maximum-bytes', 'cluster'), value: record(1_000_000) },
        { type: 'put', key: settingKey('invented.later', 'cluster'), value: record(1) },
        { type: 'put', key: settingKey('backup.enabled', 'cluster'), value: utf8('garbage') },
      ],
    })
    const settings = await open()
    assert.equal(settings.get('range.maximum-bytes'), 64)
    assert.equal(settings.get('backup.enabled'), false)
    await settings.close()
  })
})

test('definitions are checked where they are made', () => {
  assert.throws(() => defineSettings({ Bad: booleanSetting({ description: 'x', default: true }) }), {
    code: 'INVALID_OPTION',
  })
  assert.throws(
    () => defineSettings({ a: integerSetting({ description: 'x', default: 9, min: 0, max: 5 }) }),
    { code: 'INVALID_OPTION', message: /fails its own check/ },
  )
  assert.throws(() => defineSettings({ a: booleanSetting({ description: '', default: true }) }), {
    code: 'INVALID_OPTION',
  })
})
