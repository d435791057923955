import { SeededRandom } from '../../../src/core/random.ts'
import { decodePacket, encodePacket } from '../../../src/swim/core/codec.ts'
import type { SwimCoreOptions } from '../../../src/swim/core/core-options.ts'
import type { PacketSender, SwimMessage } from '../../../src/swim/core/messages.ts'
import { Statement } from '../../../src/swim/core/statement.ts'
import { SwimCore } from '../../../src/swim/core/swim-core.ts'
import { lanProfile, type SwimTuning } from '../../../src/swim/core/tuning.ts'

export const label = 'test'

/** A core called `self` at `self:1`. */
export function makeCore(tuning: Partial<SwimTuning> = {}, more: Partial<SwimCoreOptions> = {}): SwimCore {
  return new SwimCore({
    nodeId: 'self',
    incarnation: 1,
    address: 'self:1',
    metadata: new Uint8Array(0),
    label,
    tuning: { ...lanProfile, ...tuning },
    random: new SeededRandom(7),
    nowMs: 0,
    ...more,
  })
}

/** What a member says about itself. */
export function alive(nodeId: string, version: number, metadata: readonly number[] = []): SwimMessage {
  return { kind: 'alive', statement: said(nodeId, version, metadata) }
}

/** A statement of a member in its first life. */
export function said(nodeId: string, version: number, metadata: readonly number[] = []): Statement {
  return new Statement({
    nodeId,
    incarnation: 1,
    version,
    address: `${nodeId}:1`,
    metadata: new Uint8Array(metadata),
  })
}

/** Lets a core hear messages from a peer. */
export function hear(core: SwimCore, from: string, nowMs: number, ...messages: readonly SwimMessage[]): void {
  hearAs(core, { nodeId: from, incarnation: 1, version: 0 }, nowMs, ...messages)
}

export function hearAs(
  core: SwimCore,
  sender: PacketSender,
  nowMs: number,
  ...messages: readonly SwimMessage[]
): void {
  core.receive(`${sender.nodeId}:1`, encodePacket(label, sender, messages), nowMs)
}

export interface Sent {
  readonly to: string
  readonly message: SwimMessage
}

/** A number that the core asked to be repeated: with it an offer is answered by a view. */
export function proofFor(core: SwimCore, nowMs: number): SwimMessage {
  return { kind: 'proof', number: core.proofs.ask(nowMs) }
}

/** What the core has sent since the last call, message by message; events are dropped. */
export function sent(core: SwimCore): Sent[] {
  return core
    .takeOutput()
    .packets.flatMap(({ to, bytes }) =>
      decodePacket(bytes, label).messages.map((message) => ({ to, message })),
    )
}

/** A message of one kind. 'suspect' and 'dead' share a type. */
export interface SentOf<K> {
  readonly to: string
  readonly message: Extract<SwimMessage, { kind: K extends 'suspect' | 'dead' ? 'suspect' | 'dead' : K }>
}

/** Messages of one kind that were sent since the last call. */
export function sentOf<K extends SwimMessage['kind']>(core: SwimCore, kind: K): SentOf<K>[] {
  return sent(core).filter(({ message }) => message.kind === kind) as unknown as SentOf<K>[]
}

/** Lets time pass step by step, as a driver does. */
export function runTo(core: SwimCore, untilMs: number): void {
  for (let at = core.nextDeadlineMs(); at <= untilMs; at = core.nextDeadlineMs()) core.advanceTo(at)
}

/** What happened since the last call, as `type nodeId`; packets are dropped. */
export function happened(core: SwimCore): string[] {
  return core.takeOutput().events.map(({ type, member }) => `${type} ${member.nodeId}`)
}
