import assert from 'node:assert/strict'
import { utf8 } from '../../core/bytes.ts'
import { appliedOf, collect, plain, type StateMachineCase, stream } from './harness.ts'

/** All cases. */
export const stateMachineCases: readonly StateMachineCase[] = [
  {
    name: 'a new machine has no bookkeeping',
    body: async ({ open }) => {
      const place = await open()
      assert.equal(place.applied, 0)
    },
  },
  {
    name: 'commands change the state and give one result each',
    body: async ({ open }) => {
      const replica = await open()
      const seen = new Set([await replica.describe()])
      for (let i = 0; i < 5; i++) {
        assert.equal((await replica.apply(1)).length, 1)
        seen.add(await replica.describe())
      }
      assert.equal((await replica.apply(4)).length, 4)
      seen.add(await replica.describe())
      assert.equal(seen.size, 7, 'the subject promised commands that change the state')
    },
  },
  {
    name: 'equal commands make equal results and states, however they are batched',
    body: async ({ open, other }) => {
      const [a, b] = [await open(), await other()]
      const results = [...(await a.apply(7)), ...(await a.apply(0)), ...(await a.apply(3))]
      const others: string[] = []
      for (let i = 0; i < 10; i++) others.push(...(await b.apply(1)))
      assert.deepEqual(others, results)
      assert.equal(await b.describe(), await a.describe())
    },
  },
  {
    name: 'the bytes of a command are not used after it was applied',
    body: async ({ open }) => {
      const first = await open()
      await first.apply(3)
      const before = await first.describe()
      first.overwriteCommands()
      assert.equal(await first.describe(), before)
      await first.machine.flush()
      const second = await open()
      assert.equal(await second.describe(), before)
    },
  },
  {
    name: 'state and bookkeeping are there after closing and opening',
    body: async ({ open }) => {
      const first = await open()
      await first.apply(3, { key: 'configuration', value: utf8('one') })
      await first.apply(2)
      const before = await first.describe()
      await first.machine.flush()
      const second = await open()
      assert.equal(second.applied, 5)
      assert.equal(await second.describe(), before)
    },
  },
  {
    name: 'bookkeeping is replaced, deleted, and kept when it is not named',
    body: async ({ open, other }) => {
      const first = await open()
      await first.apply(1, { key: 'a', value: utf8('1') }, { key: 'b', value: utf8('1') })
      await first.apply(1, { key: 'b', value: utf8('2') }, { key: 'c', value: new Uint8Array(0) })
      await first.apply(0, { key: 'a', value: undefined }, { key: 'never', value: undefined })
      const before = await first.describe()
      await using snapshot = await first.machine.snapshot()
      assert.deepEqual(plain(snapshot.bookkeeping), { applied: '2', b: '2', c: '' })
      const chunks = await collect(snapshot.chunks())
      const copy = await other()
      await copy.machine.restore(snapshot.bookkeeping, stream(chunks))
      assert.equal(await copy.describe(), before, 'bookkeeping is no part of the state')
    },
  },
  {
    name: 'a batch without commands stores its bookkeeping',
    body: async ({ open }) => {
      const first = await open()
      await first.apply(1)
      const before = await first.describe()
      first.applied = 41
      await first.apply(0)
      await first.machine.flush()
      const second = await open()
      assert.equal(second.applied, 41)
      assert.equal(await second.describe(), before)
    },
  },
  {
    name: 'what was flushed survives a crash',
    body: async ({ open, crash }) => {
      if (crash === undefined) return
      const first = await open()
      await first.apply(4)
      await first.machine.flush()
      const before = await first.describe()
      await crash()
      const second = await open()
      assert.equal(second.applied, 4)
      assert.equal(await second.describe(), before)
    },
  },
  {
    name: 'a crash leaves a state that its bookkeeping tells of, not older than the last flush',
    body: async ({ open, crash, other }) => {
      if (crash === undefined) return
      const model = await other()
      const states = [await model.describe()]
      for (let i = 1; i <= 60; i++) {
        await model.apply(1)
        states.push(await model.describe())
      }
      let flushed = 0
      for (let round = 0; round < 10; round++) {
        const replica = await open()
        assert.ok(replica.applied >= flushed, `flushed ${flushed}, found ${replica.applied}`)
        assert.equal(
          await replica.describe(),
          states[replica.applied],
          'bookkeeping and state belong together',
        )
        flushed = replica.applied
        for (let i = 0; i < 5 && replica.applied < 55; i++) {
          await replica.apply(1 + (i % 3))
          if (i !== round % 5) continue
          await replica.machine.flush()
          flushed = replica.applied
        }
        await crash()
      }
    },
  },
  {
    name: 'a snapshot makes another replica equal, which then goes on alike',
    body: async ({ open, other }) => {
      const [a, b] = [await open(), await other()]
      await a.apply(20)
      await b.apply(3, { key: 'old', value: utf8('1') })
      await using snapshot = await a.machine.snapshot()
      assert.equal(appliedOf(snapshot.bookkeeping), 20)
      await b.machine.restore(snapshot.bookkeeping, snapshot.chunks())
      b.applied = 20
      assert.equal(await b.describe(), await a.describe())
      assert.deepEqual(await b.apply(3), await a.apply(3))
      assert.equal(await b.describe(), await a.describe())
      await using again = await b.machine.snapshot()
      assert.deepEqual(plain(again.bookkeeping), { applied: '23' }, 'the old bookkeeping is gone')
    },
  },
  {
    name: 'a snapshot is of one moment, whatever is applied while it is read',
    body: async ({ open, other }) => {
      const [a, b] = [await open(), await other()]
      await a.apply(10)
      const before = await a.describe()
      await using snapshot = await a.machine.snapshot()
      await a.apply(5)
      const chunks: Uint8Array[] = []
      for await (const chunk of snapshot.chunks()) {
        chunks.push(new Uint8Array(chunk))
        await a.apply(1)
      }
      assert.equal(appliedOf(snapshot.bookkeeping), 10)
      await b.machine.restore(snapshot.bookkeeping, stream(chunks))
      assert.equal(await b.describe(), before)
    },
  },
  {
    name: 'several snapshots may be open, and one may be thrown away unread',
    body: async ({ open, other }) => {
      const [a, b] = [await open(), await other()]
      await a.apply(2)
      const before = await a.describe()
      const first = await a.machine.snapshot()
      await a.apply(2)
      const second = await a.machine.snapshot()
      await second[Symbol.asyncDispose]()
      await b.machine.restore(first.bookkeeping, first.chunks())
      await first[Symbol.asyncDispose]()
      assert.equal(await b.describe(), before)
    },
  },
  {
    name: 'a snapshot of an empty machine can be restored',
    body: async ({ open, other }) => {
      const [a, b] = [await open(), await other()]
      const empty = await a.describe()
      await b.apply(3)
      await using snapshot = await a.machine.snapshot()
      await b.machine.restore(snapshot.bookkeeping, snapshot.chunks())
      assert.equal(await b.describe(), empty)
    },
  },
  {
    name: 'a restored state is durable at once',
    body: async ({ open, crash, other }) => {
      if (crash === undefined) return
      const [a, b] = [await other(), await open()]
      await a.apply(12)
      await b.apply(3)
      await using snapshot = await a.machine.snapshot()
      await b.machine.restore(snapshot.bookkeeping, snapshot.chunks())
      await crash()
      const again = await open()
      assert.equal(again.applied, 12)
      assert.equal(await again.describe(), await a.describe())
    },
  },
  {
    name: 'a broken transfer leaves the old state, now and after a restart',
    body: async ({ open, other }) => {
      const [a, b] = [await other(), await open()]
      await a.apply(12)
      await b.apply(3)
      const before = await b.describe()
      await using snapshot = await a.machine.snapshot()
      const chunks = await collect(snapshot.chunks())
      const broken = new Error('the transfer broke off')
      for (const part of [[], chunks]) {
        const transfer = stream(part, () => Promise.reject(broken))
        await assert.rejects(b.machine.restore(snapshot.bookkeeping, transfer), broken)
        assert.equal(await b.describe(), before)
      }
      await b.apply(1)
      const after = await b.describe()
      await b.machine.flush()
      const again = await open()
      assert.equal(again.applied, 4)
      assert.equal(await again.describe(), after)
      await again.machine.restore(snapshot.bookkeeping, stream(chunks))
      assert.equal(await again.describe(), await a.describe())
    },
  },
  {
    name: 'a crash in the middle of a restore leaves the old state',
    body: async ({ open, crash, other }) => {
      if (crash === undefined) return
      const [a, b] = [await other(), await open()]
      await a.apply(12)
      await b.apply(3)
      await b.machine.flush()
      const before = await b.describe()
      await using snapshot = await a.machine.snapshot()
      const chunks = await collect(snapshot.chunks())
      let reached!: () => void
      const middle = new Promise<void>((resolve) => {
        reached = resolve
      })
      const hanging = stream(chunks, () => {
        reached()
        return new Promise<never>(() => {})
      })
      void b.machine.restore(snapshot.bookkeeping, hanging).catch(() => {})
      await middle
      await crash()
      const again = await open()
      assert.equal(again.applied, 3)
      assert.equal(await again.describe(), before)
    },
  },
  {
    name: 'a destroyed state is gone',
    body: async ({ open, other }) => {
      const empty = await (await other()).describe()
      const first = await open()
      await first.apply(5)
      await first.machine.flush()
      await first.machine.destroy()
      const second = await open()
      assert.equal(second.applied, 0)
      assert.equal(await second.describe(), empty)
    },
  },
  {
    name: 'a crash while a state is destroyed leaves all of it or an empty one',
    body: async ({ open, crash, other }) => {
      if (crash === undefined) return
      const empty = await (await other()).describe()
      for (let turns = 0; turns < 60; turns++) {
        const replica = await open()
        if (replica.applied === 0) {
          assert.equal(await replica.describe(), empty, 'nothing is left but what the bookkeeping tells of')
          await replica.apply(5)
          await replica.machine.flush()
        }
        const before = await replica.describe()
        void replica.machine.destroy().catch(() => {})
        for (let turn = 0; turn < turns; turn++) await Promise.resolve()
        await crash()
        const again = await open()
        assert.equal(await again.describe(), again.applied === 0 ? empty : before)
      }
    },
  },
  {
    name: 'closing again does nothing',
    body: async ({ open }) => {
      const { machine } = await open()
      await machine.close()
      await machine.close()
    },
  },
]
