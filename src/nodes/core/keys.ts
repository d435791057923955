import { hex, utf8 } from '../../core/bytes.ts'
import type { KeySelector } from '../../interfaces/metadata-store.ts'
import type { NodeId } from '../../model/ids.ts'

const prefixEnd = (prefix: string): KeySelector =>
  Object.freeze({ key: utf8(`${prefix}/`), end: utf8(`${prefix}0`) })

/** Record of a node that once joined. */
export function nodeKey(nodeId: NodeId): Uint8Array {
  return utf8(`/nodes/record/${nodeId}`)
}

/** All node records. */
export const allNodes: KeySelector = prefixEnd('/nodes/record')

/** Lives and dies with the node's session. */
export function liveKey(nodeId: NodeId): Uint8Array {
  return utf8(`/nodes/live/${nodeId}`)
}

/** Sessions of all nodes. */
export const allSessions: KeySelector = prefixEnd('/nodes/live')

/** Everything of nodes but the tokens: records and sessions, in one stretch. */
export const nodesAndSessions: KeySelector = Object.freeze({
  key: utf8('/nodes/live/'),
  end: utf8('/nodes/record0'),
})

/** A join token that was not used yet, under its hash. */
export function tokenKey(hash: Uint8Array): Uint8Array {
  return utf8(`/nodes/token/${hex(hash)}`)
}

/** All join tokens. */
export const allTokens: KeySelector = prefixEnd('/nodes/token')
