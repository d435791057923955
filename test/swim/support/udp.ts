import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { DatagramSocket } from '../../../src/interfaces/datagram.ts'

/** A plain UDP socket on loopback, for tests of the protocol alone. */
export async function udpSocket(): Promise<DatagramSocket> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  let closed: Promise<void> | undefined
  const close = async (): Promise<void> => {
    closed ??= new Promise((resolve) => {
      socket.close(() => resolve())
    })
    await closed
  }
  return {
    address: `127.0.0.1:${socket.address().port}`,
    maximumPayloadBytes: 1_400,
    send(address, bytes) {
      if (closed !== undefined) return
      const colon = address.lastIndexOf(':')
      socket.send(bytes, Number(address.slice(colon + 1)), address.slice(0, colon), () => {})
    },
    onMessage(handler) {
      socket.on('message', (bytes, { address, port }) => handler(`${address}:${port}`, bytes))
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}
