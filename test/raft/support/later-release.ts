import { ByteReader, ByteWriter } from '../../../src/core/bytes.ts'

/**
 * A frame as a later release may write it for this one: another version, a field more at the end of each message, and
 * after each a message of a kind that this release has never heard of.
 */
export function extendFrame(frame: Uint8Array): Uint8Array {
  const reader = new ByteReader(frame, 'a frame')
  const out = new ByteWriter(frame.length * 2)
  out.u8(reader.u8() + 1).u8(reader.u8())
  out.u53(reader.u53())
  while (reader.remaining > 0) {
    const groupId = reader.varint()
    const kind = reader.u8()
    const recoveryGeneration = reader.varint()
    const body = reader.raw(reader.u32())
    out.varint(groupId).u8(kind).varint(recoveryGeneration)
    out
      .u32(body.length + 3)
      .raw(body)
      .raw(new Uint8Array([1, 2, 3]))
    out.varint(groupId).u8(200).varint(recoveryGeneration)
    out.u32(2).raw(new Uint8Array([9, 9]))
  }
  return out.finish()
}

/** A frame of a release that gave this one up: it says itself that it cannot be read here. */
export function unreadableFrame(frame: Uint8Array): Uint8Array {
  const copy = extendFrame(frame)
  copy[1] = copy[0] as number
  return copy
}
