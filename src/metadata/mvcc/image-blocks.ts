import { ByteReader } from '../../core/bytes.ts'
import { KeelsonError } from '../../core/errors.ts'
import { byteEncodings, type Layout, type Slot, type StateBatch } from './layout.ts'
import { copyRecords, decodeVersion, type ImageBlock, type StoredVersion } from './version.ts'

const formatVersion = 1
/** A block is closed when it has this size; a version that is larger is one by itself. */
const closedFromBytes = 64 * 1024
/** A block of this size is given up when a quarter of it or less is still held. */
const wastefulBytes = 4096

function blockOf(key: Uint8Array, versions: readonly StoredVersion[]): ImageBlock {
  let bytes = 0
  for (const { recordBytes } of versions) bytes += recordBytes
  const block = { key, versions, bytes, held: versions.length, heldBytes: bytes, marked: false }
  for (const version of versions) version.block = block
  return block
}

/** A block whose last version went is `empty`. One that holds little is `wasteful`: what it holds belongs elsewhere. */
export function dropFromBlock(block: ImageBlock, version: StoredVersion): 'kept' | 'empty' | 'wasteful' {
  block.held--
  block.heldBytes -= version.recordBytes
  if (block.held === 0) return 'empty'
  return block.bytes >= wastefulBytes && block.heldBytes * 4 <= block.bytes ? 'wasteful' : 'kept'
}

/** Adds versions to a batch, as blocks, each named after its first version: no version is in two of them. */
export function putBlocks(
  batch: StateBatch,
  layout: Layout,
  slot: Slot,
  versions: readonly StoredVersion[],
): void {
  let from = 0
  let bytes = 0
  versions.forEach(({ recordBytes }, i) => {
    bytes += recordBytes
    if (bytes < closedFromBytes && i + 1 < versions.length) return
    const stretch = versions.slice(from, i + 1)
    const first = stretch[0] as StoredVersion
    const { key } = blockOf(layout.block(slot, first.modRevision, first.sub), stretch)
    batch.put(key, encodeBlock(stretch), byteEncodings)
    from = i + 1
    bytes = 0
  })
}

/** Adds to a batch which versions of a block are not held any more. */
export function putDropped(batch: StateBatch, layout: Layout, block: ImageBlock): void {
  block.marked = true
  batch.put(layout.droppedOf(block.key), encodeDropped(block.versions), byteEncodings)
}

/** Adds the end of a block to a batch. */
export function deleteBlock(batch: StateBatch, layout: Layout, block: ImageBlock): void {
  batch.del(block.key, keysAreBytes)
  if (block.marked) batch.del(layout.droppedOf(block.key), keysAreBytes)
}

const keysAreBytes = Object.freeze({ keyEncoding: 'view' } as const)

export function encodeBlock(versions: readonly StoredVersion[]): Uint8Array {
  let bytes = 1
  for (const { sizedBytes } of versions) bytes += sizedBytes
  const out = new Uint8Array(bytes)
  out[0] = formatVersion
  copyRecords(versions, out, 1)
  return out
}

/** A bit for each version of a block: set when it is not held any more. */
export function encodeDropped(versions: readonly StoredVersion[]): Uint8Array {
  const out = new Uint8Array(1 + Math.ceil(versions.length / 8))
  out[0] = formatVersion
  versions.forEach(({ dropped }, i) => {
    if (dropped) out[1 + (i >> 3)] = (out[1 + (i >> 3)] as number) | (1 << (i & 7))
  })
  return out
}

/**
 * The versions that are held of a record of the image, from that and from what says which of them are not. Nothing refers to
 * the bytes.
 *
 * @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`
 */
export function decodeBlock(
  key: Uint8Array,
  value: Uint8Array,
  dropped: Uint8Array | undefined,
): readonly StoredVersion[] {
  const versions: StoredVersion[] = []
  try {
    const reader = new ByteReader(value, 'a block of versions')
    checkFormat(reader.u8())
    do versions.push(decodeVersion(reader.bytes()))
    while (reader.remaining > 0)
    const block = blockOf(new Uint8Array(key), versions)
    if (dropped === undefined) return versions
    block.marked = true
    const marks = new ByteReader(dropped, 'the marks of a block of versions')
    checkFormat(marks.u8())
    const bits = marks.raw(Math.ceil(versions.length / 8))
    marks.end()
    versions.forEach((version, i) => {
      if ((((bits[i >> 3] as number) >> (i & 7)) & 1) === 0) return
      version.dropped = true
      dropFromBlock(block, version)
    })
    return versions.filter((version) => !version.dropped)
  } catch (cause) {
    if (KeelsonError.hasCode(cause, 'FORMAT_VERSION', 'CORRUPTION')) throw cause
    throw new KeelsonError(
      'CORRUPTION',
      'a block of versions of the metadata store is damaged; replace this replica',
      { cause },
    )
  }
}

/** As an earlier release stored each version: in a record of its own. */
export function decodeSingle(key: Uint8Array, value: Uint8Array): StoredVersion {
  const version = decodeVersion(value)
  blockOf(new Uint8Array(key), [version])
  return version
}

function checkFormat(found: number): void {
  if (found === formatVersion) return
  throw new KeelsonError(
    'FORMAT_VERSION',
    `a block of versions of the metadata store has format ${found}, but this release knows ${formatVersion}: run a newer release`,
  )
}
