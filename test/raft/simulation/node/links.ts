import { replicaOf } from '../../../../src/raft/core/configuration.ts'
import { FramePacker } from '../../../../src/raft/host/frame.ts'
import type { HostMessage } from '../../../../src/raft/host/host-messages.ts'
import { asVersion4 } from '../../support/earlier-release.ts'
import { extendFrame } from '../../support/later-release.ts'
import { later } from '../machine.ts'
import type { NodePacket } from '../wire.ts'
import { NodeState } from './state.ts'

/** Where a replica lives, as configured or as heard. */
export interface Peer {
  readonly nodeId: string
  readonly incarnation: number
}

/** Who is behind an id, and frames to other nodes. */
export abstract class NodeLinks extends NodeState {
  #learned = new Map<number, Peer>()

  protected override forget(): void {
    super.forget()
    this.#learned = new Map()
  }

  /** A replica id is bound to one life of one node. */
  isBound(replicaId: number, peer: Peer): boolean {
    const known = this.peerOf(replicaId)
    if (known !== undefined) return known.nodeId === peer.nodeId && known.incarnation === peer.incarnation
    this.#learned.set(replicaId, peer)
    return true
  }

  peerOf(replicaId: number): Peer | undefined {
    const state = this.core?.configurationState()
    return (
      replicaOf(state?.latest, replicaId) ??
      replicaOf(state?.committed, replicaId) ??
      this.#learned.get(replicaId)
    )
  }

  pack(packers: Map<string, FramePacker>, peer: Peer, message: HostMessage): void {
    const key = `${peer.nodeId}/${peer.incarnation}`
    let packer = packers.get(key)
    if (packer === undefined) {
      packer = new FramePacker(peer.incarnation)
      packers.set(key, packer)
    }
    packer.add(1, message, this.recoveryGeneration)
  }

  flushPackers(packers: ReadonlyMap<string, FramePacker>): void {
    for (const [key, packer] of packers) {
      const nodeId = key.slice(0, key.indexOf('/'))
      const finished = packer.finish(this.marks.to({ nodeId, incarnation: packer.incarnation }))
      const bytes = this.release === later ? extendFrame(finished) : finished
      this.sendPacket(nodeId, { type: 'frame', incarnation: this.incarnation, bytes })
    }
  }

  sendPacket(to: string, packet: NodePacket): void {
    if (packet.type === 'frame' && this.earlier) {
      this.world.count('frame of an earlier version')
      this.world.sent(this.name, to, { ...packet, bytes: asVersion4(packet.bytes) })
    } else this.world.sent(this.name, to, packet)
  }
}
