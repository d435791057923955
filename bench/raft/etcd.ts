// Three members of an etcd that is installed on this machine, and a client for its gRPC interface: just enough of HTTP/2
// framing and protobuf for puts and linearizable gets.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import { type ClientHttp2Session, connect } from 'node:http2'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

const putPath = '/etcdserverpb.KV/Put'
const rangePath = '/etcdserverpb.KV/Range'
const statusPath = '/etcdserverpb.Maintenance/Status'

/** A client of one member. Calls share one connection. */
export class EtcdClient {
  readonly #session: ClientHttp2Session

  constructor(endpoint: string) {
    this.#session = connect(endpoint)
    // What breaks shows in the calls.
    this.#session.on('error', () => {})
  }

  async put(key: Uint8Array, value: Uint8Array): Promise<void> {
    await this.#call(putPath, message([bytesField(1, key), bytesField(2, value)]))
  }

  /** A linearizable read, as etcd does it by default. */
  async get(key: Uint8Array): Promise<void> {
    await this.#call(rangePath, message([bytesField(1, key)]))
  }

  /** Whether this member leads. */
  async leads(): Promise<boolean> {
    const fields = varints(await this.#call(statusPath, message([])))
    const header = fields.get(1)
    const member = header instanceof Uint8Array ? varints(header).get(2) : undefined
    return member !== undefined && member === fields.get(4)
  }

  async #call(path: string, body: Uint8Array): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ':method': 'POST',
        ':path': path,
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      const parts: Buffer[] = []
      let status = 'none'
      let reason = ''
      const note = (headers: IncomingHttpHeaders): void => {
        status = String(headers['grpc-status'] ?? status)
        reason = String(headers['grpc-message'] ?? reason)
      }
      stream.on('response', note)
      stream.on('trailers', note)
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('error', reject)
      stream.on('end', () => {
        if (status === '0') resolve(Buffer.concat(parts).subarray(5))
        else reject(new Error(`etcd answered ${path} with status ${status}: ${reason}`))
      })
      stream.end(body)
    })
  }

  close(): void {
    this.#session.destroy()
  }
}

/** A gRPC frame: not compressed, length, fields. */
function message(fields: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(fields)
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}

function bytesField(number: number, bytes: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of((number << 3) | 2), varint(bytes.length), bytes])
}

function varint(value: number): Uint8Array {
  const out: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...out, rest])
    out.push((rest % 128) | 128)
  }
}

/** Numbers and byte strings of a protobuf message, by field. */
function varints(bytes: Uint8Array): Map<number, bigint | Uint8Array> {
  const fields = new Map<number, bigint | Uint8Array>()
  let at = 0
  const read = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] as number
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const tag = Number(read())
    if ((tag & 7) === 0) fields.set(tag >> 3, read())
    else if ((tag & 7) === 2) {
      const length = Number(read())
      fields.set(tag >> 3, bytes.subarray(at, at + length))
      at += length
    } else throw new Error('a field of a kind that etcd does not send here')
  }
  return fields
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port was given')
  return address.port
}

/** Three members on loopback, with fsync as etcd does it by default. */
export class EtcdCluster implements AsyncDisposable {
  readonly #children: readonly ChildProcess[]
  readonly #directory: string
  readonly endpoints: readonly string[]

  private constructor(children: readonly ChildProcess[], directory: string, endpoints: readonly string[]) {
    this.#children = children
    this.#directory = directory
    this.endpoints = endpoints
  }

  /** @param binary path or name of the program `etcd` */
  static async start(binary: string): Promise<EtcdCluster> {
    const directory = await mkdtemp(join(tmpdir(), 'keelson-bench-etcd-'))
    const members = await Promise.all(
      ['e1', 'e2', 'e3'].map(async (name) => ({
        name,
        client: `http://127.0.0.1:${await freePort()}`,
        peer: `http://127.0.0.1:${await freePort()}`,
      })),
    )
    const initial = members.map(({ name, peer }) => `${name}=${peer}`).join(',')
    const children = members.map(({ name, client, peer }) =>
      spawn(
        binary,
        Object.entries({
          name: name,
          'data-dir': join(directory, name),
          logger: 'zap',
          'log-level': 'error',
          'listen-client-urls': client,
          'advertise-client-urls': client,
          'listen-peer-urls': peer,
          'initial-advertise-peer-urls': peer,
          'initial-cluster': initial,
          'initial-cluster-state': 'new',
        }).flatMap(([option, value]) => [`--${option}`, value]),
        { stdio: 'ignore' },
      ),
    )
    const cluster = new EtcdCluster(
      children,
      directory,
      members.map(({ client }) => client),
    )
    try {
      await Promise.all(children.map(async (child) => once(child, 'spawn')))
    } catch (cause) {
      await cluster[Symbol.asyncDispose]()
      const advice = "install Debian's package etcd-server, or say where it is with --etcd-binary"
      throw new Error(`etcd cannot be started as ${binary}; ${advice}`, { cause })
    }
    try {
      await cluster.leader()
      return cluster
    } catch (error) {
      await cluster[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Where the leader listens: to speak to it directly spares etcd the forwarding. */
  async leader(): Promise<string> {
    for (let i = 0; i < 200; i++) {
      for (const endpoint of this.endpoints) {
        const client = new EtcdClient(endpoint)
        const leads = await client.leads().catch(() => false)
        client.close()
        if (leads) return endpoint
      }
      await wait(100)
    }
    throw new Error('etcd has no leader after 20 s')
  }

  /** Processor time of all members so far, in microseconds. */
  async cpuMicroseconds(read: (pid: number) => Promise<number>): Promise<number> {
    const each = await Promise.all(this.#children.map(async ({ pid }) => read(pid as number)))
    return each.reduce((sum, part) => sum + part, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (child.pid === undefined || child.exitCode !== null) return
        const gone = once(child, 'exit')
        child.kill('SIGKILL')
        await gone
      }),
    )
    await rm(this.#directory, { recursive: true, force: true })
  }
}
