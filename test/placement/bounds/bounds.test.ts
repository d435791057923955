import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import highsModule, { type LegacyHighs } from 'highs'
import { SeededRandom } from '../../../src/core/random.ts'
import { nowhere, type PlacementColumns } from '../../../src/placement/core/assignment.ts'
import {
  type AllowedNodes,
  balanceBound,
  fairShares,
  sheddingBound,
} from '../../../src/placement/core/bounds/balance-bound.ts'
import { FlowNetwork } from '../../../src/placement/core/bounds/flow.ts'
import { repairTimeBound } from '../../../src/placement/core/bounds/repair-bound.ts'
import { utilisationBound } from '../../../src/placement/core/bounds/utilisation-bound.ts'
import { replicaBits } from '../../../src/placement/core/snapshot.ts'
import { drawColumns } from '../support/columns.ts'

// The package's types say that its default export is the module.
const loadHighs = highsModule as unknown as () => Promise<LegacyHighs>
const highs = await loadHighs()

const near = (a: number, b: number, what: string): void =>
  assert.ok(Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(a), Math.abs(b)), `${what}: ${a} and ${b}`)

/** The least of a sum of variables under constraints, by the oracle; undefined when there is none. */
function least(objective: readonly string[], constraints: readonly string[]): number | undefined {
  const text = `Minimize\n obj: ${objective.length === 0 ? '0 none' : objective.join(' + ')}\nSubject To\n ${constraints.join('\n ')}\nEnd`
  const solution = highs.solve(text)
  if (solution.Status === 'Infeasible') return undefined
  assert.equal(solution.Status, 'Optimal')
  return solution.ObjectiveValue
}

const holderOf = (columns: PlacementColumns, slot: number): number =>
  ((columns.status[slot] as number) & replicaBits.lost) === 0 ? (columns.home[slot] as number) : nowhere

/** Masks of two classes that leave some nodes out. */
function drawAllowed(random: SeededRandom, nodes: number): AllowedNodes {
  const masks = [undefined, Uint8Array.from({ length: nodes }, () => (random.integer(3) === 0 ? 0 : 1))]
  return (ruleClass) => masks[ruleClass]
}

