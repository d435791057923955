import assert from 'node:assert/strict'
import { type Random, shuffled } from '../../../src/core/random.ts'
import { balance, type PlacementPolicy, type Plan, plan } from '../../../src/placement/index.ts'
import { Model } from './cluster.ts'

/** How far from their share the nodes may be in the greater of two goals. */
const tolerance = 0.4

export const evenPolicy: Partial<PlacementPolicy> = {
  replicationFactor: 2,
  goals: [balance('replicas', { tolerance }), balance({ resource: 'bytes' })],
}

/** Replicas of very different size, on nodes that have about as many of them. */
export function unevenBytes(random: Random): Model {
  const model = new Model()
  const nodes = 3 + random.integer(6)
  for (let i = 0; i < nodes; i++) model.addNode(`db${i}`, '')
  const names = model.nodes.map(({ nodeId }) => nodeId)
  const ranges = nodes * (3 + random.integer(12))
  for (let r = 1; r <= ranges; r++) {
    model.addRange(r, shuffled(random, names).slice(0, 2), { bytes: 1 + random.integer(100) ** 2 })
  }
  return model
}

/** What is planned for balance. Judges every step: the greater goal gets worse only between nodes that stay even in it. */
export function planEven(model: Model, seed: number, held: ReadonlySet<number>): Plan {
  const next = plan(model.snapshot(held), evenPolicy, { seed, limits: { improvements: 6 } })
  const counts = model.counts()
  const fair = [...counts.values()].reduce((sum, each) => sum + each, 0) / counts.size
  for (const { add, remove, reason } of next.moves) {
    // Two that change places leave the numbers as they are.
    if (add === undefined || remove === undefined || /changes places/.test(reason)) continue
    const [from, to] = [counts.get(remove.nodeId) as number, counts.get(add.nodeId) as number]
    counts.set(remove.nodeId, from - 1).set(add.nodeId, to + 1)
    if (to + 1 <= from) continue
    for (const each of [from, to, from - 1, to + 1]) {
      const off = Math.abs(each - fair) / fair
      assert.ok(off <= tolerance / 2 + 1e-9, `${reason}: ${each} replicas where ${fair} are fair`)
    }
  }
  return next
}

/** Carries out what is planned until nothing is left; what was moved is left alone for some rounds, and not moved back then. */
export function settleEven(model: Model, seed: number): number {
  const movedAt = new Map<number, number>()
  let moved = 0
  for (let round = 0; round < 200; round++) {
    const held = new Set([...movedAt].filter(([, at]) => round - at <= 3).map(([rangeId]) => rangeId))
    const next = planEven(model, seed, held)
    if (next.moves.length === 0 && held.size === 0) return moved
    for (const move of next.moves) {
      assert.ok(!held.has(move.rangeId), `range ${move.rangeId} is moved to and fro`)
      model.apply(move)
      movedAt.set(move.rangeId, round)
      moved += move.kind === 'replace' ? 1 : 0
    }
  }
  assert.fail('never at rest')
}
