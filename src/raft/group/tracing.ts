import { type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import type { GroupId } from '../../model/ids.ts'

/** What subscribers of the tracing channels `keelson:raft:<call>` get of a call of a group. */
interface GroupCall {
  /** The group. */
  readonly groupId: GroupId
}

type CallChannel = TracingChannel<object>

/** One for each call of a group that waits for others. */
export const callChannels: Readonly<
  Record<'propose' | 'proposeBatch' | 'read' | 'changeMembership' | 'transferLeadership', CallChannel>
> = Object.freeze({
  propose: tracingChannel('keelson:raft:propose'),
  proposeBatch: tracingChannel('keelson:raft:proposeBatch'),
  read: tracingChannel('keelson:raft:read'),
  changeMembership: tracingChannel('keelson:raft:changeMembership'),
  transferLeadership: tracingChannel('keelson:raft:transferLeadership'),
})

/** Makes a call, and tells the subscribers of its channel of its beginning and its end. Without any it costs a comparison. */
export function traced<T>(channel: CallChannel, call: () => Promise<T>, groupId: GroupId): Promise<T> {
  return channel.hasSubscribers ? channel.tracePromise(call, { groupId } satisfies GroupCall) : call()
}
