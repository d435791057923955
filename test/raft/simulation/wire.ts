import { copyBytes } from '../../../src/core/bytes.ts'
import type { Command, Outcome } from './machine.ts'

/** What nodes send to each other: frames of Raft messages, and the chunks of snapshots. */
export type NodePacket =
  | { readonly type: 'frame'; readonly incarnation: number; readonly bytes: Uint8Array }
  | {
      readonly type: 'chunk'
      readonly requestId: number
      readonly number: number
      readonly count: number
      readonly bytes: Uint8Array
    }
  | { readonly type: 'snapshotDone'; readonly requestId: number; readonly restored: boolean }

/** What a client asks of a node. */
export type ClientRequest =
  | { readonly type: 'register'; readonly attempt: number; readonly maximumSessions: number }
  | {
      readonly type: 'command'
      readonly attempt: number
      readonly command: Command
      /** 0 for a command without a session. */
      readonly session: number
      readonly sequence: number
      readonly acknowledgedBelow: number
    }
  | { readonly type: 'read'; readonly attempt: number; readonly key: string }

/** What a node answers. */
export type ClientReply =
  | { readonly attempt: number; readonly outcome: Outcome }
  /** Undefined for a key without a value. */
  | { readonly attempt: number; readonly value: string | undefined; readonly read: true }
  /** It had no effect and never will. */
  | { readonly attempt: number; readonly refused: true; readonly leader: string | undefined }

export type Packet =
  | NodePacket
  | { readonly type: 'request'; readonly request: ClientRequest }
  | { readonly type: 'reply'; readonly reply: ClientReply }

/** Requests and replies hold values only; what holds bytes gets bytes of its own. */
export function copyPacket(packet: Packet): Packet {
  return 'bytes' in packet ? { ...packet, bytes: copyBytes(packet.bytes) } : packet
}
