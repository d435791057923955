import type { ReplicaId } from '../../../src/model/ids.ts'

/**
 * A value as text in which replica ids can still be exchanged: what is not an id is text already, a list has an order, and
 * a set has none.
 */
export type Shape = string | IdShape | ListShape | SetShape

interface IdShape {
  readonly id: ReplicaId
}

interface ListShape {
  readonly list: readonly Shape[]
}

interface SetShape {
  readonly set: readonly Shape[]
}

/** Who is whom in a mirror image. */
export type Renaming = (id: ReplicaId) => ReplicaId

/** The text of a shape under other names. Two values are mirror images of each other if a renaming makes their texts equal. */
export function render(shape: Shape, rename: Renaming): string {
  if (typeof shape === 'string') return shape
  if ('id' in shape) return `#${rename(shape.id)}`
  if ('list' in shape) return `[${shape.list.map((item) => render(item, rename)).join(' ')}]`
  return `{${shape.set
    .map((item) => render(item, rename))
    .sort()
    .join(' ')}}`
}

/** All ways to rename the ids 1 to n within the given groups, the one that changes nothing first. Other ids stay. */
export function renamings(groups: readonly (readonly ReplicaId[])[]): Renaming[] {
  let maps: Map<ReplicaId, ReplicaId>[] = [new Map()]
  for (const group of groups) {
    maps = maps.flatMap((map) =>
      permutations(group).map(
        (images) => new Map([...map, ...group.map((id, i) => [id, images[i] as ReplicaId] as const)]),
      ),
    )
  }
  return maps.map((map) => (id) => map.get(id) ?? id)
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((first, i) =>
    permutations(items.filter((_, j) => j !== i)).map((rest) => [first, ...rest]),
  )
}
