import { pick, type Random, shuffled } from '../core/random.ts'

/** One direction between two processes: what `from` sends does not reach `to`. */
export type BlockedLink = readonly [from: string, to: string]

function both(a: string, b: string): BlockedLink[] {
  return [
    [a, b],
    [b, a],
  ]
}

/** Nobody of one group reaches anybody of another. */
export function split(...groups: readonly (readonly string[])[]): BlockedLink[] {
  return groups.flatMap((group, i) =>
    groups.slice(i + 1).flatMap((other) => group.flatMap((a) => other.flatMap((b) => both(a, b)))),
  )
}

/** One process reaches nobody, and nobody reaches it. */
export function isolate(name: string, names: readonly string[]): BlockedLink[] {
  return split(
    [name],
    names.filter((other) => other !== name),
  )
}

/** What `from` sends does not reach `to`, while the other direction works. */
export function oneWay(from: readonly string[], to: readonly string[]): BlockedLink[] {
  return from.flatMap((a) => to.filter((b) => b !== a).map((b): BlockedLink => [a, b]))
}

/** Two processes do not reach each other, while all others reach both. */
export function partial(a: string, b: string): BlockedLink[] {
  return both(a, b)
}

/** Two halves that are connected through one process only. */
export function bridge(left: readonly string[], middle: string, right: readonly string[]): BlockedLink[] {
  return split(
    left.filter((name) => name !== middle),
    right.filter((name) => name !== middle),
  )
}

/** Each process reaches the one before and the one after it and nobody else: with five, each sees another majority. */
export function ring(names: readonly string[]): BlockedLink[] {
  return names.flatMap((a, i) =>
    names.flatMap((b, j): BlockedLink[] => {
      const distance = Math.abs(i - j)
      return distance <= 1 || distance === names.length - 1 ? [] : [[a, b]]
    }),
  )
}

/** The shapes that {@link drawPartition} knows. */
export const partitionShapes: readonly [
  'split',
  'isolate',
  'oneWay',
  'isolateIn',
  'isolateOut',
  'partial',
  'bridge',
  'ring',
] = Object.freeze([
  'split',
  'isolate',
  'oneWay',
  'isolateIn',
  'isolateOut',
  'partial',
  'bridge',
  'ring',
] as const)

/** Name of a shape of a partition. */
export type PartitionShape = (typeof partitionShapes)[number]

/** A partition of this shape among these processes, the rest drawn. */
export function drawPartition(
  random: Random,
  shape: PartitionShape,
  names: readonly string[],
): BlockedLink[] {
  const mixed = shuffled(random, names)
  const cut = names.length < 2 ? 0 : 1 + random.integer(names.length - 1)
  const first = mixed.slice(0, cut)
  const second = mixed.slice(cut)
  const one = mixed[0] as string
  switch (shape) {
    case 'split':
      return split(first, second)
    case 'isolate':
      return isolate(one, names)
    case 'oneWay':
      return oneWay(first, second)
    case 'isolateIn':
      return oneWay(mixed.slice(1), [one])
    case 'isolateOut':
      return oneWay([one], mixed.slice(1))
    case 'partial':
      return mixed.length < 2 ? [] : partial(one, mixed[1] as string)
    case 'bridge':
      return mixed.length < 3
        ? []
        : bridge(
            mixed.slice(1, 1 + Math.floor((mixed.length - 1) / 2)),
            one,
            mixed.slice(1 + Math.floor((mixed.length - 1) / 2)),
          )
    case 'ring':
      return ring(mixed)
  }
}

/** One of {@link partitionShapes}. */
export function drawPartitionShape(random: Random): PartitionShape {
  return pick(random, partitionShapes)
}
