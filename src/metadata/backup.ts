import { checkObject } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { ByteReader, ByteWriter, equalBytes, utf8 } from '../core/bytes.ts'
import { crc32 } from '../core/checksum.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type {
  KeySelector,
  KeyValue,
  MetadataStore,
  Operation,
  Revision,
} from '../interfaces/metadata-store.ts'
import { counterKeys } from '../model/counter-keys.ts'
import { keyPrefixes } from './keys.ts'
import { everything } from './mvcc/key-range.ts'
import { commandLimits } from './mvcc/limits.ts'
import { Import } from './pending-import.ts'

// A backup is a sequence of chunks: a header, entries, an end that counts them. Each has a checksum of its own.
const formatVersion = 1
const kindHeader = 1
const kindEntries = 2
const kindEnd = 3
const chunkBytes = 256 * 1024

/** Of the cluster itself: another one that takes a backup in has its own servers and its own leader. */
const ownOfTheCluster = [keyPrefixes.cluster, keyPrefixes.servers, keyPrefixes.epochs].map((prefix) =>
  utf8(prefix),
)

function isOwnOfTheCluster(key: Uint8Array): boolean {
  return ownOfTheCluster.some((prefix) => equalBytes(key.subarray(0, prefix.length), prefix))
}

/** The store may have given out more numbers by now than when the backup was made. */
const counters = Object.values(counterKeys).map((key) => utf8(key))

function isCounter(key: Uint8Array): boolean {
  return counters.some((counter) => equalBytes(key.subarray(0, counter.length), counter))
}

/** What a backup says of itself. */
export interface BackupSummary {
  /** Revision of the store that the backup shows. */
  readonly revision: Revision
  /** Keys in it. */
  readonly keys: number
}

function seal(out: ByteWriter): Uint8Array {
  return out.patchU32(0, crc32(out.view().subarray(4))).finish()
}

function begin(kind: number): ByteWriter {
  return new ByteWriter(1024).u32(0).u8(formatVersion).u8(kind)
}

function open(chunk: Uint8Array): { readonly kind: number; readonly reader: ByteReader } {
  const reader = new ByteReader(chunk, 'a chunk of a backup')
  const checksum = reader.u32()
  if (checksum !== crc32(chunk.subarray(4)))
    throw new KeelsonError(
      'CORRUPTION',
      'a chunk of a backup does not match its checksum; take another copy of the backup',
    )
  const format = reader.u8()
  if (format !== formatVersion) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `the backup has format ${format}, but this release knows ${formatVersion}: use a newer release`,
    )
  }
  return { kind: reader.u8(), reader }
}

/**
 * The keys of a store at one revision, in chunks of about 256 KiB to be stored one by one, in order. Keys of sessions
 * are left out: whoever holds them takes them anew. So is what belongs to the cluster itself: its founding, its servers, and who
 * owns which controller epoch.
 *
 * @throws KeelsonError as {@link MetadataStore.range}; `COMPACTED` when the revision goes away before the end: start again
 */
export async function* exportBackup(
  store: MetadataStore,
  options: CallOptions & { readonly select?: KeySelector } = {},
): AsyncIterable<Uint8Array> {
  checkObject(store, 'the store of a backup', ['range'])
  checkCall('exportBackup', options, ['select'])
  const { select = everything, ...call } = options
  const first = await store.range(select, call)
  const { revision } = first
  yield seal(begin(kindHeader).varint(revision))
  let keys = 0
  for (let page = first; ; ) {
    let out = begin(kindEntries)
    for (const { key, value, session } of page.entries) {
      if (session !== 0 || isOwnOfTheCluster(key)) continue
      keys++
      out.bytes(key).bytes(value)
      if (out.length < chunkBytes) continue
      yield seal(out)
      out = begin(kindEntries)
    }
    yield seal(out)
    if (!page.more) break
    const last = page.entries[page.entries.length - 1] as KeyValue
    const rest = new Uint8Array(last.key.length + 1)
    rest.set(last.key)
    page = await store.range({ key: rest, end: select.end ?? null }, { ...call, revision })
  }
  yield seal(begin(kindEnd).varint(keys))
}

/**
 * Writes the keys of a backup into a store, in transactions as large as they may be. Keys that are there are overwritten, but for
 * those that count (ids of ranges, jobs and schemas, sequences of leases), which stay as they are: a second run after an
 * interrupted one gives no number out again. It is meant for a store in which nothing else has been made yet.
 *
 * Until the end the store says that it is incomplete ({@link pendingImport}), and the controllers of a control plane wait, whoever
 * leads: an import that was interrupted is repeated from its start, with the same backup, or given up by {@link abandonImport}. All
 * controller epochs of the store end when an import begins.
 *
 * Into an empty store of a *new* cluster that takes the place of the old one, advance its revision first, well beyond
 * `revision` of the backup (`bootstrap({ secret, founding, revision })` of a control plane does that, `MetadataServer.advance` on a
 * server of your own): epochs and session ids are revisions, and must not repeat.
 *
 * @throws KeelsonError `CORRUPTION` (what came before the damaged chunk is written), `FORMAT_VERSION`, `CONFLICT` when a part of another
 *   backup is there, or another import began meanwhile; and as {@link MetadataStore.txn}
 */
export async function importBackup(
  store: MetadataStore,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: CallOptions = {},
): Promise<BackupSummary> {
  checkObject(store, 'the store of a backup', ['txn'])
  checkCall('importBackup', options)
  const given: unknown = chunks
  const iterable =
    typeof given === 'object' && given !== null && (Symbol.iterator in given || Symbol.asyncIterator in given)
  if (!iterable || given instanceof Uint8Array) {
    throw new KeelsonError(
      'INVALID_ARGUMENT',
      'a backup is read from the chunks that exportBackup gave, in their order',
    )
  }
  let revision: Revision | undefined
  let keys = 0
  let expected: number | undefined
  let batch: Operation[] = []
  let bytes = 0
  let running: Import | undefined
  const flush = async (): Promise<void> => {
    if (batch.length > 0) await running?.write(batch)
    batch = []
    bytes = 0
  }
  for await (const chunk of chunks) {
    const { kind, reader } = open(chunk)
    if (expected !== undefined || (kind === kindHeader) !== (revision === undefined))
      throw new KeelsonError(
        'CORRUPTION',
        'the chunks of a backup are not in their order; give them as exportBackup gave them',
      )
    if (kind === kindHeader) {
      revision = reader.varint()
      running = await Import.begin(store, revision, options)
    } else if (kind === kindEnd) expected = reader.varint()
    else if (kind === kindEntries) {
      while (reader.remaining > 0) {
        const key = reader.bytes()
        const value = reader.bytes()
        const size = key.length + value.length
        if (batch.length >= commandLimits.operations / 2 || bytes + size > commandLimits.transactionBytes / 2)
          await flush()
        keys++
        // Earlier releases had them in.
        if (isOwnOfTheCluster(key)) continue
        if (isCounter(key)) {
          const absent = { key, target: 'version', is: '=', operand: 0 } as const
          await running?.write([{ type: 'put', key, value }], [absent])
          continue
        }
        batch.push({ type: 'put', key, value })
        bytes += size
      }
      // The chunk is only lent.
      await flush()
    } else
      throw new KeelsonError(
        'CORRUPTION',
        `a backup holds a chunk of unknown kind ${kind}; take another copy of the backup`,
      )
  }
  if (revision === undefined || expected !== keys)
    throw new KeelsonError(
      'CORRUPTION',
      `the backup ends early: ${keys} keys came of ${expected ?? 'more'}; take another copy of the backup`,
    )
  await running?.end()
  return { revision, keys }
}
