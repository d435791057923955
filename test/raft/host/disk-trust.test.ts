import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { newMetadata } from '../../../src/raft/group/metadata.ts'
import { DiskMarks } from '../../../src/raft/host/disk-marks.ts'
import { DiskTrust } from '../../../src/raft/host/disk-trust.ts'
import { Simulation } from '../../../src/simulation/index.ts'
import { MemoryDisk, memoryLog } from '../../../src/storage/memory/index.ts'

const peer = { nodeId: 'n2', incarnation: 1 }

suite('a disk that was found out', () => {
  test('is not blamed again for a life of which it knows less by now', async () => {
    const simulation = new Simulation({ seed: 1 })
    const env = simulation.environment('n1')
    const open = memoryLog({ disk: new MemoryDisk() })
    await simulation.until(
      (async () => {
        const lost = { life: 7, position: 2 ** 40 }
        let evidence: number | undefined
        // Somebody goes on telling of the lost life, in many lives of the host, until those from before are driven out.
        for (let life = 0; life < 140; life++) {
          await using log = await open({ env, clusterId: 'c', nodeId: 'n1' })
          const trust = await DiskTrust.open({ env, log })
          const marks = new DiskMarks(trust.history, () => log.durablePosition?.())
          const mark = marks.heard(peer, { kind: 'marks', life: 1, position: 1, known: [lost] })
          assert.ok(mark !== undefined)
          const stored = trust.found('n2', mark)
          assert.equal(stored === undefined, life > 0, `life ${life}`)
          await stored
          evidence ??= mark.settledFrom
          // A group that was recovered right afterwards relies on nothing of what was lost.
          const recovered = { ...newMetadata(1, 2 ** 32), countsFrom: evidence }
          assert.equal(trust.concerns(recovered), false)
        }
      })(),
      60_000,
    )
  })
})
