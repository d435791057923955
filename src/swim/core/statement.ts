import { crc32 } from '../../core/checksum.ts'
import type { Incarnation, NodeId } from '../../model/ids.ts'
import { bucketOf, digestOf } from './digest.ts'
import type { MemberState, ProtocolRange, SwimMember } from './types.ts'

/** Metadata up to this length travels with the statement; longer ones are pulled by whoever wants them. */
export const inlineMetadataBytes = 512

/** What {@link Statement} is made of. */
export interface StatementFields {
  /** Whom it is about. */
  readonly nodeId: NodeId
  /** Life of its data directory. */
  readonly incarnation: Incarnation
  /** Its number: of two statements the higher one counts. */
  readonly version: number
  /** `host:port` at which the member takes datagrams. */
  readonly address: string
  /** What it tells about itself, in the host's own encoding; empty while a long one has not arrived. */
  readonly metadata: Uint8Array
  /** Length of the metadata. Default: that of `metadata`. */
  readonly metadataBytes?: number
  /** Checksum of metadata that travel apart. Default: that of `metadata`. */
  readonly metadataChecksum?: number
  /** Versions of the protocol that the member speaks. Default: the present one only. */
  readonly protocols?: ProtocolRange
}

/**
 * The protocols that this release speaks. Whoever speaks 3 also takes views as streams; whoever speaks 4 proves that what it asks
 * for is asked for now; whoever speaks 5 says of a question how long answers are waited for. The packets of 2 are in all of them.
 */
export const ownProtocols: ProtocolRange = Object.freeze({ minimum: 2, maximum: 5 })

/** A member as one view holds it, with what the view needs of it. Never changed, so that views can share it. */
export interface Entry {
  readonly member: SwimMember
  readonly statement: Statement
  readonly bucket: number
  readonly digest: number
}

/**
 * What a member said about itself. Never changed; whoever refers to it shares it, which is what lets a simulation hold
 * thousands of views of thousands of members.
 */
export class Statement {
  /** Whom it is about. */
  readonly nodeId: NodeId
  /** Life of its data directory. */
  readonly incarnation: Incarnation
  /** Its number. */
  readonly version: number
  /** `host:port` */
  readonly address: string
  /** Empty while a long one has not arrived. */
  readonly metadata: Uint8Array
  /** Length of the metadata. */
  readonly metadataBytes: number
  /** Checksum of metadata that travel apart; 0 for short ones. */
  readonly metadataChecksum: number
  /** Versions of the protocol that the member speaks. */
  readonly protocols: ProtocolRange
  /** One for each state at the statement's own version. */
  readonly #entries: Partial<Record<MemberState, Entry>> = {}

  /** `fields` are taken as they are. */
  constructor(fields: StatementFields) {
    const { metadata } = fields
    this.nodeId = fields.nodeId
    this.incarnation = fields.incarnation
    this.version = fields.version
    this.address = fields.address
    this.metadata = metadata
    this.metadataBytes = fields.metadataBytes ?? metadata.length
    this.metadataChecksum =
      this.metadataBytes <= inlineMetadataBytes ? 0 : (fields.metadataChecksum ?? (crc32(metadata) || 1))
    this.protocols = fields.protocols ?? ownProtocols
  }

  /** False while long metadata have not arrived. */
  get complete(): boolean {
    return this.metadata.length === this.metadataBytes
  }

  /** @internal The member in a state, at the statement's version or, for what others say of it, at a higher one. */
  entry(state: MemberState, version: number = this.version): Entry {
    if (version !== this.version) return this.#makeEntry(state, version)
    this.#entries[state] ??= this.#makeEntry(state, version)
    return this.#entries[state]
  }

  /** The same but for these fields. */
  with(change: Partial<StatementFields>): Statement {
    const { nodeId, incarnation, version, address, metadata, metadataBytes, metadataChecksum, protocols } =
      this
    const fields = { nodeId, incarnation, version, address, metadata, protocols }
    if (change.metadata !== undefined) return new Statement({ ...fields, ...change })
    return new Statement({ ...fields, metadataBytes, metadataChecksum, ...change })
  }

  /** True when both say the same, under whatever version. */
  sameContent(other: Statement): boolean {
    return (
      this.incarnation === other.incarnation &&
      this.address === other.address &&
      this.protocols.minimum === other.protocols.minimum &&
      this.protocols.maximum === other.protocols.maximum &&
      this.sameMetadata(other)
    )
  }

  /** True when both have the same metadata, whether they have arrived or not. */
  sameMetadata(other: Statement): boolean {
    if (this.metadataBytes !== other.metadataBytes) return false
    if (this.metadataBytes > inlineMetadataBytes) return this.metadataChecksum === other.metadataChecksum
    return this.metadata.every((byte, i) => byte === other.metadata[i])
  }

  #makeEntry(state: MemberState, version: number): Entry {
    const { nodeId, incarnation, address, metadata, metadataBytes, protocols } = this
    return {
      member: { nodeId, incarnation, version, address, metadata, metadataBytes, protocols, state },
      statement: this,
      bucket: bucketOf(nodeId),
      digest: digestOf(this, state, version),
    }
  }
}

/** Of whoever only the death was heard of. */
export function rumour(nodeId: NodeId, version: number, incarnation = 0): Statement {
  return new Statement({ nodeId, version, incarnation, address: '', metadata: noBytes })
}

const noBytes = new Uint8Array(0)
