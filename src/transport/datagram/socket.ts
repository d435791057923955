import { createSocket, type RemoteInfo, type Socket, type SocketOptions } from 'node:dgram'
import { lookup, V4MAPPED } from 'node:dns'
import { isIP, isIPv6 } from 'node:net'
import { checkBytes, checkFunction } from '../../core/arguments.ts'
import { deferred } from '../../core/async.ts'
import { KeelsonError } from '../../core/errors.ts'
import type { Counter } from '../../core/metrics.ts'
import type { DatagramContext, DatagramFactory, DatagramSocket } from '../../interfaces/datagram.ts'
import { formatAddress, type HostPort, isLoopback, parseAddress } from '../addresses.ts'
import { checkDatagramContext } from '../context.ts'
import { type CheckedDatagramOptions, checkDatagramOptions, type DatagramOptions } from './options.ts'
import { GcmSealer, PlainSealer, type Sealer } from './sealer.ts'

/**
 * Packets over UDP, encrypted and authenticated when there is a key ring.
 *
 * @throws KeelsonError `INVALID_OPTION`, also for plaintext beyond the loopback interface that is not allowed explicitly
 */
export function datagram(options: DatagramOptions): DatagramFactory {
  const checked = checkDatagramOptions(options)
  return async (context) => UdpSocket.open(checkDatagramContext(context), checked)
}

/** An address that is a number already needs no resolver, which would cost a turn of the event loop for each packet. */
const lookupUnlessNumeric: NonNullable<SocketOptions['lookup']> = (host, options, callback) => {
  const family = isIP(host)
  if (family === 0) lookup(host, options, callback)
  else callback(null, host, family)
}

/** What an IPv4 address is called on an IPv6 socket (RFC 4291, 2.5.5.2). */
const mappedPrefix = '::ffff:'

/** The same on an IPv6 socket, which reaches IPv4 hosts too if it listens on all interfaces. */
const lookupForBoth: NonNullable<SocketOptions['lookup']> = (host, _, callback) => {
  const family = isIP(host)
  if (family === 6) callback(null, host, family)
  else if (family === 4) callback(null, `${mappedPrefix}${host}`, 6)
  else lookup(host, { family: 6, hints: V4MAPPED }, callback)
}

/** An IPv4 host has one name, whatever socket it is seen by. */
function unmapped(host: string): string {
  const bare = host.startsWith(mappedPrefix) ? host.slice(mappedPrefix.length) : host
  return isIP(bare) === 4 ? bare : host
}

/** An address taken apart. */
interface Place extends HostPort {
  readonly text: string
}

/** Addresses that are kept taken apart. */
const maximumPlaces = 4_096

class UdpSocket implements DatagramSocket {
  readonly address: string
  readonly maximumPayloadBytes: number
  readonly #context: DatagramContext
  readonly #options: CheckedDatagramOptions
  readonly #socket: Socket
  readonly #sealer: Sealer
  readonly #dropped: Counter
  #handler: (from: string, bytes: Uint8Array) => void = () => {}
  #closing: Promise<void> | undefined
  readonly #places = new Map<string, Place>()
  readonly #onSent = (error: Error | null): void => {
    if (error !== null) this.#drop('not sent')
  }

  private constructor(
    context: DatagramContext,
    options: CheckedDatagramOptions,
    socket: Socket,
    sealer: Sealer,
  ) {
    this.#context = context
    this.#options = options
    this.#socket = socket
    this.#sealer = sealer
    this.address = options.advertise ?? formatAddress(options.listen.host, socket.address().port)
    this.maximumPayloadBytes = options.maximumPacketBytes - sealer.overheadBytes
    this.#dropped = context.env.metrics.counter(
      'keelson_datagram_dropped_total',
      'Packets that were not sent or not delivered, by reason',
    )
    socket.on('message', (packet, from) => this.#onPacket(packet, from))
    socket.on('error', (error) => context.env.logger.error({ error }, 'the datagram socket failed'))
  }

  static async open(context: DatagramContext, options: CheckedDatagramOptions): Promise<DatagramSocket> {
    const { listen, keyRing, insecure } = options
    if (keyRing === undefined && insecure) {
      context.env.logger.warn(
        { nodeId: context.nodeId },
        'insecure: gossip is neither authenticated nor encrypted',
      )
    }
    const socket = isIPv6(listen.host)
      ? createSocket({ type: 'udp6', lookup: lookupForBoth })
      : createSocket({ type: 'udp4', lookup: lookupUnlessNumeric })
    const bound = deferred<void>()
    const onError = (cause: Error): void => {
      const message = `cannot listen on ${formatAddress(listen.host, listen.port)}: ${cause.message}; name another host or port`
      bound.reject(new KeelsonError('IO', message, { cause, outcome: 'none' }))
    }
    socket.once('error', onError)
    socket.bind({ address: listen.host, port: listen.port, exclusive: true }, () => bound.resolve())
    await bound.promise
    socket.off('error', onError)
    const sealer =
      keyRing === undefined ? new PlainSealer(context.clusterId) : new GcmSealer(keyRing, context.clusterId)
    return new UdpSocket(context, options, socket, sealer)
  }

  send(address: string, bytes: Uint8Array): void {
    const { host, port, text } = this.#place(address)
    checkBytes(bytes, 'a packet')
    if (bytes.length > this.maximumPayloadBytes) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `a packet has at most ${this.maximumPayloadBytes} bytes, not ${bytes.length}; send less at a time`,
      )
    }
    if (this.#closing !== undefined) return
    const { keyRing, insecure, maximumQueuedBytes } = this.#options
    if (keyRing === undefined && !insecure && !isLoopback(host)) {
      this.#drop('plaintext not allowed')
      return
    }
    if (this.#socket.getSendQueueSize() > maximumQueuedBytes) {
      this.#drop('queue full')
      return
    }
    this.#socket.send(this.#sealer.seal(bytes, text), port, host, this.#onSent)
  }

  onMessage(handler: (from: string, bytes: Uint8Array) => void): void {
    this.#handler = checkFunction(handler, 'the handler of packets')
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => this.#socket.close(() => resolve()))
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** An address taken apart; to do so for each packet would cost a tenth of what sending it does. */
  #place(address: string): Place {
    const known = this.#places.get(address)
    if (known !== undefined) return known
    const { host, port } = parseAddress(address)
    const place = { host, port, text: formatAddress(host, port) }
    if (this.#places.size >= maximumPlaces) this.#places.clear()
    this.#places.set(address, place)
    return place
  }

  #onPacket(packet: Buffer, from: RemoteInfo): void {
    if (this.#closing !== undefined) return
    if (packet.length > this.#options.maximumPacketBytes) {
      this.#drop('too large')
      return
    }
    const sender = formatAddress(from.family === 'IPv6' ? unmapped(from.address) : from.address, from.port)
    const payload = this.#sealer.open(
      new Uint8Array(packet.buffer, packet.byteOffset, packet.byteLength),
      sender,
    )
    if (typeof payload === 'string') {
      this.#drop(payload)
      return
    }
    try {
      this.#handler(sender, payload)
    } catch (error) {
      this.#context.env.logger.error({ error }, 'a packet handler threw')
    }
  }

  #drop(reason: string): void {
    this.#dropped.add(1, { reason })
  }
}
