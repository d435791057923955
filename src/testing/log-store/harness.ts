import assert from 'node:assert/strict'
import type { Environment } from '../../core/environment.ts'
import type { ErrorCode } from '../../core/errors.ts'
import { KeelsonError } from '../../core/errors.ts'
import { nodeEnvironment } from '../../core/node-environment.ts'
import type {
  EntryKind,
  HardState,
  LogEntry,
  LogStore,
  LogStoreContext,
  LogStoreFactory,
  RecoveredGroup,
} from '../../interfaces/log-store.ts'

/** A place where a log can live: a directory, a database. Stores are opened on it one after the other. */
export interface LogStorePlace {
  /** Opens a store on the place, on what the one before left there. */
  readonly open: LogStoreFactory
  /**
   * Does to the open store what a power cut does: it is gone without being closed, and nothing that was not durable may
   * be relied on. Cases that need it are skipped where it is missing.
   */
  readonly crash?: () => Promise<void>
  /** Removes the place after the case. */
  readonly dispose?: () => Promise<void>
}

/** What the suite is run against: makes a new, empty place for each case. */
export interface LogStoreSubject {
  /** Makes a new, empty place. */
  readonly create: () => Promise<LogStorePlace>
  /** Where the stores live. Default: the real world, for each store anew. */
  readonly env?: () => Environment
}

/** The context in which the suite opens stores. */
function contextOf(
  subject: LogStoreSubject,
  names: { clusterId?: string; nodeId?: string } = {},
): LogStoreContext {
  return {
    env: subject.env?.() ?? nodeEnvironment(),
    clusterId: names.clusterId ?? 'compliance',
    nodeId: names.nodeId ?? 'n1',
  }
}

/** Entries `from` to `to` of one term, with data that tells where it belongs. */
export function entries(from: number, to: number, term = 1, dataBytes = 12): LogEntry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, term, dataBytes))
}

/** One entry, with data that tells where it belongs. */
export function entry(index: number, term: number, dataBytes = 12): LogEntry {
  const data = new Uint8Array(dataBytes)
  for (let i = 0; i < dataBytes; i++) data[i] = (index * 31 + term * 7 + i) & 0xff
  return { index, term, kind: (index % 4) as EntryKind, data }
}

/** Fails unless the action is refused with this code. */
export async function refuses(code: ErrorCode, action: () => Promise<unknown>): Promise<KeelsonError> {
  let thrown: Error | undefined
  try {
    await action()
  } catch (error) {
    thrown = error as Error
  }
  assert.ok(
    KeelsonError.is(thrown),
    `should be refused with ${code}, but was ${thrown === undefined ? 'accepted' : String(thrown)}`,
  )
  assert.equal(thrown.code, code, thrown.message)
  return thrown
}

/** Plain objects and arrays, so that a Buffer equals the bytes it holds. */
export function plain(found: readonly LogEntry[]): unknown[] {
  return found.map(({ index, term, kind, data }) => ({ index, term, kind, data: [...data] }))
}

/** Fails unless a group's log is exactly this from the first entry on. */
export async function assertLog(
  store: LogStore,
  groupId: number,
  expected: readonly LogEntry[],
): Promise<void> {
  const first = expected[0] as LogEntry
  const last = expected.at(-1) as LogEntry
  const found: LogEntry[] = []
  while (found.length < expected.length) {
    found.push(...(await store.read(groupId, first.index + found.length, last.index, 64 * 1024)))
  }
  assert.deepEqual(plain(found), plain(expected))
  await refuses('NOT_FOUND', () => store.read(groupId, last.index + 1, last.index + 1, 1))
}

/** What was recovered of a group; fails when there is nothing. */
export function recoveredOf(store: LogStore, groupId: number): RecoveredGroup {
  const found = store.recovered().get(groupId)
  assert.ok(found !== undefined, `group ${groupId} should have been recovered`)
  assert.equal(found.groupId, groupId)
  return found
}

/** A hard state that no other is mistaken for. */
export const hardState: HardState = { term: 3, votedFor: 2, commit: 4 }

/** A body that gets a place and closes what it opened through `open`. */
export function onPlace(
  body: (
    open: (names?: { clusterId?: string; nodeId?: string }) => Promise<LogStore>,
    place: LogStorePlace,
  ) => Promise<void>,
): (subject: LogStoreSubject) => Promise<void> {
  return async (subject) => {
    const place = await subject.create()
    const opened: LogStore[] = []
    try {
      await body(
        async (names) => {
          const store = await place.open(contextOf(subject, names))
          opened.push(store)
          return store
        },
        withCrash(place, opened),
      )
    } finally {
      for (const store of opened) await store.close()
      await place.dispose?.()
    }
  }
}

/** Who crashed cannot be closed any more. */
function withCrash(place: LogStorePlace, opened: LogStore[]): LogStorePlace {
  const { crash } = place
  if (crash === undefined) return place
  return {
    ...place,
    crash: async () => {
      opened.length = 0
      await crash()
    },
  }
}

/** Each check gets a store that was written to, then the same place opened again. */
export function twice(
  write: (store: LogStore) => Promise<void>,
  check: (store: LogStore) => Promise<void>,
): (subject: LogStoreSubject) => Promise<void> {
  return onPlace(async (open) => {
    const store = await open()
    await write(store)
    await check(store)
    await store.close()
    await check(await open())
  })
}

/** A body that needs a place that can crash. */
export function afterCrash(
  body: (open: () => Promise<LogStore>, crash: () => Promise<void>) => Promise<void>,
): (subject: LogStoreSubject) => Promise<void> {
  return onPlace(async (open, { crash }) => {
    if (crash !== undefined) await body(() => open(), crash)
  })
}

/** A case, run against any subject. */
export interface LogStoreCase {
  readonly name: string
  readonly run: (subject: LogStoreSubject) => Promise<void>
}