describe('the bytes that balance moves at least', () => {
  it('are what a linear program says that cuts replicas to pieces', () => {
    let [moved, stuck] = [0, 0]
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SeededRandom(seed)
      const columns = drawColumns(random, {
        missing: seed % 2 === 0 ? 0.2 : 0,
        classes: 2,
        leaderLoad: false,
      })
      const allowed = drawAllowed(random, columns.nodeCount)
      const bound = balanceBound(columns, 'bytes', 0.05, allowed)
      const shares = fairShares(columns, 0, 0.05)
      const objective: string[] = []
      const into: string[][] = Array.from({ length: columns.nodeCount }, () => [])
      const constraints: string[] = []
      for (let slot = 0; slot < columns.slotCount; slot++) {
        const amount = columns.load[slot * 2] as number
        const from = holderOf(columns, slot)
        const mask = allowed(columns.ruleClass?.[columns.rangeOf[slot] as number] as number, true)
        const pieces: string[] = []
        for (let node = 0; node < columns.nodeCount; node++) {
          const may = columns.eligible[node] === 1 && (mask === undefined || mask[node] === 1)
          if (node !== from && !may) continue
          pieces.push(`x${slot}_${node}`)
          into[node]?.push(`x${slot}_${node}`)
          if (from >= 0 && node !== from) objective.push(`x${slot}_${node}`)
        }
        if (pieces.length > 0) constraints.push(`${pieces.join(' + ')} = ${amount}`)
        else if (amount > 0) constraints.push('none >= 1', 'none <= 0')
      }
      into.forEach((pieces, node) => {
        if (pieces.length > 0) constraints.push(`${pieces.join(' + ')} <= ${shares[node]}`)
      })
      const exact = least(objective, constraints)
      if (exact === undefined) {
        assert.ok(bound.stuck > 0, `seed ${seed}: nothing is stuck, and the oracle finds no way`)
        stuck++
        continue
      }
      assert.equal(bound.stuck, 0, `seed ${seed}: stuck, and the oracle finds a way`)
      near(bound.bytes, exact, `seed ${seed}`)
      if (exact > 0) moved++
    }
    assert.ok(moved > 10 && stuck > 3, `${moved} to move, ${stuck} stuck`)
  })

  it('for another load dimension are what a linear program says, node by node', () => {
    let moved = 0
    for (let seed = 1; seed <= 40; seed++) {
      const columns = drawColumns(new SeededRandom(seed), { leaderLoad: seed % 2 === 0, missing: 0.1 })
      const bound = sheddingBound(columns, 'cpu', 0.1)
      const shares = fairShares(columns, 1, 0.1)
      const objective: string[] = []
      const constraints: string[] = []
      for (let node = 0; node < columns.nodeCount; node++) {
        const left: string[] = []
        let used = 0
        for (let slot = 0; slot < columns.slotCount; slot++) {
          if (holderOf(columns, slot) !== node) continue
          const range = columns.rangeOf[slot] as number
          const alone = (columns.firstSlot[range + 1] as number) - (columns.firstSlot[range] as number) === 1
          const led =
            alone && columns.homeLeader[range] === slot ? (columns.leaderLoad?.[range * 2 + 1] ?? 0) : 0
          const amount = (columns.load[slot * 2 + 1] as number) + led
          used += amount
          objective.push(`${columns.moveBytes[slot]} y${slot}`)
          constraints.push(`y${slot} <= 1`)
          if (amount > 0) left.push(`${amount} y${slot}`)
        }
        const excess = used - (shares[node] as number)
        if (excess > 0) constraints.push(`${left.join(' + ')} >= ${excess}`)
      }
      const exact = least(objective, constraints) as number
      assert.equal(bound.stuck, 0)
      near(bound.bytes, exact, `seed ${seed}`)
      if (exact > 0) moved++
    }
    assert.ok(moved > 20, `${moved}`)
  })

  it('are nothing where all is even, and exactly what a new node is to get where it is not', () => {
    const columns = drawColumns(new SeededRandom(1), { nodes: 4, ranges: 30, replicas: 1, leaderLoad: false })
    const even: PlacementColumns = {
      ...columns,
      eligible: new Uint8Array(4).fill(1),
      capacity: new Float64Array(8).fill(1000),
      load: new Float64Array(60).fill(1),
      home: Int32Array.from({ length: 30 }, (_, slot) => slot % 3),
    }
    // 30 on three of four nodes: 2.5 leave each of them, and nothing less is enough.
    near(balanceBound(even, 'bytes', 0).bytes, 7.5, 'without tolerance')
    assert.equal(balanceBound({ ...even, home: even.home.map((_, i) => i % 4) }, 'bytes', 0.1).bytes, 0)
  })
})

