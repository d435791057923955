import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { formatAddress, isLoopback, isUnspecified, parseAddress } from '../../src/transport/addresses.ts'

suite('addresses', () => {
  test('are taken apart and put together', () => {
    for (const [address, host, port] of [
      ['127.0.0.1:80', '127.0.0.1', 80],
      ['db7.example.com:65535', 'db7.example.com', 65_535],
      ['[::1]:7946', '::1', 7946],
      ['[fe80::1%eth0]:1', 'fe80::1%eth0', 1],
    ] as const) {
      assert.deepEqual(parseAddress(address), { host, port })
      assert.equal(formatAddress(host, port), address)
    }
  })

  test('are refused when no URL can hold them', () => {
    for (const address of [
      '%:80',
      'a^b:80',
      '?:80',
      'a b:80',
      'a@b:80',
      'x',
      ':80',
      'a:0',
      'a:65536',
      '',
      5,
      undefined,
    ])
      assert.throws(() => parseAddress(address as string), { code: 'INVALID_ARGUMENT' }, String(address))
  })

  test('know the loopback interface', () => {
    for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '::ffff:127.0.0.1']) {
      assert.equal(isLoopback(host), true, host)
    }
    for (const host of ['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.com', 'localhost.example.com', '']) {
      assert.equal(isLoopback(host), false, host)
    }
  })
  test('know what stands for all interfaces', () => {
    for (const host of ['0.0.0.0', '0', '::', '::0', '0:0:0:0:0:0:0:0', '::ffff:0.0.0.0', '00.0.0.0'])
      assert.equal(isUnspecified(host), true, host)
    for (const host of ['127.0.0.1', '::1', '10.0.0.0', 'localhost', '0.example', 'fe80::', 'a0'])
      assert.equal(isUnspecified(host), false, host)
  })
})
