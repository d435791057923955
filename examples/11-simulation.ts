// A protocol of one's own in the simulator: a counter behind a network that loses, doubles and reorders messages. Asking
// again makes it live; remembering what was answered makes it right; the checker sees the difference.
import assert from 'node:assert/strict'
import {
  type CounterInput,
  checkLinearizability,
  counterModel,
  MessageNetwork,
  NetworkConditions,
  type Operation,
  Simulation,
} from 'keelson/simulation'

interface Message {
  readonly id: string
  readonly value: number
}

/** Three clients add ones, each until it has ten answers. */
function run(seed: number, remembers: boolean): readonly Operation<CounterInput, number>[] {
  const simulation = new Simulation({ seed })
  const conditions = new NetworkConditions(simulation.random('network'), simulation.faults, {
    lossProbability: 0.2,
    duplicateProbability: 0.2,
    reorderProbability: 0.2,
  })
  const network = new MessageNetwork<Message>(simulation.scheduler, conditions, (message) => ({ ...message }))
  const history: Operation<CounterInput, number>[] = []

  let total = 0
  const answers = new Map<string, number>()
  network.attach(simulation.process('server'), (from, { id, value }) => {
    const known = answers.get(id)
    if (known === undefined || !remembers) answers.set(id, (total += value))
    network.send('server', from, { id, value: answers.get(id) as number })
  })

  for (const client of ['a', 'b', 'c']) {
    const process = simulation.process(client)
    let sequence = 0
    let calledAt = 0
    const next = (): void => {
      if (++sequence > 10) return
      calledAt = simulation.nowMs
      ask(sequence)
    }
    const ask = (mine: number): void => {
      if (mine !== sequence) return
      network.send(client, 'server', { id: `${client} ${mine}`, value: 1 })
      process.environment.timers.schedule(20, () => ask(mine))
    }
    network.attach(process, (_, { id, value }) => {
      if (id !== `${client} ${sequence}`) return
      const input = { name: 'total', amount: 1 }
      history.push({ client, input, output: value, calledAt, returnedAt: simulation.nowMs })
      next()
    })
    next()
  }
  simulation.runSync()
  return history
}

const seeds = Array.from({ length: 50 }, (_, seed) => seed)
const broken = (remembers: boolean): number[] =>
  seeds.filter((seed) => checkLinearizability(counterModel, run(seed, remembers)).result === 'broken')

console.log(`with a memory of its answers: ${broken(true).length} of ${seeds.length} seeds are broken`)
console.log(`without: ${broken(false).length}`)
assert.equal(broken(true).length, 0)
assert(broken(false).length > 0)
assert.deepEqual(run(7, true), run(7, true)) // one seed is one run
