import type { Incarnation } from '../../../src/model/ids.ts'
import { decodeFrame, type Frame, maximumKnownMarks } from '../../../src/raft/host/frame.ts'
import type { GroupMessage } from '../../../src/raft/host/host-messages.ts'
import type { ClusterNode, NodeImage } from '../support/host-cluster.ts'

/** How far a disk had got in the lives of its node's host. */
type Positions = Map<number, number>

/** What the judge knows of a node. */
interface Judged {
  /** The lives that are on its disk now, and how far it had got in each of them, at the least. */
  chain: Positions
  /** The life that its frames tell of. */
  life: number | undefined
  incarnation: Incarnation
  /** What it ever told anybody. */
  readonly told: Positions
  /** Who spoke to it in this life, knowing what its disk has forgotten. */
  toldBy: string | undefined
}

/** An image, and the lives that are on it. */
export interface JudgedImage {
  readonly image: NodeImage
  readonly chain: ReadonlyMap<number, number>
}

/**
 * Judges what nodes say while older images of their disks come back: **whoever forgot what it had told promises nothing more
 * as soon as anybody speaks to it who knows, and nobody else is quarantined**. It follows all frames, and knows from the
 * images what each disk has; it asks none of the records that the hosts keep.
 */
export class DiskJudge {
  readonly #broken: (invariant: string, problem: string) => never
  readonly #nodes = new Map<ClusterNode, Judged>()
  /** By process of who heard it, then by disk: what it heard of it, as much as a node remembers. */
  readonly #heard = new Map<string, Map<string, Positions>>()

  constructor(broken: (invariant: string, problem: string) => never) {
    this.#broken = broken
  }

  /** A node has opened its store, and says nothing yet. */
  started(node: ClusterNode): void {
    const { incarnation } = node.store
    let judged = this.#nodes.get(node)
    if (judged === undefined || judged.incarnation !== incarnation) {
      judged = { chain: new Map(), life: undefined, incarnation, told: new Map(), toldBy: undefined }
      this.#nodes.set(node, judged)
    }
    // What its last life wrote, told or not, as far as it is there.
    if (judged.life !== undefined && judged.chain.has(judged.life))
      raise(judged.chain, judged.life, opened(node))
    judged.life = undefined
    judged.toldBy = undefined
  }

  take(node: ClusterNode): JudgedImage {
    const { chain, life } = this.#of(node)
    const copy = new Map(chain)
    if (life !== undefined) raise(copy, life, opened(node))
    return { image: node.image(), chain: copy }
  }

  /** The node is down. */
  restore(node: ClusterNode, { image, chain }: JudgedImage): void {
    node.restore(image)
    const judged = this.#of(node)
    judged.chain = new Map(chain)
    // The last life on the image goes on in it: all that is there then it had.
    judged.life = [...chain.keys()].at(-1)
  }

  /** A frame leaves a node. */
  sends(from: ClusterNode, to: ClusterNode | undefined, bytes: Uint8Array): void {
    if (to === undefined || !this.#nodes.has(to)) return
    const frame = decodeFrame(bytes, to.store.incarnation)
    if (frame === undefined) return
    const judged = this.#of(from)
    this.#checkSaid(from, to, frame)
    if (frame.marks !== undefined && frame.marks.position > 0) {
      const { life, position } = frame.marks
      judged.life = life
      raise(judged.chain, life, position)
      raise(judged.told, life, position)
    }
    if (judged.toldBy === undefined) return
    const promise = frame.messages.find(isPromise)
    if (promise === undefined) return
    this.#broken(
      'whoever forgot promises nothing',
      `${from.name} sends a ${promise.message.kind} to ${to.name} although ${judged.toldBy} knew that its disk has forgotten`,
    )
  }

  /** A frame comes to a node, before anything is done with it. */
  receives(to: ClusterNode, from: ClusterNode | undefined, bytes: Uint8Array): void {
    const frame = decodeFrame(bytes, to.store.incarnation)
    if (frame === undefined || from === undefined) return
    const judged = this.#of(to)
    if (frame.marks === undefined) return
    const said = new Map(frame.marks.known.map(({ life, position }) => [life, position]))
    if (this.#hasForgotten(judged, said)) judged.toldBy ??= from.name
    if (frame.marks.position === 0) return
    const disks = this.#heard.get(processOf(to)) ?? new Map<string, Positions>()
    this.#heard.set(processOf(to), disks)
    const positions: Positions = disks.get(diskOf(from)) ?? new Map<number, number>()
    disks.set(diskOf(from), positions)
    raise(positions, frame.marks.life, frame.marks.position)
    if (positions.size <= maximumKnownMarks) return
    const [least] = [...positions].sort(([, a], [, b]) => a - b)
    if (least !== undefined) positions.delete(least[0])
  }

  /** The disk of a node has forgotten something that it told. */
  isForgetful(node: ClusterNode): boolean {
    const judged = this.#of(node)
    return this.#hasForgotten(judged, judged.told)
  }

  /** Looks at a node that runs. */
  look(node: ClusterNode): void {
    // A host whose store failed listens to nobody, and says nothing any more.
    if (node.host.failure !== undefined) return
    const { host } = node
    const stored = [...host.stored().values()]
    // A replica that is open notes it with its next turn.
    const all = [...stored, ...[...host.groups().values()].map((group) => group.status())]
    const quarantined = all.some((each) => each.quarantined)
    if (quarantined && !this.isForgetful(node))
      this.#broken('the healthy are not quarantined', `${node.name} has lost nothing that it told`)
    const { toldBy } = this.#of(node)
    if (toldBy === undefined || quarantined || !stored.some(isAlive)) return
    this.#broken('who forgot is quarantined', `${node.name}, to whom ${toldBy} spoke`)
  }

  /** Who knows says so, whatever else is said. */
  #checkSaid(from: ClusterNode, to: ClusterNode, { marks }: Frame): void {
    const heard = this.#heard.get(processOf(from))?.get(diskOf(to))
    // Of more than are kept, nobody knows here which.
    if (heard === undefined || heard.size >= maximumKnownMarks) return
    for (const [life, position] of heard) {
      const said = marks?.known.find((mark) => mark.life === life)
      if ((said?.position ?? 0) >= position) continue
      this.#broken('who knows says so', `${from.name} has heard more of the disk of ${to.name} than it says`)
    }
  }

  #hasForgotten({ chain }: Judged, heard: Positions): boolean {
    for (const [life, position] of heard) if ((chain.get(life) ?? -1) < position) return true
    return false
  }

  #of(node: ClusterNode): Judged {
    return this.#nodes.get(node) as Judged
  }
}

function isAlive({ destroyed, superseded }: { destroyed: boolean; superseded: boolean }): boolean {
  return !destroyed && !superseded
}

function opened(node: ClusterNode): number {
  return node.store.durablePosition?.() ?? 0
}

function raise(positions: Positions, life: number, position: number): void {
  positions.set(life, Math.max(positions.get(life) ?? 0, position))
}

function processOf({ name, process }: ClusterNode): string {
  return `${name}/${process.life}`
}

function diskOf({ name, store }: ClusterNode): string {
  return `${name}/${store.incarnation}`
}

/** Somebody counts on what it says. */
function isPromise({ message }: GroupMessage): boolean {
  switch (message.kind) {
    case 'vote':
    case 'heartbeatReply':
      return true
    case 'voteReply':
      return message.granted
    case 'appendReply':
      return message.accepted
    default:
      return false
  }
}
