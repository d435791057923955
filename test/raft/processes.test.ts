import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Deferred, deferred } from '../../src/core/async.ts'
import { KeelsonError, type SerializedError } from '../../src/core/errors.ts'
import type { Request } from './support/process-node.ts'

const program = fileURLToPath(new URL('./support/process-node.js', import.meta.url))
const names = ['n1', 'n2', 'n3']

interface Status {
  readonly role: string
  readonly term: number
  readonly appliedIndex: number
  readonly lastIndex: number
  readonly leader: string | undefined
  readonly serving: boolean
}

/** A node in a process of its own, over its lives. */
class NodeProcess {
  readonly name: string
  readonly #directory: string
  readonly #store: string
  #child: ChildProcess | undefined
  #calls = new Map<number, Deferred<unknown>>()
  #lastId = 0
  address = ''
  incarnation = 0

  constructor(name: string, directory: string, store: string) {
    this.name = name
    this.#directory = directory
    this.#store = store
  }

  get alive(): boolean {
    return this.#child !== undefined
  }

  async start(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const child = fork(program, [this.#directory, this.name, this.#store], { stdio: 'inherit' })
    const ready = deferred<unknown>()
    const calls = new Map<number, Deferred<unknown>>([[0, ready]])
    this.#calls = calls
    child.on('message', ({ id, value, error }: { id: number; value: unknown; error?: SerializedError }) => {
      const call = calls.get(id)
      calls.delete(id)
      if (error === undefined) call?.resolve(value)
      else call?.reject(KeelsonError.fromJSON(error))
    })
    child.on('exit', () => {
      for (const call of calls.values()) {
        call.reject(new KeelsonError('UNREACHABLE', `${this.name} died`, { outcome: 'unknown' }))
      }
      calls.clear()
      if (this.#child === child) this.#child = undefined
    })
    this.#child = child
    const hello = (await ready.promise) as { address: string; incarnation: number }
    this.address = hello.address
    this.incarnation = hello.incarnation
  }

  async call<T = unknown>(request: Request): Promise<T> {
    const child = this.#child
    if (child === undefined) throw new KeelsonError('UNREACHABLE', `${this.name} is dead`)
    const id = ++this.#lastId
    const call = deferred<unknown>()
    this.#calls.set(id, call)
    child.send({ id, request }, () => {})
    return call.promise as Promise<T>
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === undefined) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
}

for (const store of ['segments', 'level'] as const) {
  test(`three processes on ${store} are killed and started again and lose nothing`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'keelson-raft-'))
    const nodes = names.map((name) => new NodeProcess(name, join(directory, name), store))
    t.after(async () => {
      for (const node of nodes) await node.kill()
      await rm(directory, { recursive: true, force: true })
    })
    const introduce = async (): Promise<void> => {
      const addresses = Object.fromEntries(nodes.map((node) => [node.name, node.address]))
      for (const node of nodes) await node.call({ type: 'addresses', addresses })
    }
    const leader = async (): Promise<NodeProcess> => {
      for (;;) {
        for (const node of nodes) {
          if (!node.alive) continue
          // It may die while it is asked.
          const status = await node.call<Status>({ type: 'status' }).catch(() => undefined)
          if (status?.serving === true) return node
        }
        await delay(10)
      }
    }
    /** Asks whoever leads until there is an answer; sound for commands with an id and for reads. */
    const insist = async <T>(request: Request): Promise<T> => {
      for (;;) {
        const node = await leader()
        try {
          return await node.call<T>(request)
        } catch (error) {
          if (!KeelsonError.is(error) || !error.retryable) throw error
        }
        await delay(10)
      }
    }

    await Promise.all(nodes.map(async (node) => node.start()))
    await introduce()
    const replicas = nodes.map(({ name, incarnation }, i) => ({
      replicaId: i + 1,
      nodeId: name,
      incarnation,
      role: 'voter' as const,
    }))
    await Promise.all(nodes.map(async (node) => node.call({ type: 'bootstrap', replicas })))
    const session = await insist<number>({ type: 'openSession' })

    let sequence = 0
    let acknowledged = 0
    let writing = true
    const writer = async (): Promise<void> => {
      while (writing) {
        const result = await insist<string>({ type: 'propose', line: 'a+1', session, sequence: ++sequence })
        assert.equal(Number(result), sequence, 'every command took effect once')
        acknowledged = sequence
      }
    }
    const work = writer()
    work.catch(() => {})
    const progress = async (count: number): Promise<void> => {
      const from = acknowledged
      while (acknowledged < from + count) {
        await Promise.race([delay(5), work])
      }
    }

    await progress(30)
    for (const round of [0, 1]) {
      // First the leader, then a follower.
      const current = await leader()
      const victim = round === 0 ? current : (nodes.find((node) => node !== current) as NodeProcess)
      await victim.kill()
      await progress(50)
      await victim.start()
      await introduce()
      await progress(20)
    }
    await Promise.all(nodes.map(async (node) => node.kill()))
    await Promise.all(nodes.map(async (node) => node.start()))
    await introduce()
    await progress(30)
    writing = false
    await work

    assert.equal(await insist<number>({ type: 'read', name: 'a' }), sequence)
    for (const node of nodes) {
      while ((await node.call<number>({ type: 'local', name: 'a' })) !== sequence) await delay(10)
    }
  })
}
