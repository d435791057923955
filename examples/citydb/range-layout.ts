import { compareBytes, decodePlain, encodePlain, equalBytes, Fields, type RangeBounds } from 'keelson'

/** A range whose client sessions another one has inherited up to an index of its log. */
export interface Ancestor {
  readonly rangeId: number
  /** Index of the split, or of the freeze, in that range's log: sessions up to it are known here. */
  readonly index: number
}

/** A range that was merged into another one, with those whose client sessions it had inherited. */
export interface Heir extends Ancestor {
  readonly ancestors: readonly Ancestor[]
}

/** Sessions of which nobody can tell any more what became of their commands. */
export interface Forgotten {
  /** Of these ranges up to an index, the highest range id first. */
  readonly sessions: readonly Ancestor[]
  /** All sessions of other ranges with ids up to this one. */
  readonly upTo: number
}

/** A merge that a range has made. */
export interface Merge {
  /** The range that it took in. */
  readonly rangeId: number
  /** Its own generation until then. */
  readonly generation: number
}

/** Where a range lies and where it comes from; part of its replicated state. */
export interface Layout {
  /** Undefined before the first command of a new range. */
  readonly bounds: RangeBounds | undefined
  /** Generation of the range beyond that of its configuration: one for each change of its bounds. */
  readonly offset: number
  /** The range that it split off last. */
  readonly splitOff: { readonly rangeId: number; readonly generation: number } | undefined
  /** It takes nothing but its end, or a thaw. */
  readonly frozen:
    | { readonly into: number; readonly intoGeneration: number; readonly index: number }
    | undefined
  /** Ranges from which it was split off, the latest first. */
  readonly ancestors: readonly Ancestor[]
  /** Ranges that were merged into it, or into one that it comes from, the latest first: their sessions are kept. */
  readonly merged: readonly Heir[]
  /** What is not kept of ancestors and merged ranges: who knew which sessions, and may have carried out their commands. */
  readonly forgotten: Forgotten
  /** What it merged itself, the latest first, and since which generation of it nothing is missing there. */
  readonly merges: { readonly since: number; readonly list: readonly Merge[] }
  /** Bytes of its rows. */
  readonly bytes: number
}

/** Where a range keeps its layout. */
export const layoutKey: Uint8Array = Uint8Array.of(0x62)

/** Of a range that is just beginning. */
export const emptyLayout: Layout = {
  bounds: undefined,
  offset: 0,
  splitOff: undefined,
  frozen: undefined,
  ancestors: [],
  merged: [],
  forgotten: { sessions: [], upTo: 0 },
  merges: { since: 0, list: [] },
  bytes: 0,
}

/** How far back client sessions are carried along. */
export const maximumAncestors = 16
/** Ranges of which it is known exactly which of their sessions are forgotten. */
const maximumForgotten = 64
/** Merges that a range remembers. */
const maximumMerges = 64

/** The merges that a range has made, with one more. */
export function withMerge({ since, list }: Layout['merges'], merge: Merge): Layout['merges'] {
  const dropped = list[maximumMerges - 1]
  return {
    since: dropped === undefined ? since : dropped.generation + 1,
    list: [merge, ...list].slice(0, maximumMerges),
  }
}

/** Whether a range took in another one at a generation that it had; undefined where that is too long ago. */
export function hasMerged({ since, list }: Layout['merges'], merge: Merge): boolean | undefined {
  if (list.some(({ rangeId }) => rangeId === merge.rangeId)) return true
  return merge.generation < since ? undefined : false
}

/** The first of a list that is kept, and those that fall out of it. */
export function keptAndDropped<T>(list: readonly T[]): { kept: readonly T[]; dropped: readonly T[] } {
  return { kept: list.slice(0, maximumAncestors), dropped: list.slice(maximumAncestors) }
}

/**
 * What two ranges have forgotten, and more.
 *
 * @param own the range that is to know it, and the index up to which its own sessions are forgotten if the others say so
 */
