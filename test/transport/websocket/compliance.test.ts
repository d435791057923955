import { suite, test } from 'node:test'
import { transportCompliance } from '../../../src/testing/transport.ts'
import { webSocketHarness } from './support.ts'

suite('the WebSocket transport complies', () => {
  for (const { name, run } of transportCompliance(async () => webSocketHarness())) test(name, run)
})
