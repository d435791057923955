import { text } from '../../../src/core/bytes.ts'
import { entryKinds, type LogEntry } from '../../../src/interfaces/log-store.ts'
import { decodeConfiguration } from '../../../src/raft/core/configuration.ts'
import type { Configuration, MembershipChange } from '../../../src/raft/core/membership-types.ts'
import type { Message } from '../../../src/raft/core/messages.ts'
import type { ExplorationStep } from '../../../src/simulation/explore.ts'
import type { Input, Member } from './member.ts'
import type { Action, RaftModel, World } from './model.ts'

/** The way to a violation, a line for each step and one for what it made of the replica. */
export function printPath(model: RaftModel, path: readonly ExplorationStep<World, Action>[]): string[] {
  const lines: string[] = []
  if (path.length === 0) return lines
  let before = model.initial()
  for (const [i, member] of before.members.entries())
    lines.push(`       n${i + 1} is ${printMember(model.member(member))}`)
  for (const [i, { action, state }] of path.entries()) {
    lines.push(`${String(i + 1).padStart(4)}. ${printAction(model, before, action)}`)
    if (state === undefined) break
    if (action.kind !== 'lose') {
      const now = state.members[action.node] as number
      if (now !== before.members[action.node]) {
        lines.push(`       n${action.node + 1} is ${printMember(model.member(now))}`)
      }
      const fresh = state.messages.filter((message) => !before.messages.includes(message))
      for (const message of fresh) lines.push(`       under way: ${printMessage(model.message(message))}`)
    }
    before = state
  }
  return lines
}

function printAction(model: RaftModel, world: World, action: Action): string {
  const at = model.inputOf(world, action)
  if (at === undefined) return `lost: ${printMessage(model.message((action as { message: number }).message))}`
  const again = action.kind === 'again' ? ', which arrives once more later' : ''
  return `n${at.node + 1} ${printInput(at.input)}${again}`
}

function printInput(input: Input): string {
  switch (input.kind) {
    case 'receive':
      return `receives ${printMessage(input.message)}`
    case 'timeout':
      return 'has waited for a leader for long enough'
    case 'age':
      return 'sees an election timeout go by'
    case 'heartbeat':
      return 'sends heartbeats'
    case 'propose':
      return `takes the proposal ${input.text}`
    case 'change':
      return `is asked to ${input.changes.map(printChange).join(' and ')}${input.autoLeave === false ? ', for a while' : ''}`
    case 'read':
      return 'is asked to read'
    case 'transfer':
      return `is asked to hand over to ${input.to}`
    case 'persist':
      return 'has finished a write'
    case 'turn':
      return 'does what is to be done'
    case 'crash':
      return input.survivors === 0
        ? 'crashes'
        : `crashes; ${input.survivors} of its writes under way are on the disk`
    case 'restart':
      return 'starts'
  }
}

function printChange(change: MembershipChange): string {
  if ('nodeId' in change) return `${change.type} on ${change.nodeId}`
  return 'replicaId' in change ? `${change.type} ${change.replicaId}` : change.type
}

function printMember({ core, disk, writes, replicaId }: Member): string {
  if (replicaId === 0) return 'no replica'
  if (core === undefined) {
    const { term = 0, votedFor = 0 } = disk.hardState ?? {}
    return `down, on disk: term ${term}, vote ${votedFor}, log ${printEntries(disk.log)}`
  }
  const { role, term, votedFor, leader, commitIndex, log } = core
  const pending = writes.length === 0 ? '' : `, ${writes.length} writes under way`
  return `${role} of ${term}, vote ${votedFor}, leader ${leader}, log ${printEntries(log.entries)} durable ${log.durableIndex} committed ${commitIndex}${pending}`
}

function printMessage(message: Message): string {
  const { kind, from, to, term, ...rest } = message
  const fields = Object.entries(rest).map(([name, value]) => {
    if (name === 'entries') return `entries ${printEntries(value as readonly LogEntry[])}`
    return `${name} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`
  })
  return `${kind} of ${term} from ${from} to ${to}${fields.length === 0 ? '' : `: ${fields.join(', ')}`}`
}

/** What the bootstrap made is the same in all logs. */
function printEntries(entries: readonly LogEntry[]): string {
  const items = entries
    .filter(({ term }) => term > 1)
    .map((entry) => `${entry.index}/${entry.term} ${printContent(entry)}`)
  const first = entries[0]
  return `[${first?.term === 1 ? '… ' : ''}${items.join(', ')}]`
}

function printContent({ kind, data }: LogEntry): string {
  if (kind === entryKinds.noop) return 'no-op'
  return kind === entryKinds.configuration ? printConfiguration(decodeConfiguration(data)) : text(data)
}

function printConfiguration({ generation, replicas, joint }: Configuration): string {
  const members = replicas.map(({ replicaId, role }) => `${replicaId}${role === 'voter' ? '' : role[0]}`)
  return `${joint === undefined ? '' : 'joint '}configuration ${generation} of ${members.join(' ')}`
}
