import { utf8 } from '../core/bytes.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import type { MetadataStore, Operation } from '../interfaces/metadata-store.ts'
import type { Transport } from '../interfaces/transport.ts'
import { type ControllerEpoch, followKeys, keyPrefixes } from '../metadata/index.ts'
import { checkId, type FoundingId } from '../model/ids.ts'
import { type ByteLevel, byteEncodings, synced } from '../storage/level/database.ts'

// A cluster id may name two clusters: a server that has lost its disk and is still told to bootstrap, and can ask nobody,
// begins a second one. What tells them apart is the founding: drawn once, by the bootstrap, learned from whoever takes a
// process in, kept on its disk, and compared in every greeting (`Transport.belongTo`).

/** Where the metadata store keeps the founding, for whoever did not learn it otherwise. */
const foundingKey = utf8(`${keyPrefixes.cluster}founding`)
/** Where a server keeps it, beside its image of the metadata. */
const storedKey = utf8('server/founding')
const formatVersion = 1

/** A founding for a database and the store. */
export function encodeFounding(founding: FoundingId): Uint8Array {
  return encodePlain([formatVersion, founding])
}

/** The inverse of {@link encodeFounding}. @throws KeelsonError `MALFORMED`, `FORMAT_VERSION`, `INVALID_ARGUMENT` */
export function decodeFounding(bytes: Uint8Array): FoundingId {
  const fields = new Fields(decodePlain(bytes, 'a founding'), 'a founding')
  const version = fields.uint('version')
  if (version !== formatVersion) {
    throw new KeelsonError(
      'FORMAT_VERSION',
      `the founding of the cluster has format ${version}, but this release knows ${formatVersion}; open it with the release that wrote it`,
    )
  }
  return checkId(fields.uint('founding'), 'a founding')
}

/** What writes down in the metadata store which cluster it is of. */
export function putFounding(founding: FoundingId): Operation {
  return { type: 'put', key: foundingKey, value: encodeFounding(founding) }
}

/** What a server's database says that it belongs to; undefined for a server that never belonged to a cluster. */
export async function storedFounding(database: ByteLevel): Promise<FoundingId | undefined> {
  await database.open()
  const bytes = await database.get(storedKey, byteEncodings)
  return bytes === undefined ? undefined : decodeFounding(bytes)
}

/** Makes a server remember what it belongs to, durably. */
export async function storeFounding(database: ByteLevel, founding: FoundingId): Promise<void> {
  const batch = database.batch()
  batch.put(storedKey, encodeFounding(founding), byteEncodings)
  await batch.write(synced)
}

/**
 * The leader writes down what its cluster belongs to, where that is missing: the server that bootstrapped may have crashed
 * before it could. What a backup of another cluster brought is put right.
 */
export async function ensureFounding(
  store: MetadataStore,
  epoch: ControllerEpoch,
  known: FoundingId | undefined,
  drawn: FoundingId,
  signal: AbortSignal,
): Promise<void> {
  const entry = await store.get(foundingKey, { signal })
  if (entry !== undefined && (known === undefined || decodeFounding(entry.value) === known)) return
  await epoch.txn({ then: [putFounding(known ?? drawn)] }, { signal })
}

/** Waits until the store says what the cluster belongs to, and belongs to it; at once where that is known. */
export async function learnFounding(
  ports: { readonly store: MetadataStore; readonly transport: Transport; readonly logger: Logger },
  signal: AbortSignal,
): Promise<FoundingId> {
  const { store, transport, logger } = ports
  if (transport.founding !== undefined) return transport.founding
  for await (const step of followKeys(store, { key: foundingKey }, { signal, consistency: 'local' })) {
    const entries = step.type === 'snapshot' ? step.entries : step.events.map(({ entry }) => entry)
    const [entry] = entries
    if (entry === undefined || entry.value.length === 0) continue
    try {
      transport.belongTo(decodeFounding(entry.value))
    } catch (error) {
      // Somebody else was faster, and knows better: the leader puts the store right.
      if (!KeelsonError.hasCode(error, 'FOREIGN_CLUSTER')) throw error
      logger.error({ error }, 'the metadata store names another founding of the cluster than its servers')
    }
    if (transport.founding !== undefined) return transport.founding
  }
  throw new KeelsonError('CLOSED', 'the metadata store was closed')
}
