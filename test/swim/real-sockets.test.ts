import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { nodeEnvironment } from '../../src/core/node-environment.ts'
import { Swim, type SwimEvent, type SwimOptions } from '../../src/swim/index.ts'
import { datagram, KeyRing } from '../../src/transport/datagram/index.ts'

/** The local profile, ten times as fast. */
const fast = {
  profile: 'local',
  probeIntervalMs: 100,
  probeTimeoutMs: 50,
  gossipIntervalMs: 10,
  syncIntervalMs: 500,
  reconnectIntervalMs: 500,
} as const satisfies Partial<SwimOptions>

const key = new Uint8Array(32).fill(7)

async function open(
  nodeId: string,
  seeds: readonly string[],
  more: Partial<SwimOptions> & { readonly host?: string } = {},
): Promise<Swim> {
  const { host = '127.0.0.1', ...options } = more
  const env = nodeEnvironment()
  // One name for the sealed packets of all, so that it is the label that keeps clusters apart here.
  const factory = datagram({ listen: { host, port: 0 }, keyRing: new KeyRing([key]) })
  return Swim.open({
    env,
    socket: await factory({ env, clusterId: 'udp-test', nodeId }),
    nodeId,
    incarnation: 1,
    label: 'udp-test',
    seeds,
    ...fast,
    ...options,
  })
}

/** Resolves when `condition` holds, which is looked at after each change of any of these. */
async function when(swims: readonly Swim[], condition: () => boolean): Promise<void> {
  const stops: (() => void)[] = []
  try {
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (condition()) resolve()
      }
      for (const swim of swims) stops.push(swim.on('change', look))
      look()
    })
  } finally {
    for (const stop of stops) stop()
  }
}

function all(swims: readonly Swim[], nodeId: string, state: string): boolean {
  return swims.every((swim) => swim.member(nodeId)?.state === state)
}

suite('five members on loopback', { timeout: 60_000 }, () => {
  for (const host of ['127.0.0.1', '::1'])
    test(`join, tell, leave, fail and come back on ${host}`, async () => {
      const first = await open('n0', [], { host })
      const seeds = [first.self.address]
      assert.equal(seeds[0]?.startsWith(host === '::1' ? '[::1]:' : '127.0.0.1:'), true)
      const others = await Promise.all(
        ['n1', 'n2', 'n3', 'n4'].map(async (nodeId) => open(nodeId, seeds, { host })),
      )
      const [n1, n2, n3, n4] = others as [Swim, Swim, Swim, Swim]
      const everybody = [first, ...others]
      const opened = [...everybody]
      try {
        await when(everybody, () => everybody.every((swim) => swim.status().members.alive === 5))

        n2.setMetadata(new Uint8Array([7, 7]))
        await when(everybody, () => everybody.every((swim) => swim.member('n2')?.metadata.length === 2))

        const afterLeave = [first, n1, n2, n3]
        const left: SwimEvent[] = []
        first.on('change', (event) => left.push(event))
        await n4.leave()
        await n4.close()
        await when(afterLeave, () => all(afterLeave, 'n4', 'left'))
        // Listeners hear of it in a later turn than the view shows it.
        await when([first], () => left.some(({ type, member }) => type === 'left' && member.nodeId === 'n4'))
        assert.ok(!left.some(({ type, member }) => type === 'failed' && member.nodeId === 'n4'))

        await n3.close()
        const rest = [first, n1, n2]
        await when(rest, () => all(rest, 'n3', 'dead'))
        assert.match(first.explain('n3')?.text ?? '', /n3 was declared dead .* because n\d/)
        assert.equal(first.member('n4')?.state, 'left')

        const again = await open('n3', seeds, { incarnation: 2, host })
        opened.push(again)
        const now = [...rest, again]
        await when(now, () => all(now, 'n3', 'alive'))
        assert.equal(n1.member('n3')?.incarnation, 2)
        assert.ok((n1.member('n3')?.version ?? 0) > 0, 'its version goes on where the life before it ended')
      } finally {
        await Promise.all(opened.map(async (swim) => swim.close()))
      }
    })

  test('clusters of another name do not merge', async () => {
    const ours = await open('a', [])
    const foreign = await open('b', [ours.self.address], { label: 'another' })
    try {
      await new Promise<void>((resolve) => {
        const look = (): void => {
          if (ours.status().counters.foreign > 0) resolve()
          else setTimeout(look, 10)
        }
        look()
      })
      assert.equal(ours.members().length, 1)
      assert.equal(foreign.members().length, 1)
    } finally {
      await Promise.all([ours.close(), foreign.close()])
    }
  })
})