describe('the utilisation of the fullest node', () => {
  it('is at least the bound in every placement of small clusters', () => {
    const reasons = new Set<string>()
    for (let seed = 1; seed <= 150; seed++) {
      const random = new SeededRandom(seed)
      const drawn = drawColumns(random, {
        nodes: 4,
        ranges: 2,
        replicas: 3,
        zones: 2,
        classes: 2,
        leaderLoad: false,
      })
      const columns = {
        ...drawn,
        eligible: new Uint8Array(4).fill(1),
        capacity: drawn.capacity.map(() => 5 + random.integer(20)),
      }
      const zone = columns.domains('zone')
      const zoneMask = Uint8Array.from(zone.of, (of) => (of === 0 ? 1 : 0))
      const allowed: AllowedNodes = (ruleClass) => (ruleClass === 1 ? zoneMask : undefined)
      const limit = seed % 3 === 0 ? 1 : Number.POSITIVE_INFINITY
      const bound = utilisationBound(columns, 'bytes', ['zone'], allowed, () => limit)
      const best = bestUtilisation(columns, allowed, zone.of, limit)
      assert.ok(
        bound.utilisation <= best + 1e-9,
        `seed ${seed}: ${bound.utilisation} (${bound.why}), and ${best} is possible`,
      )
      if (best !== Number.POSITIVE_INFINITY) reasons.add(bound.why.replace(/zone-\d|range \d/, ''))
    }
    assert.ok(reasons.size >= 3, [...reasons].join('; '))
  })

  /** The lowest that the fullest node can have, by trying all: one replica of a range on a node. */
  function bestUtilisation(
    columns: PlacementColumns,
    allowed: AllowedNodes,
    zoneOf: Int32Array,
    limit: number,
  ): number {
    const used = new Float64Array(columns.nodeCount)
    const place = new Int32Array(columns.slotCount).fill(nowhere)
    let best = Number.POSITIVE_INFINITY
    const go = (slot: number): void => {
      const now = used.reduce(
        (most, amount, node) => Math.max(most, amount / (columns.capacity[node * 2] as number)),
        0,
      )
      if (now >= best) return
      if (slot === columns.slotCount) {
        best = now
        return
      }
      const range = columns.rangeOf[slot] as number
      const mask = allowed(columns.ruleClass?.[range] as number, true)
      for (let node = 0; node < columns.nodeCount; node++) {
        if (mask !== undefined && mask[node] === 0) continue
        let [same, together] = [0, 0]
        for (let other = columns.firstSlot[range] as number; other < slot; other++) {
          if (place[other] === node) same++
          if (zoneOf[place[other] as number] === zoneOf[node]) together++
        }
        if (same > 0 || together >= limit) continue
        place[slot] = node
        used[node] = (used[node] as number) + (columns.load[slot * 2] as number)
        go(slot + 1)
        used[node] = (used[node] as number) - (columns.load[slot * 2] as number)
        place[slot] = nowhere
      }
    }
    go(0)
    return best
  }
})

describe('repair', () => {
  const base = { detectionMs: 500, ingress: [100, 100], egress: [50, 50] }

  it('takes as long as detection when nothing is missing', () => {
    assert.deepEqual(repairTimeBound({ ...base, copies: [] }).ms, 500)
  })

  it('is held up by all nodes together, by one that takes, or by one that gives', () => {
    const spread = Array.from({ length: 10 }, () => ({ bytes: 100, sources: [0, 1] }))
    assert.deepEqual(repairTimeBound({ ...base, copies: spread }).ms, 500 + 5000)
    const into = repairTimeBound({ ...base, copies: spread.map((each) => ({ ...each, target: 1 })) })
    assert.deepEqual(into, { ms: 500 + 10_000, why: 'what node 1 is to take in' })
    const from = repairTimeBound({ ...base, copies: spread.map((each) => ({ ...each, sources: [0] })) })
    assert.deepEqual(from, { ms: 500 + 20_000, why: 'what only node 0 has' })
  })

  it('never ends where no copy is left', () => {
    assert.equal(
      repairTimeBound({ ...base, copies: [{ bytes: 1, sources: [] }] }).ms,
      Number.POSITIVE_INFINITY,
    )
  })
})

describe('a flow', () => {
  it('goes through networks with many arcs', () => {
    const network = new FlowNetwork(3)
    for (let i = 0; i < 150_000; i++) network.arc(0, 1, 1, 0)
    network.arc(1, 2, 7, 1)
    assert.deepEqual(network.send(0, 2), { amount: 7, cost: 7 })
  })

  it('goes back over what it took before when that is cheaper in all', () => {
    // The cheap first path blocks the second unit, which has to push it aside.
    const network = new FlowNetwork(4)
    network.arc(0, 1, 1, 0)
    network.arc(0, 2, 1, 0)
    const across = network.arc(1, 2, 1, 0)
    network.arc(1, 3, 1, 1)
    network.arc(2, 3, 1, 0)
    assert.deepEqual(network.send(0, 3), { amount: 2, cost: 1 })
    assert.equal(network.flowOn(across), 0)
  })
})
