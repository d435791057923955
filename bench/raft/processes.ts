import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { LoadResult, Spent } from './load.ts'
import {
  type Answer,
  type FromProcess,
  type Hello,
  metadataGroup,
  type ProcessSettings,
  type Request,
  type ToProcess,
} from './protocol.ts'

interface Waiting {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
}

/** A process of the benchmark, asked over its IPC channel. */
export class BenchProcess {
  readonly name: string
  readonly #script: string
  readonly #settings: ProcessSettings
  readonly #waiting = new Map<number, Waiting>()
  #child: ChildProcess | undefined
  #lastNumber = 0

  constructor(script: string, settings: ProcessSettings) {
    this.name = settings.name
    this.#script = script
    this.#settings = settings
  }

  get running(): boolean {
    return this.#child !== undefined
  }

  async start(): Promise<Hello> {
    const path = fileURLToPath(new URL(`./${this.#script}.js`, import.meta.url))
    const child = fork(path, [JSON.stringify(this.#settings)])
    this.#child = child
    const [hello] = (await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(([code]) => {
        throw new Error(`${this.name} ended with code ${String(code)} before it was up`)
      }),
    ])) as [Hello]
    child.on('message', (message: FromProcess) => {
      if (message.type === 'hello') return
      const waiting = this.#waiting.get(message.number)
      this.#waiting.delete(message.number)
      if (message.type === 'answer') waiting?.resolve(message.answer)
      else waiting?.reject(new Error(`${this.name}: ${message.message}`))
    })
    child.on('exit', () => {
      if (this.#child === child) this.#child = undefined
      for (const { reject } of this.#waiting.values()) reject(new Error(`${this.name} has ended`))
      this.#waiting.clear()
    })
    return hello
  }

  tell(addresses: Readonly<Record<string, string>>): void {
    this.#send({ type: 'addresses', addresses })
  }

  async ask(request: Request): Promise<Answer> {
    const number = ++this.#lastNumber
    return new Promise<Answer>((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject })
      this.#send({ type: 'request', number, request })
    })
  }

  async load(request: Extract<Request, { type: 'load' }>): Promise<LoadResult> {
    return (await this.ask(request)) as LoadResult
  }

  async spent(): Promise<Spent> {
    return (await this.ask({ type: 'spent' })) as Spent
  }

  signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal)
  }

  async gone(): Promise<void> {
    if (this.#child !== undefined) await once(this.#child, 'exit')
  }

  async stop(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    const gone = once(child, 'exit')
    child.kill('SIGCONT')
    if (child.connected) child.disconnect()
    else child.kill('SIGKILL')
    await gone
  }

  #send(message: ToProcess): void {
    if (this.#child?.connected === true) this.#child.send(message)
  }
}

/** Three servers on loopback with a disk each, and a client. */
export class BenchCluster implements AsyncDisposable {
  readonly servers: readonly BenchProcess[]
  readonly client: BenchProcess
  readonly #directory: string
  readonly #addresses: Record<string, string> = {}

  private constructor(directory: string, store: 'segments' | 'level', clockDriftBound: number) {
    this.#directory = directory
    const names = ['n1', 'n2', 'n3']
    const settings = (name: string): ProcessSettings => ({
      name,
      directory: join(directory, name),
      store,
      servers: names,
      clockDriftBound,
    })
    this.servers = names.map((name) => new BenchProcess('server', settings(name)))
    this.client = new BenchProcess('client', settings('client'))
  }

  /** With a bound above 0 the leaders hold leases. */
  static async start(store: 'segments' | 'level', clockDriftBound = 0): Promise<BenchCluster> {
    const directory = await mkdtemp(join(tmpdir(), 'keelson-bench-'))
    const cluster = new BenchCluster(directory, store, clockDriftBound)
    try {
      await cluster.#begin()
      return cluster
    } catch (error) {
      await cluster[Symbol.asyncDispose]()
      throw error
    }
  }

  async #begin(): Promise<void> {
    const hellos = await Promise.all(
      this.servers.map(async (server) => {
        await mkdir(join(this.#directory, server.name), { mode: 0o700 })
        return this.startServer(server)
      }),
    )
    await this.client.start()
    this.#tellAll()
    const replicas = this.servers.map(({ name }, i) => ({
      replicaId: i + 1,
      nodeId: name,
      incarnation: hellos[i]?.incarnation as number,
      role: 'voter' as const,
    }))
    await Promise.all(this.servers.map(async (server) => server.ask({ type: 'begin', replicas })))
    await this.client.ask({ type: 'write' })
  }

  /** Starts a server and tells the others where it is. */
  async startServer(server: BenchProcess): Promise<Hello> {
    const hello = await server.start()
    this.#addresses[server.name] = hello.address
    this.#tellAll()
    return hello
  }

  /** The server that leads a group. */
  async leader(group: number): Promise<BenchProcess> {
    for (let i = 0; i < 1_000; i++) {
      for (const server of this.servers) {
        if (server.running && (await server.ask({ type: 'leads', group })) === true) return server
      }
      await wait(10)
    }
    throw new Error(`nobody leads group ${group} after 10 s`)
  }

  /** Has one server lead both groups, so that a failover concerns them alike. */
  async gather(group: number): Promise<BenchProcess> {
    const leader = await this.leader(group)
    for (let i = 0; i < 100; i++) {
      const other = await this.leader(metadataGroup)
      if (other === leader) return leader
      await other.ask({ type: 'handOver', group: metadataGroup, to: leader.name }).catch(() => {})
    }
    throw new Error('leadership could not be handed over')
  }

  #tellAll(): void {
    for (const process of [...this.servers, this.client]) process.tell(this.#addresses)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.servers, this.client].map(async (process) => process.stop()))
    await rm(this.#directory, { recursive: true, force: true })
  }
}
