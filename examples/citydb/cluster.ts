import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NodeSettings } from './node-main.ts'
import { listen, type ProcessEvent } from './process-protocol.ts'
import type { ServerSettings } from './server-main.ts'

/** A process of the demo. */
export class Member {
  readonly name: string
  readonly address: string
  readonly #script: string
  readonly #settings: () => object
  readonly #preload: readonly string[]
  readonly #onEvent: (member: Member, event: ProcessEvent) => void
  #child: ChildProcess | undefined
  /** The epoch under which it leads the control plane, while it says so. */
  epoch: number | undefined
  stopped = false
  /** Its last lines on standard error, for when it ends by itself. */
  readonly complaints: string[] = []

  constructor(parts: {
    name: string
    address: string
    script: string
    settings: () => object
    preload: readonly string[]
    onEvent: (member: Member, event: ProcessEvent) => void
  }) {
    this.name = parts.name
    this.address = parts.address
    this.#script = parts.script
    this.#settings = parts.settings
    this.#preload = parts.preload
    this.#onEvent = parts.onEvent
  }

  get running(): boolean {
    return this.#child !== undefined
  }

  /** Starts the process and waits until it is ready. */
  async start(): Promise<void> {
    const child = spawn(
      process.execPath,
      [
        ...this.#preload.flatMap((file) => ['--import', file]),
        this.#script,
        JSON.stringify(this.#settings()),
      ],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    )
    this.#child = child
    this.epoch = undefined
    child.stdin.on('error', () => {})
    let ready!: () => void
    const isReady = new Promise<void>((resolve) => {
      ready = resolve
    })
    listen(
      child.stdout,
      (event) => {
        if (event.event === 'leading') this.epoch = event.epoch
        if (event.event === 'following') this.epoch = undefined
        if (event.event === 'ready') ready()
        else this.#onEvent(this, event)
      },
      (line) => this.#complain(line),
    )
    child.stderr.setEncoding('utf8')
    child.stderr.on('data', (text: string) => this.#complain(text.trimEnd()))
    const ended = once(child, 'exit').then(([code, signal]) => {
      if (this.#child === child) this.#child = undefined
      throw new Error(
        `${this.name} ended (${String(code ?? signal)}): ${this.complaints.slice(-5).join('\n')}`,
      )
    })
    ended.catch(() => {})
    await Promise.race([isReady, ended])
  }

  /** SIGKILL: no goodbye, nothing flushed by the process. */
  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    this.#child = undefined
    this.epoch = undefined
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  /** SIGSTOP: it stands still, sockets open, and knows nothing of it. */
  pause(): void {
    this.#child?.kill('SIGSTOP')
    this.stopped = true
  }

  /** SIGCONT. */
  resume(): void {
    this.#child?.kill('SIGCONT')
    this.stopped = false
  }

  #complain(line: string): void {
    this.complaints.push(line)
    if (this.complaints.length > 50) this.complaints.shift()
  }
}

const host = '127.0.0.1'

/**
 * Ports that systems do not give to outgoing connections: a port of those could be taken in the moment in which a process that
 * was killed is started again.
 */
const firstPort = 10_000
const portCount = 20_000

/** Different ports that nobody listens on, in a random place, so that two demos at once do not meet. */
async function freePorts(count: number): Promise<number[]> {
  const found: number[] = []
  const start = Math.floor(Math.random() * portCount)
  for (let i = 0; found.length < count; i++) {
    if (i === portCount) throw new Error('all ports are in use')
    const port = firstPort + ((start + i) % portCount)
    if (await isFree(port)) found.push(port)
  }
  return found
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer()
  const free = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, host, () => resolve(true))
  })
  if (free) {
    server.close()
    await once(server, 'close')
  }
  return free
}

/** All processes of the demo, with temporary directories. */
export class Cluster implements AsyncDisposable {
  readonly clusterId = 'citydb-demo'
  readonly servers: readonly Member[]
  readonly nodes: readonly Member[]
  readonly #directory: string

  private constructor(directory: string, servers: readonly Member[], nodes: readonly Member[]) {
    this.#directory = directory
    this.servers = servers
    this.nodes = nodes
  }

  static async create(options: {
    servers: number
    nodes: number
    deadAfterMs: number
    maximumRangeBytes: number
    maximumRangeRequests: number
    /** Join tokens by node name, filled in before the node first starts. */
    tokens: ReadonlyMap<string, string>
    /** Files that every process loads first. */
    preload: readonly string[]
    onEvent: (member: Member, event: ProcessEvent) => void
  }): Promise<Cluster> {
    const directory = await mkdtemp(join(tmpdir(), 'citydb-'))
    const script = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url))
    const secret = `demo-${process.pid}-${Math.random().toString(36).slice(2).padEnd(16, '0')}`
    const { preload, onEvent, deadAfterMs, maximumRangeBytes, maximumRangeRequests } = options
    const given = await freePorts(options.servers + options.nodes)
    const addresses = given.map((port) => `${host}:${port}`)
    const seeds = addresses.slice(0, options.servers)
    const member = async (
      name: string,
      at: number,
      kind: string,
      settings: () => object,
    ): Promise<Member> => {
      await mkdir(join(directory, name), { mode: 0o700 })
      return new Member({
        name,
        address: addresses[at] as string,
        script: script(kind),
        settings,
        preload,
        onEvent,
      })
    }
    const common = (
      name: string,
      at: number,
    ): Pick<ServerSettings, 'clusterId' | 'nodeId' | 'directory' | 'listen'> => ({
      clusterId: 'citydb-demo',
      nodeId: name,
      directory: join(directory, name),
      listen: { host, port: given[at] as number },
    })
    const servers: Member[] = []
    for (let i = 0; i < options.servers; i++) {
      const name = `cp${i + 1}`
      const others = seeds.filter((_, other) => other !== i)
      servers.push(
        await member(
          name,
          i,
          'server-main',
          (): ServerSettings => ({
            ...common(name, i),
            others,
            secret,
            bootstrap: i === 0,
            deadAfterMs,
            maximumRangeBytes,
            maximumRangeRequests,
          }),
        ),
      )
    }
    const nodes: Member[] = []
    for (let i = 0; i < options.nodes; i++) {
      const name = `db${i + 1}`
      const at = options.servers + i
      nodes.push(
        await member(name, at, 'node-main', (): NodeSettings => {
          const token = options.tokens.get(name)
          return {
            ...common(name, at),
            seeds,
            locality: `zone=z${(i % 3) + 1}`,
            ...(token === undefined ? {} : { token }),
          }
        }),
      )
    }
    return new Cluster(directory, servers, nodes)
  }

  /** The server that leads the control plane, as far as it said: the one with the highest epoch. */
  leader(): Member | undefined {
    return [...this.servers]
      .filter((server) => server.epoch !== undefined && server.running)
      .sort((a, b) => (b.epoch ?? 0) - (a.epoch ?? 0))[0]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.servers, ...this.nodes].map((member) => member.kill()))
    await rm(this.#directory, { recursive: true, force: true })
  }
}
