import type { PeerCertificate } from 'node:tls'
import type { WebSocket } from 'ws'
import type { Environment } from '../../core/environment.ts'
import type { KeelsonError } from '../../core/errors.ts'
import type { LossEvent, PeerIdentity } from '../../interfaces/transport.ts'
import type { NodeId } from '../../model/ids.ts'
import type { Caller } from './acceptor.ts'
import type { Dial, Dialled } from './dial.ts'
import type { Greeter, Hello, Welcome } from './handshake.ts'
import type { LaneContext } from './lane.ts'
import type { Link, LinkParts } from './link.ts'

/** What a dial may say beside who dials. */
export type DialPurpose = Partial<Pick<Hello, 'wanted' | 'token' | 'asking'>>

/** What a peer asks of its transport. */
export interface PeerHost {
  readonly self: PeerIdentity
  readonly lanes: LaneContext & { readonly env: Environment }
  addressesOf(nodeId: NodeId): readonly string[]
  /** @throws KeelsonError when the address cannot be dialled at all */
  dial(address: string, purpose: DialPurpose, settled: (result: Dialled | KeelsonError) => void): Dial
  /** Why somebody who greets cannot be let in. */
  check(
    greeter: Greeter,
    certificate: PeerCertificate | undefined,
    wanted: NodeId | undefined,
  ): KeelsonError | undefined
  welcome(
    caller: Caller,
    how: Partial<Pick<Welcome, 'token' | 'connected'>>,
    opened: (socket: WebSocket) => void,
  ): void
  newToken(): Uint8Array
  newLink(parts: Omit<LinkParts, 'env' | 'limits' | 'metrics' | 'channels'>): Link
  dialBulk(link: Link, address: string): void
  up(link: Link): void
  down(link: Link): void
  lost(event: LossEvent): void
  /** Forgets a peer that is idle. */
  tidy(nodeId: NodeId): void
}
