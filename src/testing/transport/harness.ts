import assert from 'node:assert/strict'
import type { Environment } from '../../core/environment.ts'
import { type ErrorCode, KeelsonError } from '../../core/errors.ts'
import type { Channel, LossEvent, PeerIdentity, Transport } from '../../interfaces/transport.ts'
import type { ClusterId, FoundingId, Incarnation, NodeId } from '../../model/ids.ts'
import { until } from '../compliance.ts'

/** Whose transport is opened. */
export interface TransportHarnessOptions {
  /** Name of the node that the transport stands for. */
  readonly nodeId: NodeId
  /** Default: 1. */
  readonly incarnation?: Incarnation
  /** Default: the same for all. */
  readonly clusterId?: ClusterId
  /** Default: not known. */
  readonly founding?: FoundingId
  /** Default: `node`. */
  readonly role?: 'node' | 'client'
}

/** A network for one case. */
export interface TransportHarness {
  /** The environment that the transports run in: what the cases wait by. */
  readonly env: Environment
  /** Opens a transport whose `resolve` finds every node that was opened here, the latest one of each id. */
  open(options: TransportHarnessOptions): Promise<Transport>
  /** Closes everything that is still open. */
  close(): Promise<void>
}

/** A case, given its network. @internal */
export type TransportCase = (harness: TransportHarness) => Promise<void>

/** A message as it came. @internal */
export interface Received {
  readonly peer: PeerIdentity
  readonly bytes: Uint8Array
}

/** Collects what comes over a channel. @internal */
export function collect(channel: Channel): Received[] {
  const received: Received[] = []
  channel.onMessage((peer, bytes) => received.push({ peer, bytes: bytes.slice() }))
  return received
}

/** Collects losses. @internal */
export function losses(channel: Channel): LossEvent[] {
  const events: LossEvent[] = []
  channel.onLost((event) => events.push(event))
  return events
}

/** Two nodes, `a` and `b`, with a channel `test` each. @internal */
export async function two(harness: TransportHarness): Promise<{
  readonly a: Transport
  readonly b: Transport
  readonly fromA: Channel
  readonly fromB: Channel
}> {
  const [a, b] = [await harness.open({ nodeId: 'a' }), await harness.open({ nodeId: 'b' })]
  return { a, b, fromA: a.channel('test'), fromB: b.channel('test') }
}

/** Sends until the first message arrives: the connection then stands. @internal */
export async function connect(
  harness: TransportHarness,
  from: Channel,
  to: NodeId,
  received: readonly Received[],
): Promise<void> {
  from.send(to, new Uint8Array([0]))
  await until(harness.env, `the first message to ${to}`, () => received.length > 0)
}

/** Waits for a rejection with one of these codes. @internal */
export async function refused(
  promise: Promise<unknown>,
  ...codes: readonly ErrorCode[]
): Promise<KeelsonError> {
  try {
    await promise
  } catch (error) {
    assert.ok(KeelsonError.is(error), `not a KeelsonError: ${String(error)}`)
    assert.ok(codes.includes(error.code), `${error.code} (${error.message}) instead of ${codes.join(', ')}`)
    return error
  }
  assert.fail(`resolved instead of failing with ${codes.join(', ')}`)
}

/**
 * Work that goes on beside a case, which waits for it later. When the case fails before that, what becomes of the work is
 * nobody's business any more, and least of all the process's. @internal
 */
export function beside<T>(work: () => Promise<T>): Promise<T> {
  const going = work()
  going.catch(() => {})
  return going
}
