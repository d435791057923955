import type { PlacementColumns } from '../assignment.ts'
import type { LabelMatch } from './rule.ts'

/** 1 for every node that matches all of a list. O(nodes). */
export function matchingNodes(columns: PlacementColumns, match: readonly LabelMatch[]): Uint8Array {
  const mask = new Uint8Array(columns.nodeCount).fill(1)
  for (const { label, in: values, notIn } of match) {
    const { of, names } = columns.domains(label)
    for (let node = 0; node < columns.nodeCount; node++) {
      const tier = names[of[node] as number] as string
      const value = tier === '' ? columns.label(node, label) : tier
      const matches =
        values !== undefined
          ? value !== undefined && values.includes(value)
          : notIn !== undefined
            ? value === undefined || !notIn.includes(value)
            : value !== undefined
      if (!matches) mask[node] = 0
    }
  }
  return mask
}

/** 1 for every node that is in both. */
export function both(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.map((each, i) => each & (b[i] as number))
}
