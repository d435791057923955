import { suite, test } from 'node:test'
import { segments } from '../../../src/storage/segments/index.ts'
import { logStoreCompliance } from '../../../src/testing/index.ts'
import { Machine } from '../support/simulated.ts'

suite('segments on a simulated disk keep the contract of log stores', () => {
  let machine = new Machine(1)
  let places = 0
  const cases = logStoreCompliance({
    env: () => machine.env,
    create: async () => {
      const current = machine
      const place = `place${++places}`
      return {
        open: async (context) =>
          segments(place, {
            fileSystem: current.disk.fileSystem(),
            segmentBytes: 2 * 1024 * 1024,
            cleanFromBytes: 0,
          })({ ...context, env: current.env }),
        crash: async () => current.restart('power'),
      }
    },
  })
  for (const { name, run } of cases) {
    test(name, async () => {
      for (let seed = 0; seed < 3; seed++) {
        machine = new Machine(seed)
        await machine.run(run)
      }
    })
  }
})
