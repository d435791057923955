import { checkArray, checkMembers, checkObject, checkText } from '../core/arguments.ts'
import type { CallOptions } from '../core/async.ts'
import { decodePlain, encodePlain, Fields } from '../core/codec.ts'
import { KeelsonError } from '../core/errors.ts'
import { invariant } from '../core/invariant.ts'
import { checkCall } from '../core/options.ts'
import type {
  Compare,
  KeyValue,
  MetadataStore,
  SessionId,
  Transaction,
  TransactionResult,
} from '../interfaces/metadata-store.ts'
import { keyPrefixes, pathKey } from './keys.ts'

/** Who owns an epoch. */
export interface EpochOwner {
  /** Larger than that of every owner before. */
  readonly number: number
  /** Name that the owner gave when it acquired it. */
  readonly holder: string
}

const formatVersion = 1

function decodeOwner(entry: KeyValue): EpochOwner {
  const fields = new Fields(decodePlain(entry.value, 'an epoch'), 'an epoch')
  const format = fields.uint('format')
  if (format !== formatVersion)
    throw new KeelsonError(
      'FORMAT_VERSION',
      `an epoch has format ${format}, but this release knows ${formatVersion}: use a newer release`,
    )
  return { number: entry.modRevision, holder: fields.string('holder') }
}

/**
 * The right of one controller to write, until the next one of the same name takes it. Every write that goes through it
 * carries a compare that fails as soon as somebody else has acquired the name: a deposed controller that wakes up
 * changes nothing.
 *
 * The number of an epoch is the revision at which it was acquired, so that numbers grow and never repeat, whatever
 * happens to the key.
 */
export class ControllerEpoch {
  /** What the epoch is the right to: the name that owners acquire. */
  readonly name: string
  /** Name of the owner. */
  readonly holder: string
  /** Larger than that of every epoch before. */
  readonly number: number
  readonly #store: MetadataStore
  readonly #key: Uint8Array

  private constructor(store: MetadataStore, name: string, holder: string, number: number) {
    this.#store = store
    this.#key = pathKey(keyPrefixes.epochs, name)
    this.name = name
    this.holder = holder
    this.number = number
  }

  /**
   * Takes the epoch of `name`, from whomever. With a session it ends when the session does.
   *
   * @throws KeelsonError as {@link MetadataStore.txn}; after `OUTCOME_UNKNOWN` acquire again
   */
  static async acquire(
    store: MetadataStore,
    name: string,
    holder: string,
    options: CallOptions & { readonly session?: SessionId } = {},
  ): Promise<ControllerEpoch> {
    checkObject(store, 'the store of an epoch', ['txn'])
    checkText(holder, 'the holder of an epoch', 256)
    checkCall('ControllerEpoch.acquire', options, ['session'])
    const { session, ...call } = options
    const put = {
      type: 'put',
      key: pathKey(keyPrefixes.epochs, name),
      value: encodePlain([formatVersion, holder]),
    } as const
    const { revision } = await store.txn({ then: [session === undefined ? put : { ...put, session }] }, call)
    return new ControllerEpoch(store, name, holder, revision)
  }

  /** The owner of a name at the moment. */
  static async current(
    store: MetadataStore,
    name: string,
    options: CallOptions = {},
  ): Promise<EpochOwner | undefined> {
    checkObject(store, 'the store of an epoch', ['get'])
    checkCall('ControllerEpoch.current', options)
    const entry = await store.get(pathKey(keyPrefixes.epochs, name), options)
    return entry === undefined ? undefined : decodeOwner(entry)
  }

  /** Holds as long as nobody else has acquired the name. */
  fence(): Compare {
    return { key: this.#key, target: 'modRevision', is: '=', operand: this.number }
  }

  /** The error of a writer whose epoch has passed. */
  staleError(): KeelsonError {
    return new KeelsonError(
      'STALE_EPOCH',
      `epoch ${this.number} of '${this.name}' (${this.holder}) has ended: somebody else acquired it; stop, or acquire it again`,
      { details: { name: this.name, holder: this.holder, epoch: this.number } },
    )
  }

  /**
   * Runs a transaction under the epoch's fence. `else` may read, but not write: it is also where a lost epoch ends.
   *
   * @throws KeelsonError `STALE_EPOCH` when the epoch has ended: nothing was written; otherwise as
   *   {@link MetadataStore.txn}
   */
  async txn(transaction: Transaction, options: CallOptions = {}): Promise<TransactionResult> {
    checkMembers(transaction, 'a transaction', ['if', 'then', 'else'])
    const { if: compares = [], then = [], else: otherwise = [] } = transaction
    checkArray(compares, "'if' of a transaction")
    checkArray(then, "'then' of a transaction")
    checkArray(otherwise, "'else' of a transaction")
    if (otherwise.some((operation) => operation?.type !== 'range')) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        "'else' of a fenced transaction only reads: it runs also when the epoch has ended",
      )
    }
    const result = await this.#store.txn(
      {
        if: [this.fence(), ...compares],
        then,
        else: [...otherwise, { type: 'range', select: { key: this.#key } }],
      },
      options,
    )
    if (result.succeeded) return result
    const owner = result.results[result.results.length - 1]
    invariant(owner?.type === 'range', 'a range is answered by a range')
    if (owner.entries[0]?.modRevision !== this.number) throw this.staleError()
    return { ...result, results: result.results.slice(0, -1) }
  }
}