export function forgetting(own: Ancestor, known: readonly Forgotten[], more: readonly Ancestor[]): Forgotten {
  const highest = new Map<number, number>()
  const forget = ({ rangeId, index }: Ancestor): void => {
    highest.set(rangeId, Math.max(highest.get(rangeId) ?? 0, index))
  }
  let upTo = 0
  for (const each of known) {
    upTo = Math.max(upTo, each.upTo)
    for (const session of each.sessions) forget(session)
  }
  // Counted in with others: its own sessions so far.
  if (own.rangeId <= upTo && own.index > 0) forget(own)
  for (const each of more) forget(each)
  const all = [...highest].map(([rangeId, index]) => ({ rangeId, index }))
  const sessions = all
    .filter(({ rangeId }) => rangeId === own.rangeId || rangeId > upTo)
    .sort(
      (a, b) =>
        Number(b.rangeId === own.rangeId) - Number(a.rangeId === own.rangeId) || b.rangeId - a.rangeId,
    )
  for (const { rangeId } of sessions.slice(maximumForgotten)) upTo = Math.max(upTo, rangeId)
  return { sessions: sessions.slice(0, maximumForgotten), upTo }
}

/** Whether nobody can tell what became of a session's commands. */
export function isForgotten(own: number, { sessions, upTo }: Forgotten, session: Ancestor): boolean {
  if (session.rangeId !== own && session.rangeId <= upTo) return true
  return sessions.some(({ rangeId, index }) => rangeId === session.rangeId && session.index <= index)
}

/** Whether a key lies inside. */
export function lies(key: Uint8Array, bounds: RangeBounds | undefined): boolean {
  if (bounds === undefined) return false
  const { start, end } = bounds
  return compareBytes(start, key) <= 0 && (end === undefined || compareBytes(key, end) < 0)
}

export function sameBounds(a: RangeBounds | undefined, b: RangeBounds | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  if (!equalBytes(a.start, b.start)) return false
  return a.end === undefined || b.end === undefined ? a.end === b.end : equalBytes(a.end, b.end)
}

const version = 1

export function encodeLayout(layout: Layout): Uint8Array {
  const { bounds, offset, splitOff, frozen, ancestors, merged, forgotten, merges, bytes } = layout
  const plain = (list: readonly Ancestor[]): number[][] => list.map(({ rangeId, index }) => [rangeId, index])
  return encodePlain([
    version,
    bounds === undefined ? null : [bounds.start, bounds.end ?? null],
    offset,
    splitOff === undefined ? null : [splitOff.rangeId, splitOff.generation],
    frozen === undefined ? null : [frozen.into, frozen.intoGeneration, frozen.index],
    plain(ancestors),
    merged.map((each) => [each.rangeId, each.index, plain(each.ancestors)]),
    [plain(forgotten.sessions), forgotten.upTo],
    [merges.since, merges.list.map(({ rangeId, generation }) => [rangeId, generation])],
    bytes,
  ])
}

/** @throws KeelsonError `MALFORMED` */
export function decodeLayout(bytes: Uint8Array): Layout {
  const fields = new Fields(decodePlain(bytes, 'the layout of a range'), 'the layout of a range')
  fields.oneOf('version', [version])
  const ancestor = (f: Fields): Ancestor => ({ rangeId: f.uint('range id'), index: f.uint('index') })
  return {
    bounds: fields.optional((f) => readBounds(f.nested('bounds'))),
    offset: fields.uint('offset'),
    splitOff: fields.optional((f) => {
      const inner = f.nested('split off')
      return { rangeId: inner.uint('range id'), generation: inner.uint('generation') }
    }),
    frozen: fields.optional((f) => {
      const inner = f.nested('frozen')
      return {
        into: inner.uint('into'),
        intoGeneration: inner.uint('generation'),
        index: inner.uint('index'),
      }
    }),
    ancestors: fields.list('ancestors', ancestor),
    merged: fields.list('merged', (f) => ({
      ...ancestor(f),
      ancestors: f.list('ancestors', ancestor),
    })),
    forgotten: readForgotten(fields.nested('forgotten'), ancestor),
    merges: readMerges(fields.nested('merges')),
    bytes: fields.uint('bytes'),
  }
}

/** Bounds as two fields. */
export function readBounds(fields: Fields): RangeBounds {
  const start = fields.bytes('start').slice()
  return { start, end: fields.optional((f) => f.bytes('end'))?.slice() }
}

function readForgotten(fields: Fields, session: (f: Fields) => Ancestor): Forgotten {
  return { sessions: fields.list('sessions', session), upTo: fields.uint('up to') }
}

function readMerges(fields: Fields): Layout['merges'] {
  return {
    since: fields.uint('since'),
    list: fields.list('merges', (f) => ({ rangeId: f.uint('range id'), generation: f.uint('generation') })),
  }
}
