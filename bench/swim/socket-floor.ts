import { createSocket, type Socket } from 'node:dgram'
import { setTimeout as sleep } from 'node:timers/promises'

const periodMs = 1_000
const warmUpMs = 8_000
const measuredMs = 10_000
const packet = new Uint8Array(80)

/** What bare sockets cost that send and answer as many packets as members at rest: one question a second each. */
export async function socketFloor(members: number): Promise<void> {
  const sockets = await Promise.all(Array.from({ length: members }, open))
  const timers: NodeJS.Timeout[] = []
  for (const [i, socket] of sockets.entries()) {
    const { port } = (sockets[(i + 1) % members] as Socket).address()
    const ask = (): void => socket.send(new Uint8Array([1, ...packet]), port, '127.0.0.1')
    // Each in its own time, as members do: what is done at once costs a fraction of it.
    timers.push(setTimeout(() => timers.push(setInterval(ask, periodMs)), Math.random() * periodMs))
  }
  await sleep(warmUpMs)
  const before = process.cpuUsage()
  await sleep(measuredMs)
  const { user, system } = process.cpuUsage(before)
  for (const timer of timers) clearInterval(timer)
  for (const socket of sockets) socket.close()
  const each = (user + system) / 1_000 / members / (measuredMs / 1_000)
  console.log(`| bare sockets, CPU a member and second, ms | ${each.toFixed(3)} |`)
}

async function open(): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', lookup: (host, _, callback) => callback(null, host, 4) })
  socket.on('message', (message, { port, address }) => {
    if (message[0] === 1) socket.send(packet, port, address)
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return socket
}
