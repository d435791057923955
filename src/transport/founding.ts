import { KeelsonError } from '../core/errors.ts'
import { type ClusterId, checkId, type FoundingId } from '../model/ids.ts'

/**
 * The founding that a transport belongs to, and the one rule about it: two that know theirs must know the same.
 */
export class Founding {
  readonly #clusterId: ClusterId | undefined
  #id: FoundingId | undefined

  /** @throws KeelsonError `INVALID_ARGUMENT` */
  constructor(clusterId: ClusterId | undefined, id: FoundingId | undefined) {
    this.#clusterId = clusterId
    this.#id = id === undefined ? undefined : checkId(id, 'the founding')
  }

  get id(): FoundingId | undefined {
    return this.#id
  }

  /**
   * @returns false when it was fixed before: nothing changed
   * @throws KeelsonError `FOREIGN_CLUSTER`, `INVALID_ARGUMENT`
   */
  fix(id: FoundingId): boolean {
    const refusal = this.refusal(checkId(id, 'the founding'))
    if (refusal !== undefined) throw refusal
    if (this.#id !== undefined) return false
    this.#id = id
    return true
  }

  /** Why one that belongs to this founding is not talked to. */
  refusal(theirs: FoundingId | undefined): KeelsonError | undefined {
    if (theirs === undefined || this.#id === undefined || theirs === this.#id) return undefined
    return new KeelsonError(
      'FOREIGN_CLUSTER',
      `the peer belongs to another cluster that is also called ${this.#clusterId ?? 'so'}: a server that had lost its disk ` +
        'was told to bootstrap a second time. Stop that one, clear its directory and open it with join(…)',
      { details: { founding: this.#id, peerFounding: theirs } },
    )
  }
}
