import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { deadline } from '../../../src/core/async.ts'
import { text, utf8 } from '../../../src/core/bytes.ts'
import { KeelsonError } from '../../../src/core/errors.ts'
import { between, chance, pick } from '../../../src/core/random.ts'
import type { CommandId } from '../../../src/raft/group/envelope.ts'
import { SessionTable } from '../../../src/raft/group/session-table.ts'
import { drawPartition, drawPartitionShape } from '../../../src/simulation/partitions.ts'
import { Cluster, type ClusterNode } from '../support/host-cluster.ts'

const names = ['n1', 'n2', 'n3', 'n4', 'n5']

/** One client: increments a counter of its own, each time with an id, and insists until it is told the result. */
class Client {
  readonly counter: string
  readonly #cluster: Cluster
  #session = 0
  sequence = 0
  reads = 0
  /** What went wrong, if anything. */
  problem: string | undefined

  constructor(cluster: Cluster, counter: string) {
    this.#cluster = cluster
    this.counter = counter
  }

  async run(working: () => boolean): Promise<void> {
    this.#session = await this.#insist(async (node, signal) => node.group().openSession({ signal }))
    while (working() && this.problem === undefined) {
      await this.#cluster.sleep(12)
      const commandId = { session: this.#session, sequence: ++this.sequence }
      const result = await this.#insist(async (node, signal) => {
        const token = node.group().token()
        const options = { commandId, acknowledgedBelow: commandId.sequence, signal }
        return text(
          await node
            .group()
            .propose(utf8(`${this.counter}+1`), token === undefined ? options : { ...options, token }),
        )
      })
      if (result !== String(this.sequence)) this.problem = `${this.counter}: ${result} at ${this.sequence}`
      if (this.sequence % 3 !== 0) continue
      const seen = await this.#insist(async (node, signal) => {
        await node.group().read({ signal })
        return node.value(this.counter) ?? 0
      })
      this.reads++
      if (seen !== this.sequence) this.problem = `${this.counter}: read ${seen} after ${this.sequence}`
    }
  }

  async #insist<T>(act: (node: ClusterNode, signal: AbortSignal) => Promise<T>): Promise<T> {
    for (;;) {
      const node = this.#cluster.serving()
      if (node !== undefined) {
        // A call into a process that dies is never answered.
        const limit = deadline(
          this.#cluster.observer.timers,
          600,
          () => new KeelsonError('TIMEOUT', 'too slow'),
        )
        try {
          return await act(node, limit.signal)
        } catch (error) {
          if (!KeelsonError.is(error)) throw error
          if (!error.retryable && !KeelsonError.hasCode(error, 'CLOSED', 'STORE_POISONED')) throw error
        } finally {
          limit.release()
        }
      }
      await this.#cluster.sleep(15)
    }
  }
}

async function torment(cluster: Cluster, rounds: number): Promise<void> {
  const random = cluster.simulation.random('torment')
  for (let round = 0; round < rounds; round++) {
    const node = cluster.node(pick(random, names))
    const kind = random.integer(7)
    if (kind === 0 || kind === 1) {
      if (node.process.state !== 'crashed') {
        node.crash(chance(random, 0.5) ? 'power' : 'kill')
        await cluster.sleep(between(random, 10, 700))
        await node.restart()
      }
    } else if (kind === 2) {
      const heal = cluster.conditions.partition(drawPartition(random, drawPartitionShape(random), names))
      await cluster.sleep(between(random, 50, 1_500))
      heal()
    } else if (kind === 3) {
      node.process.pause()
      await cluster.sleep(between(random, 50, 1_500))
      node.process.resume()
    } else if (kind === 4) {
      cluster.network.breakConnections(node.name)
    } else if (kind === 5) {
      const leader = cluster.serving()
      const to = 1 + random.integer(names.length)
      leader
        ?.group()
        .transferLeadership(to)
        .catch(() => {})
    } else {
      const end = node.disk.stall()
      await cluster.sleep(between(random, 10, 300))
      end()
    }
    await cluster.sleep(between(random, 10, 400))
  }
}

/** Runs a cluster under faults. @returns what went wrong, if anything */
async function survive(seed: number, rounds: number): Promise<string | undefined> {
  const cluster = new Cluster({
    seed,
    limits: { compactAfterEntries: 60, keptEntries: 10, maximumApplyEntries: 7 },
    raft: { maximumTailBytes: 500 },
    maximumMessageBytes: 16 << 10,
  })
  return cluster.run(async () => {
    await cluster.bootstrap(names)
    let working = true
    const clients = [1, 2, 3].map((n) => new Client(cluster, `c${n}`))
    const work = clients.map(async (client) => client.run(() => working))
    await torment(cluster, rounds)
    working = false
    await Promise.all(work)
    for (const client of clients) {
      if (client.problem !== undefined) return client.problem
      assert.ok(client.sequence > 20 && client.reads > 5, `only ${client.sequence} commands`)
    }
    await cluster.converged(names)
    for (const name of names) {
      const node = cluster.node(name)
      for (const { counter, sequence } of clients) {
        const value = node.value(counter)
        if (value !== sequence) return `${name} ends with ${counter} = ${value}, not ${sequence}`
      }
      assert.equal(node.group().status().quarantined, false)
      assert.equal(node.group().status().stopped, undefined)
    }
    return undefined
  })
}

suite('a cluster of hosts under faults', () => {
  for (let seed = 1; seed <= 6; seed++) {
    test(`loses nothing and does nothing twice (seed ${seed})`, async () => {
      assert.equal(await survive(seed, 15), undefined)
    })
  }

  test('is caught when it does things twice', async (t) => {
    const lookup = SessionTable.prototype.lookup
    t.mock.method(SessionTable.prototype, 'lookup', function broken(this: SessionTable, id: CommandId) {
      const known = lookup.call(this, id)
      return known.type === 'duplicate' ? { type: 'new' } : known
    })
    // From the seed on that noticed last.
    for (let seed = 11; seed <= 40; seed++) if ((await survive(seed, 15)) !== undefined) return
    assert.fail('nobody noticed')
  })
})
