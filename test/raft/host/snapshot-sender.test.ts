import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { StateSnapshot } from '../../../src/interfaces/index.ts'
import { lagging, makeCluster, metrics } from '../support/lagging.ts'

const names = ['n1', 'n2', 'n3']

/** Lets every view of a machine be counted, made slowly, or never. */
function watchViews(
  machine: { snapshot: () => Promise<StateSnapshot> },
  before: (count: number) => Promise<void>,
): { open: number; made: number } {
  const counts = { open: 0, made: 0 }
  const snapshot = machine.snapshot.bind(machine)
  machine.snapshot = async () => {
    await before(++counts.made)
    const view = await snapshot()
    counts.open++
    return {
      bookkeeping: view.bookkeeping,
      chunks: () => view.chunks(),
      async [Symbol.asyncDispose]() {
        counts.open--
      },
    }
  }
  return counts
}

suite('the sender of a snapshot', () => {
  test('makes one view, however long that takes and however often it is asked meanwhile', async () => {
    const cluster = makeCluster(21, { snapshotTimeoutMs: 1_000 })
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      const leader = await cluster.leader()
      const machine = leader.machines.get(1)
      assert.ok(machine !== undefined)
      // It is asked again every 250 ms.
      const views = watchViews(machine, async () => cluster.sleep(700))
      await late.restart()
      await cluster.converged(names)
      assert.equal(late.machines.get(1)?.restores, 1)
      assert.equal(views.made, 1)
      await cluster.sleep(100)
      assert.equal(views.open, 0)
    })
  })

  test('gives up a view that is never made, and makes another one', async () => {
    const cluster = makeCluster(22, { snapshotTimeoutMs: 500, maximumSnapshotTransfers: 1 })
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      const leader = await cluster.leader()
      const machine = leader.machines.get(1)
      assert.ok(machine !== undefined)
      let release: (() => void) | undefined
      const snapshot = machine.snapshot.bind(machine)
      let made = 0
      let open = 0
      machine.snapshot = async () => {
        const first = ++made === 1
        // Nothing is applied while a view is made, so this one does come to an end, long after it was given up.
        if (first) await new Promise<void>((resolve) => (release = resolve))
        const view = await snapshot()
        open++
        return {
          bookkeeping: view.bookkeeping,
          chunks: () => view.chunks(),
          async [Symbol.asyncDispose]() {
            open--
          },
        }
      }
      await late.restart()
      await cluster.until(() => release !== undefined, 'a view that is being made')
      await cluster.sleep(1_200)
      release?.()
      await cluster.converged(names)
      assert.ok(made >= 2)
      assert.equal(late.machines.get(1)?.restores, 1)
      await cluster.sleep(1_000)
      assert.equal(open, 0, 'the one that came too late was closed, too')
    })
  })

  test('knows that it is done, wherever the last segment ends', async () => {
    for (const snapshotWindowBytes of [1, 64, 1_000, 1 << 20]) {
      const cluster = makeCluster(23, { snapshotWindowBytes })
      await cluster.run(async () => {
        const { late } = await lagging(cluster)
        const leader = await cluster.leader()
        await late.restart()
        await cluster.converged(names)
        await cluster.until(
          () => /snapshots_total\{direction="sent",outcome="done"\} 1/.test(metrics(leader)),
          `it is done with segments of ${snapshotWindowBytes}`,
          500,
        )
      })
    }
  })

  test('ends with its group', async () => {
    const cluster = makeCluster(24, { snapshotBytesPerSecond: 1_024, snapshotTimeoutMs: 4_000 })
    await cluster.run(async () => {
      const { late } = await lagging(cluster)
      const leader = await cluster.leader()
      const machine = leader.machines.get(1)
      assert.ok(machine !== undefined)
      const views = watchViews(machine, async () => {})
      await late.restart()
      await cluster.until(() => views.open === 1, 'a view')
      await cluster.sleep(50)
      await leader.stop()
      await cluster.sleep(1)
      assert.equal(views.open, 0)
      assert.equal(late.machines.get(1)?.restores, 0)
      await leader.startAgain()
      await cluster.converged(names)
      assert.equal(late.value('a'), 2)
    })
  })
})
