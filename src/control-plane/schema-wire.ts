import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import type { SchemaChunk, SchemaValidation } from '../interfaces/schema-host.ts'
import { tableFromPlain, tableToPlain } from '../schema/index.ts'

const formatVersion = 1

/** A chunk of schema work for the wire. */
export function encodeChunk(chunk: SchemaChunk): Uint8Array {
  return encodePlain([
    formatVersion,
    tableToPlain(chunk.table),
    chunk.elementId,
    chunk.rangeId,
    chunk.resumeAt ?? null,
    chunk.maximumRows,
    chunk.epoch,
    // Of a coordinator of an earlier release nothing more comes.
    ...(chunk.bounds === undefined ? [] : [[chunk.bounds.start, chunk.bounds.end ?? null]]),
  ])
}

/** The inverse of {@link encodeChunk}. @throws KeelsonError `MALFORMED` */
export function decodeChunk(bytes: Uint8Array): SchemaChunk {
  const fields = new Fields(decodePlain(bytes, 'a schema chunk'), 'a schema chunk')
  fields.oneOf('version', [formatVersion])
  const chunk = {
    table: tableFromPlain(fields.plain()),
    elementId: fields.uint('element id'),
    rangeId: fields.uint('range id'),
    resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(),
    maximumRows: fields.uint('maximum rows'),
    epoch: fields.uint('epoch'),
  }
  if (!fields.more) return chunk
  const bounds = fields.nested('bounds')
  const start = bounds.bytes('start').slice()
  return { ...chunk, bounds: { start, end: bounds.optional((f) => f.bytes('end'))?.slice() } }
}

/** The result of a chunk for the wire; what does not apply is 0. */
export function encodeChunkResult(result: SchemaValidation): Uint8Array {
  return encodePlain([formatVersion, result.resumeAt ?? null, result.rows, result.missing, result.orphans])
}

/** The inverse of {@link encodeChunkResult}. @throws KeelsonError `MALFORMED` */
export function decodeChunkResult(bytes: Uint8Array): SchemaValidation {
  const fields = new Fields(decodePlain(bytes, 'a schema result'), 'a schema result')
  fields.oneOf('version', [formatVersion])
  return {
    resumeAt: fields.optional((f) => f.bytes('resume at'))?.slice(),
    rows: fields.uint('rows'),
    missing: fields.uint('missing'),
    orphans: fields.uint('orphans'),
  }
}
