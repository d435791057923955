// Messages one way and remote calls between two processes over the WebSocket transport on the loopback interface:
//   npm run build && node build/bench/transport.js [seconds per measurement]

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { type Channel, type Environment, nodeEnvironment, sleep, type Transport } from 'keelson'
import { Rpc } from 'keelson/transport'
import { webSocket } from 'keelson/transport/websocket'

const env = nodeEnvironment()
const seconds = Number(process.argv[2] ?? 2)

async function open(nodeId: string, server: string | undefined): Promise<Transport> {
  const factory = webSocket({ listen: { host: '127.0.0.1', port: 0 } })
  return factory({
    env,
    clusterId: 'bench',
    self: { nodeId, incarnation: 1, role: 'node' },
    resolve: (peer) => (peer === 'server' && server !== undefined ? [server] : []),
  })
}

async function serve(): Promise<void> {
  const transport = await open('server', undefined)
  const channel = transport.channel('messages')
  let received = 0
  channel.onMessage((peer, bytes) => {
    received++
    // A message of one byte asks how many came before it.
    if (bytes.length === 1) channel.send(peer.nodeId, new TextEncoder().encode(`${received - 1}`))
  })
  const rpc = new Rpc({ env, channel: transport.channel('calls', { traffic: 'control' }) })
  rpc.handle('echo', async (_peer, body) => body)
  rpc.handleStream('blocks', async function* (_peer, _body, { signal }) {
    const block = new Uint8Array(64 * 1024)
    while (!signal.aborted) yield block
  })
  channelOfStreams(transport)
  process.on('disconnect', () => void transport.close())
  process.send?.(transport.addresses[0])
}

function channelOfStreams(transport: Transport): Channel {
  const channel = transport.channel('streams')
  channel.onStream(async (_peer, _header, chunks) => {
    for await (const chunk of chunks) if (chunk.length === 0) break
  })
  return channel
}

function turn(of: Environment): Promise<void> {
  return new Promise((resolve) => of.timers.defer(resolve))
}

async function measureMessages(channel: Channel, size: number, perTurn: number): Promise<void> {
  let answer: (() => void) | undefined
  let counted = 0
  channel.onMessage((_peer, bytes) => {
    counted = Number(new TextDecoder().decode(bytes))
    answer?.()
  })
  const count = async (): Promise<number> => {
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    while (!channel.send('server', new Uint8Array(1))) await turn(env)
    await answered
    return counted
  }
  const message = new Uint8Array(size)
  const before = await count()
  const start = performance.now()
  const end = start + seconds * 1_000
  while (performance.now() < end) {
    for (let i = 0; i < perTurn; i++) if (!channel.send('server', message)) break
    await turn(env)
  }
  const received = (await count()) - before - 1
  const rate = received / ((performance.now() - start) / 1_000)
  const megabytes = ((rate * size) / 1e6).toFixed(0)
  print(`messages of ${size} B, ${perTurn} a turn`, `${thousands(rate)}/s, ${megabytes} MB/s`)
}

async function measureCalls(rpc: Rpc, size: number, outstanding: number): Promise<void> {
  const body = new Uint8Array(size)
  const times: number[] = []
  const end = performance.now() + seconds * 1_000
  const start = performance.now()
  const worker = async (): Promise<void> => {
    while (performance.now() < end) {
      const asked = performance.now()
      await rpc.call('server', 'echo', body)
      times.push(performance.now() - asked)
    }
  }
  await Promise.all(Array.from({ length: outstanding }, worker))
  const rate = times.length / ((performance.now() - start) / 1_000)
  times.sort((a, b) => a - b)
  const at = (share: number): string => (times[Math.floor(times.length * share)] as number).toFixed(2)
  print(
    `calls of ${size} B, ${outstanding} outstanding`,
    `${thousands(rate)}/s, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`,
  )
}

async function measureStreams(rpc: Rpc, channel: Channel): Promise<void> {
  const stream = await channel.openStream('server', new Uint8Array(0))
  const chunk = new Uint8Array(64 * 1024)
  let bytes = 0
  let start = performance.now()
  while (performance.now() < start + seconds * 1_000) {
    await stream.write(chunk)
    bytes += chunk.length
  }
  await stream.end()
  print('stream of 64 KiB chunks', `${(bytes / 1e3 / (performance.now() - start)).toFixed(0)} MB/s`)
  bytes = 0
  start = performance.now()
  for await (const block of rpc.stream('server', 'blocks', new Uint8Array(0))) {
    bytes += block.length
    if (performance.now() > start + seconds * 1_000) break
  }
  print('stream of a call, 64 KiB items', `${(bytes / 1e3 / (performance.now() - start)).toFixed(0)} MB/s`)
}

function thousands(value: number): string {
  return value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : `${(value / 1e3).toFixed(1)} k`
}

function print(what: string, result: string): void {
  console.log(`${what.padEnd(40)} ${result}`)
}

async function main(): Promise<void> {
  const child = fork(fileURLToPath(import.meta.url), ['server'])
  const address = await new Promise<string>((resolve) =>
    child.once('message', (text) => resolve(text as string)),
  )
  const transport = await open('client', address)
  const channel = transport.channel('messages')
  const rpc = new Rpc({ env, channel: transport.channel('calls', { traffic: 'control' }) })
  await transport.dial(address)
  await sleep(env.timers, 200)
  for (const perTurn of [1, 100, 600]) await measureMessages(channel, 100, perTurn)
  await measureMessages(channel, 64 * 1024, 4)
  for (const outstanding of [1, 64, 1_024]) await measureCalls(rpc, 100, outstanding)
  await measureCalls(rpc, 64 * 1024, 16)
  await measureStreams(rpc, channelOfStreams(transport))
  await rpc.close()
  await transport.close()
  child.disconnect()
}

if (process.argv[2] === 'server') await serve()
else await main()
