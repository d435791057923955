import { ByteReader, ByteWriter } from '../../../src/core/bytes.ts'

/** How many kinds of messages version 4 of frames knows. */
const kindsOf4 = 18
/** Numbers in the body of those kinds to which later versions add something. */
const numbersOf4: ReadonlyMap<number, number> = new Map([
  [6, 6],
  [7, 5],
])

/**
 * A frame as a release wrote it whose nodes tell nobody that they are there, and know nothing of groups that rest; or what
 * such a release takes of a frame.
 */
export function asVersion4(frame: Uint8Array): Uint8Array {
  const reader = new ByteReader(frame, 'a frame')
  const out = new ByteWriter(frame.length)
  reader.u8()
  out.u8(4).u8(reader.u8())
  out.u53(reader.u53())
  while (reader.remaining > 0) {
    const groupId = reader.varint()
    const kind = reader.u8()
    const recoveryGeneration = reader.varint()
    const body = reader.raw(reader.u32())
    if (kind >= kindsOf4) continue
    const numbers = numbersOf4.get(kind)
    const known = numbers === undefined ? body : beginning(body, numbers)
    out.varint(groupId).u8(kind).varint(recoveryGeneration)
    out.u32(known.length).raw(known)
  }
  return out.finish()
}

/** The part of a body that holds its first numbers. */
function beginning(body: Uint8Array, numbers: number): Uint8Array {
  const reader = new ByteReader(body, 'a body')
  for (let i = 0; i < numbers; i++) reader.varint()
  return body.subarray(0, body.length - reader.remaining)
}
