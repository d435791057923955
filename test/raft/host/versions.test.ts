import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { entryKinds } from '../../../src/interfaces/index.ts'
import { encodeEnvelope } from '../../../src/raft/group/envelope.ts'
import { FramePacker } from '../../../src/raft/host/frame.ts'
import { asVersion4 } from '../support/earlier-release.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'
import { extendFrame, unreadableFrame } from '../support/later-release.ts'

const names = ['n1', 'n2', 'n3']

/** The node runs another release: its frames are rewritten on the way out. */
function speaks(node: ClusterNode, rewrite: (frame: Uint8Array) => Uint8Array): void {
  const send = node.channel.send.bind(node.channel)
  node.channel.send = (peer, bytes) => send(peer, rewrite(bytes))
}

suite('a cluster of several releases', () => {
  test('works with a node whose frames carry more than this release knows', async () => {
    for (const later of names) {
      const cluster = new Cluster({ limits: { compactAfterEntries: 30, keptEntries: 3 } })
      await cluster.run(async () => {
        await cluster.add(...names)
        speaks(cluster.node(later), extendFrame)
        await cluster.bootstrap(names)
        const first = await cluster.leader()
        for (let i = 1; i <= 50; i++) assert.equal(await cluster.propose('a+1'), String(i))
        const late = [...cluster.nodes.values()].find(({ name }) => name !== later && name !== first.name)
        assert.ok(late !== undefined)
        late.crash()
        for (let i = 51; i <= 150; i++) assert.equal(await cluster.propose('a+1'), String(i))
        await late.restart()
        await cluster.converged(names)
        await (await cluster.leader()).group().read()
        // Each of them leads once.
        for (const replicaId of [1, 2, 3]) {
          const leader = await cluster.leader()
          if (leader.group().status().replicaId === replicaId) continue
          await leader.group().transferLeadership(replicaId)
          await cluster.until(() => cluster.serving()?.group().status().replicaId === replicaId, 'it leads')
          await cluster.propose('a+1')
        }
        await cluster.converged(names)
        const metrics = (late.env.metrics as unknown as { text(): string }).text()
        assert.match(metrics, /dropped_total\{reason="unknownKind"\}/)
      })
    }
  })

  test('works with a node that tells nobody that it is there: groups rest only where it has no part', async () => {
    const cluster = new Cluster({ raft: { clockDriftBound: 0.01 } })
    await cluster.run(async () => {
      const four = [...names, 'n4']
      await cluster.add(...four)
      const old = 'n3'
      for (const name of four) {
        const { channel } = cluster.node(name)
        const send = channel.send.bind(channel)
        channel.send = (peer, bytes) => send(peer, name === old || peer === old ? asVersion4(bytes) : bytes)
      }
      const others = ['n1', 'n2', 'n4']
      await cluster.bootstrap(names, 1)
      await cluster.bootstrap(others, 2)
      for (const groupId of [1, 2]) await cluster.propose('a+1', { groupId })
      const rests = (name: string, groupId: number): boolean =>
        cluster.node(name).group(groupId).status().atRest
      await cluster.until(() => others.every((name) => rests(name, 2)), 'the other group rests')
      // Each of them leads the group of both releases once, and answers by lease.
      for (const replicaId of [1, 2, 3]) {
        const leader = await cluster.leader()
        if (leader.group().status().replicaId !== replicaId) {
          await leader.group().transferLeadership(replicaId)
          await cluster.until(() => cluster.serving()?.group().status().replicaId === replicaId, 'it leads')
        }
        await cluster.propose('a+1')
        await cluster.sleep(3_000)
        const leads = await cluster.leader()
        await leads.group().read({ readMode: 'lease' })
        // It goes on with heartbeats to the one that hears nothing else, or to all if it is that one itself.
        assert.equal(rests(leads.name, 1), false)
        assert.equal(rests(old, 1), false)
        assert.equal(leads.group().status().replicaId, replicaId, 'nobody disturbs it')
      }
      await cluster.converged(names)
      assert.ok(others.every((name) => rests(name, 2)))
    })
  })

  test('writes no entry of several commands while a member could not read it', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.add(...names)
      const old = cluster.node('n3')
      let release = 6
      speaks(old, (frame) => Uint8Array.of(release, ...frame.subarray(1)))
      await cluster.bootstrap(names)
      const leader = await cluster.leader()
      if (leader === old) {
        await leader.group().transferLeadership(1)
        await cluster.until(() => cluster.serving()?.group().status().replicaId === 1, 'another one leads')
      }
      const group = (await cluster.leader()).group()
      const session = await group.openSession()
      let sequence = 0
      const grown = async (): Promise<number> => {
        const before = group.status().lastIndex
        const commands = [1, 2, 3].map(() => ({ sequence: ++sequence, data: utf8('a+1') }))
        const outcomes = await group.proposeBatch(commands, { session, acknowledgedBelow: sequence - 2 })
        const results = outcomes.map((outcome) =>
          outcome instanceof Uint8Array ? text(outcome) : outcome.code,
        )
        assert.deepEqual(results, [sequence - 2, sequence - 1, sequence].map(String))
        return group.status().lastIndex - before
      }
      assert.equal(await grown(), 3)
      release = 7
      await cluster.propose('b+1')
      await cluster.sleep(500)
      assert.equal(await grown(), 1)
      // Nobody knows with which release it comes back.
      old.crash('kill')
      await cluster.until(() => group.status().progress.get(3)?.recentlyActive === false, 'it is missed')
      assert.equal(await grown(), 3)
      await old.restart()
      await cluster.converged(names)
      assert.equal(old.value('a'), 9)
    })
  })

  test('serves without a node that nobody can read, and says so', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.add(...names)
      speaks(cluster.node('n3'), unreadableFrame)
      await cluster.bootstrap(names)
      const leader = await cluster.leader()
      assert.notEqual(leader.name, 'n3')
      const { term } = leader.group().status()
      for (let i = 1; i <= 20; i++) assert.equal(await cluster.propose('a+1'), String(i))
      await cluster.sleep(2_000)
      assert.equal(leader.group().status().term, term, 'it disturbs nobody')
      const metrics = (leader.env.metrics as unknown as { text(): string }).text()
      assert.match(metrics, /dropped_total\{reason="PROTOCOL_VERSION"\}/)
    })
  })

  test('a replica that meets an entry of a later release stops, says so and harms nobody', async () => {
    const entries = [
      { kind: 77, data: utf8('?') },
      { kind: entryKinds.configuration, data: new Uint8Array([0x91, 99]) },
    ]
    for (const { kind, data } of entries) {
      const cluster = new Cluster()
      await cluster.run(async () => {
        await cluster.bootstrap(names)
        const leader = await cluster.leader()
        await cluster.propose('a+1')
        await cluster.converged(names)
        const old = [...cluster.nodes.values()].find((node) => node !== leader) as ClusterNode
        const { term, replicaId, lastIndex } = leader.group().status()
        const packer = new FramePacker(old.store.incarnation)
        packer.add(1, {
          kind: 'append',
          from: replicaId,
          to: old.group().status().replicaId,
          term,
          prevIndex: lastIndex,
          prevTerm: term,
          commit: 0,
          entries: [{ index: lastIndex + 1, term, kind: kind as 1, data }],
        })
        leader.channel.send(old.name, packer.finish())
        await cluster.until(() => old.group().status().stopped !== undefined, 'it stops')
        assert.equal(old.group().status().stopped?.code, 'FORMAT_VERSION')
        assert.match(old.group().status().stopped?.message ?? '', /upgrade this node/)
        assert.equal(await cluster.propose('a+1'), '2')
        // What it had is unharmed: after the upgrade it goes on.
        old.crash('kill')
        await old.restart()
        await cluster.converged(names)
        assert.equal(old.value('a'), 2)
      })
    }
  })

  test('a command of a later envelope stops each replica that is to apply it, and its log stays', async () => {
    const cluster = new Cluster()
    await cluster.run(async () => {
      await cluster.bootstrap(names)
      const leader = await cluster.leader()
      await cluster.propose('a+1')
      const later = encodeEnvelope(utf8('a+1'), 0, undefined, 0)
      later[0] = 3
      // As a leader of a later release appends it.
      const proposal = { kind: entryKinds.command, data: later, index: 0, term: 0, settle: () => {} }
      assert.equal(leader.group().replica?.propose(proposal), undefined)
      const stopped = (): ClusterNode[] =>
        [...cluster.nodes.values()].filter((node) => node.group().status().stopped !== undefined)
      // Each leader commits it and stops; who is left has no majority.
      await cluster.until(() => stopped().length >= 2, 'leaders stop')
      for (const node of stopped()) assert.equal(node.group().status().stopped?.code, 'FORMAT_VERSION')
    })
  })
})
