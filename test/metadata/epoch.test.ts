import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { utf8 } from '../../src/core/bytes.ts'
import { type ErrorCode, KeelsonError } from '../../src/core/errors.ts'
import { ControllerEpoch, memoryStore, pathKey, pathParts, pathPrefix } from '../../src/metadata/index.ts'
import { VirtualTime } from './support/virtual-environment.ts'

const put = { type: 'put', key: utf8('k'), value: utf8('v') } as const

function code(...codes: ErrorCode[]): (error: unknown) => boolean {
  return (error) => KeelsonError.hasCode(error, ...codes)
}

describe('ControllerEpoch', () => {
  test('numbers grow, also after the key was deleted', async () => {
    const store = memoryStore({ env: new VirtualTime().environment() })
    const first = await ControllerEpoch.acquire(store, 'placement', 'cp1')
    const second = await ControllerEpoch.acquire(store, 'placement', 'cp2')
    await store.txn({ then: [{ type: 'delete', select: { key: utf8('/epochs/placement') } }] })
    const third = await ControllerEpoch.acquire(store, 'placement', 'cp1')
    assert.ok(first.number < second.number && second.number < third.number)
    assert.deepEqual(await ControllerEpoch.current(store, 'placement'), {
      number: third.number,
      holder: 'cp1',
    })
    assert.equal(await ControllerEpoch.current(store, 'other'), undefined)
  })

  test('a deposed owner writes nothing, whatever its compares say', async () => {
    const store = memoryStore({ env: new VirtualTime().environment() })
    const old = await ControllerEpoch.acquire(store, 'jobs', 'cp1')
    await old.txn({ then: [put] })
    await ControllerEpoch.acquire(store, 'jobs', 'cp2')
    await assert.rejects(old.txn({ then: [{ ...put, value: utf8('late') }] }), code('STALE_EPOCH'))
    await assert.rejects(
      old.txn({
        if: [{ key: utf8('k'), target: 'version', is: '=', operand: 9 }],
        then: [put],
        else: [{ type: 'range', select: { key: utf8('k') } }],
      }),
      code('STALE_EPOCH'),
    )
    assert.deepEqual((await store.get(utf8('k')))?.value, utf8('v'))
  })

  test('a compare of its own that fails is not a lost epoch', async () => {
    const store = memoryStore({ env: new VirtualTime().environment() })
    const epoch = await ControllerEpoch.acquire(store, 'jobs', 'cp1')
    const result = await epoch.txn({
      if: [{ key: utf8('k'), target: 'version', is: '=', operand: 9 }],
      then: [put],
      else: [{ type: 'range', select: { key: utf8('k') } }],
    })
    assert.equal(result.succeeded, false)
    assert.equal(result.results.length, 1)
  })

  test('does not let else write', async () => {
    const store = memoryStore({ env: new VirtualTime().environment() })
    const epoch = await ControllerEpoch.acquire(store, 'jobs', 'cp1')
    await assert.rejects(epoch.txn({ else: [put] }), code('INVALID_ARGUMENT'))
  })

  test('ends with its session', async () => {
    const store = memoryStore({ env: new VirtualTime().environment() })
    const session = await store.grantSession('cp1', 1000)
    const epoch = await ControllerEpoch.acquire(store, 'jobs', 'cp1', { session })
    await epoch.txn({ then: [put] })
    await store.revokeSession(session)
    await assert.rejects(epoch.txn({ then: [put] }), code('STALE_EPOCH'))
  })
})

describe('keys', () => {
  test('numbers in keys sort as numbers', () => {
    const keys = [1, 10, 2, Number.MAX_SAFE_INTEGER].map((id) =>
      Buffer.from(pathKey('/jobs/', id)).toString(),
    )
    assert.deepEqual(
      [...keys].sort(),
      [1, 2, 10, Number.MAX_SAFE_INTEGER].map((id) => `/jobs/${String(id).padStart(16, '0')}`),
    )
  })

  test('parts come back and cannot break out of their place', () => {
    assert.deepEqual(pathParts('/wanted/', pathKey('/wanted/', 'n1', 7)), ['n1', '0000000000000007'])
    assert.deepEqual(pathPrefix('/wanted/', 'n1'), utf8('/wanted/n1/'))
    for (const bad of ['', 'a/b']) assert.throws(() => pathKey('/wanted/', bad), code('INVALID_ARGUMENT'))
    for (const bad of [-1, 0.5, 2 ** 53])
      assert.throws(() => pathKey('/jobs/', bad), code('INVALID_ARGUMENT'))
    assert.throws(() => pathParts('/jobs/', utf8('/nodes/a')), code('MALFORMED'))
  })
})
