// A replicated log without a quorum of its own: how the control plane reaches its copies.
import type { CallOptions, Timers } from 'keelson'
import {
  comparePositions,
  type Installation,
  type LogPosition,
  type MemberLife,
  type MemberStatus,
  type PrimaryStop,
  type QuorumSet,
  type ReplicaSetHost,
  type SetMember,
} from 'keelson/placement'
import { LogNode, type LogObserver, type LogWorld, type Reach } from './log-node.ts'

/** All copies of one log, as the control plane reaches them. */
export class LogHost implements ReplicaSetHost, LogWorld {
  readonly name: string
  readonly timers: Timers
  readonly intervalMs: number
  readonly reach: Reach
  readonly newest: () => Promise<QuorumSet>
  observer: LogObserver | undefined
  readonly #nodes = new Map<string, LogNode>()

  constructor(options: {
    readonly name: string
    readonly timers: Timers
    readonly newest: () => Promise<QuorumSet>
    readonly reach: Reach
    readonly intervalMs?: number
  }) {
    this.name = options.name
    this.timers = options.timers
    this.newest = options.newest
    this.reach = options.reach
    this.intervalMs = options.intervalMs ?? 20
  }

  node(nodeId: string): LogNode {
    const known = this.#nodes.get(nodeId) ?? new LogNode(this, nodeId, 1)
    this.#nodes.set(nodeId, known)
    return known
  }

  /** The present life of a node's data. */
  life(nodeId: string): MemberLife {
    return { nodeId, incarnation: this.node(nodeId).gate.incarnation }
  }

  /** The node loses its data: it comes back empty, in another life. */
  wipe(nodeId: string): void {
    const lost = this.node(nodeId)
    lost.crash()
    this.#nodes.set(nodeId, new LogNode(this, nodeId, lost.gate.incarnation + 1))
  }

  nodes(): readonly LogNode[] {
    return [...this.#nodes.values()]
  }

  /** The node that takes writes, when somebody does. */
  primary(): LogNode | undefined {
    return this.nodes().find((node) => node.status().serving)
  }

  close(): void {
    for (const node of this.#nodes.values()) node.crash()
  }

  async status(_name: string, nodeId: string, _call: CallOptions): Promise<MemberStatus> {
    return this.reach('control', nodeId, () => this.node(nodeId).status())
  }

  async install(nodeId: string, installation: Installation, _call: CallOptions): Promise<MemberStatus> {
    return this.reach('control', nodeId, () => this.node(nodeId).install(installation))
  }

  /** The primary sends everything anyway; a candidate is complete when it is as far as a read quorum was. */
  async hydrate(nodeId: string, member: SetMember, { set }: Installation, _call: CallOptions): Promise<void> {
    const heard = new Map<string, MemberStatus>()
    for (const each of set.members) {
      if (each.nodeId === nodeId) continue
      const status = await this.reach(nodeId, each.nodeId, () => this.node(each.nodeId).status()).catch(
        () => undefined,
      )
      const isMeant = status?.incarnation === each.incarnation && status.completeFor === each.joined
      if (status !== undefined && isMeant && status.epoch >= set.epoch) heard.set(each.nodeId, status)
    }
    if (!set.isRead((each) => heard.has(each.nodeId))) return
    let source: [nodeId: string, status: MemberStatus] | undefined
    for (const entry of heard)
      if (source === undefined || comparePositions(entry[1].position, source[1].position) > 0) source = entry
    if (source === undefined) return
    const [from, { position }] = source
    const records = await this.reach(nodeId, from, () => this.node(from).records.slice())
    await this.reach('control', nodeId, () => {
      const node = this.node(nodeId)
      if (node.gate.epoch !== set.epoch) return
      node.takeOver(records, position)
      if (comparePositions(node.position, position) >= 0) node.gate.complete(member.joined)
    })
  }

  async retire(nodeId: string, { set }: Installation, _call: CallOptions): Promise<void> {
    await this.reach('control', nodeId, () => this.node(nodeId).retire(set))
  }

  async stepDown(_name: string, nodeId: string, stop: PrimaryStop, _call: CallOptions): Promise<LogPosition> {
    return this.reach('control', nodeId, () => this.node(nodeId).stepDown(stop))
  }

  async resume(_name: string, nodeId: string, stop: PrimaryStop, _call: CallOptions): Promise<void> {
    await this.reach('control', nodeId, () => this.node(nodeId).resume(stop))
  }

  async catchUp(
    _name: string,
    nodeId: string,
    source: string,
    position: LogPosition,
    _call: CallOptions,
  ): Promise<void> {
    const records = await this.reach(nodeId, source, () => this.node(source).records.slice())
    await this.reach('control', nodeId, () => this.node(nodeId).takeOver(records, position))
  }

  async promote(nodeId: string, installation: Installation, _call: CallOptions): Promise<void> {
    await this.reach('control', nodeId, () => {
      const node = this.node(nodeId)
      node.install(installation)
      node.promote(installation.sequence)
    })
  }
}
