import { checkBytes } from '../core/arguments.ts'
import { type CallOptions, throwIfAborted } from '../core/async.ts'
import { ByteReader, ByteWriter, copyBytes } from '../core/bytes.ts'
import type { TimerHandle } from '../core/clock.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { checkCall, checkOptions, integerOption, objectOption } from '../core/options.ts'
import { chance } from '../core/random.ts'
import type { Swim } from './driver.ts'
import { answerOf, failure, judge } from './key-verdicts.ts'

/** The keys of a node's gossip: a `KeyRing` of `keelson/transport/datagram`. */
export interface RotatingKeys {
  /** Names of all keys, the one that is used to send first. */
  readonly ids: readonly string[]
  /** Packets that came under another key than the one that is used to send. */
  readonly mismatches: number
  /** Accepts a key from now on. */
  add(key: Uint8Array): void
  /** Sends with a key. */
  use(key: Uint8Array): void
  /** Accepts a key no more. */
  remove(key: Uint8Array): void
  /** All keys, the one that is used to send first: secrets. */
  secrets(): readonly Uint8Array[]
}

/** Options of {@link KeyRotation}. */
export interface KeyRotationOptions {
  /** Clock, timers, random numbers, logger. */
  readonly env: Environment
  /** Where the members are. */
  readonly swim: Swim
  /** This node's keys, which its socket uses. */
  readonly keys: RotatingKeys
  /** How often a node looks whether others use a key that it does not. Default: 10,000. */
  readonly checkIntervalMs?: number
  /** How long a member has time to answer. Default: 5,000. */
  readonly timeoutMs?: number
}

const queryName = 'keelson.keys'
const operations = { list: 0, add: 1, use: 2, remove: 3 } as const
/** Keys of which it is remembered when they were changed last. */
const maximumSubjects = 64
/** Members that answer a node which asks for the keys. */
const answersWanted = 8

/**
 * Changes the keys of a cluster's gossip while it runs, in two phases: first all members accept the new key, then all send with
 * it; the old one is accepted until it is retired. What travels is encrypted with the key before.
 *
 * A node that was down or cut off meanwhile sends with the old key; the others answer it with that one, and it asks them for
 * the new ones, as long as the old one is not retired.
 */
export class KeyRotation implements AsyncDisposable {
  readonly #env: Environment
  readonly #swim: Swim
  readonly #keys: RotatingKeys
  readonly #logger: Logger
  readonly #timeoutMs: number
  readonly #checkIntervalMs: number
  readonly #stopAnswering: () => void
  #timer: TimerHandle | undefined
  #mismatches: number
  /** The key that was used to send when it was looked at last. */
  #used: string | undefined
  #asking = false
  /** Lamport times of the newest operations, by key. */
  readonly #newest = new Map<string, number>()
  /** Somebody uses another key for certain, or a question of ours found too few answers. */
  #questioned = false
  #closed = false

  /** Answers for this node from now on. @throws KeelsonError `INVALID_OPTION`, `INVALID_ARGUMENT`, `CLOSED` */
  constructor(options: KeyRotationOptions) {
    const { env, swim, keys, checkIntervalMs, timeoutMs } = checkOptions<Required<KeyRotationOptions>>(
      'KeyRotation',
      options,
      {
        env: objectOption<Environment>(['clock', 'timers', 'random', 'logger', 'metrics']),
        swim: objectOption<Swim>(['ask', 'answer']),
        keys: objectOption<RotatingKeys>(['ids', 'mismatches', 'add', 'use', 'remove', 'secrets']),
        checkIntervalMs: integerOption({ min: 100, max: 86_400_000, fallback: 10_000 }),
        timeoutMs: integerOption({ min: 1, max: 3_600_000, fallback: 5_000 }),
      },
    )
    this.#env = env
    this.#swim = swim
    this.#keys = keys
    this.#logger = env.logger.child({ module: 'swim', nodeId: swim.self.nodeId })
    this.#timeoutMs = timeoutMs
    this.#checkIntervalMs = checkIntervalMs
    this.#mismatches = keys.mismatches
    this.#used = keys.ids[0]
    this.#stopAnswering = swim.answer(queryName, (payload, _, time) => this.#answer(payload, time))
    this.#plan()
  }

  /**
   * Makes all members that are alive accept `key`, and then send with it. Where it throws, the details say in which `phase` (`add`,
   * `use`) and which members: nothing is lost, and it can be called again.
   *
   * @throws KeelsonError `UNREACHABLE` where some did not answer (details `missing`); `CONFLICT` where some refused, as another
   * change was begun later (`overtaken`), or their key ring is full or does not let go of the key it sends with (`refused`);
   * `NOT_FOUND` where some do not know the key that they are to use (`unknown`). Of several the last named here is thrown. `ABORTED`,
   * `CLOSED`, `SUPERSEDED`, `OVERLOADED`, `INVALID_ARGUMENT`
   */
  async rotate(key: Uint8Array, options: CallOptions = {}): Promise<void> {
    checkBytes(key, 'a key')
    checkCall('rotate', options)
    await this.#phase('add', key, options)
    await this.#phase('use', key, options)
  }

  /**
   * Makes all members forget a key that is not used any more: once every node has the new one, or at once if the old one was
   * stolen. A node that is down now then needs the new key from its operator. The key that is used to send is refused (`CONFLICT`,
   * details `refused`).
   *
   * @throws KeelsonError as {@link KeyRotation.rotate}; the phase is `remove`
   */
  async retire(key: Uint8Array, options: CallOptions = {}): Promise<void> {
    checkBytes(key, 'a key')
    checkCall('retire', options)
    await this.#phase('remove', key, options)
  }

  /** Answers no more. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    this.#stopAnswering()
  }

  /** Closes it, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #phase(operation: 'add' | 'use' | 'remove', key: Uint8Array, { signal }: CallOptions): Promise<void> {
    throwIfAborted(signal)
    const payload = new ByteWriter(64).u8(operations[operation]).bytes(key).finish()
    const wanted = this.#swim.members().filter(({ state }) => state === 'alive' || state === 'suspect')
    const answers = await this.#swim.ask(queryName, payload, {
      timeoutMs: this.#timeoutMs,
      ...(signal === undefined ? {} : { signal }),
    })
    const verdict = judge(wanted, answers)
    if (verdict.done.length < wanted.length) throw failure(operation, verdict)
  }

  #answer(payload: Uint8Array, time: number): Uint8Array | undefined {
    const reader = new ByteReader(payload, 'a question about keys')
    const operation = reader.u8()
    if (operation === operations.list) return this.#list(reader.ascii(64))
    const key = copyBytes(reader.bytes())
    if (!this.#isNext(operation === operations.use ? '' : key.join(), time)) return answerOf('overtaken')
    try {
      if (operation === operations.add) this.#keys.add(key)
      else if (operation === operations.use) this.#keys.use(key)
      else if (operation === operations.remove) this.#keys.remove(key)
      else return undefined
    } catch (error) {
      this.#logger.warn({ error }, 'a change of the gossip keys was refused')
      return answerOf(KeelsonError.hasCode(error, 'NOT_FOUND') ? 'unknown' : 'refused')
    }
    return answerOf('done')
  }

  /**
   * False for what was overtaken: of the operations on one key, and of those that choose the key to send with (`''`), the one with the
   * highest Lamport time counts, in whatever order they come. Else late news would bring back a key that was retired.
   */
  #isNext(subject: string, time: number): boolean {
    if (time < (this.#newest.get(subject) ?? 0)) return false
    this.#newest.delete(subject)
    this.#newest.set(subject, time)
    if (this.#newest.size > maximumSubjects) this.#newest.delete(this.#newest.keys().next().value as string)
    return true
  }

  /** The key that we use, for a node that sends with another one. A few members answer, and not all at once. */
  #list(theirs: string): Uint8Array | undefined {
    const [ours] = this.#keys.ids
    if (theirs !== ours) this.#questioned = true
    if (!chance(this.#env.random, answersWanted / this.#alive)) return undefined
    const out = new ByteWriter(40)
    // Nothing to hand out is an answer too: it tells a node that others use the same key.
    const [used] = this.#keys.secrets()
    if (theirs !== ours && used !== undefined) out.bytes(used)
    return out.finish()
  }

  #plan(): void {
    if (this.#closed) return
    this.#timer = this.#env.timers.schedule(this.#checkIntervalMs, () => {
      this.#plan()
      if (this.#asking || !this.#hasDoubts()) return
      this.#asking = true
      this.#questioned = true
      this.#catchUp()
        .then((decided) => {
          this.#questioned = !decided
        })
        .catch((error: unknown) =>
          this.#logger.warn({ error }, 'the gossip keys of the others are not known'),
        )
        .finally(() => {
          this.#asking = false
        })
    })
  }

  /**
   * Whether this node should ask. Of all who see packets under another key a few do; whoever hears such a question from a node
   * that sends with another key than itself does so for certain, unless it has changed its key since.
   */
  #hasDoubts(): boolean {
    const { mismatches, ids } = this.#keys
    const changed = ids[0] !== this.#used
    const grew = mismatches !== this.#mismatches
    this.#mismatches = mismatches
    this.#used = ids[0]
    if (changed) this.#questioned = false
    if (changed) return false
    return this.#questioned || (grew && chance(this.#env.random, answersWanted / this.#alive))
  }

  get #alive(): number {
    return this.#swim.status().members.alive
  }

  /**
   * Somebody uses another key: asks what the others have, and sends with what most of them send with. False when too few
   * answered, who may not know this node yet.
   */
  async #catchUp(): Promise<boolean> {
    const [ours = ''] = this.#keys.ids
    const payload = new ByteWriter(80).u8(operations.list).ascii(ours).finish()
    const answers = await this.#swim.ask(queryName, payload, { timeoutMs: this.#timeoutMs })
    const votes = new Map<string, { readonly key: Uint8Array; count: number }>()
    let agreeing = 0
    for (const { nodeId, payload: answer } of answers) {
      if (nodeId === this.#swim.self.nodeId) continue
      const reader = new ByteReader(answer, 'the keys of a member')
      if (reader.remaining === 0) {
        agreeing++
        continue
      }
      const used = copyBytes(reader.bytes())
      const vote = votes.get(used.join()) ?? { key: used, count: 0 }
      vote.count++
      votes.set(used.join(), vote)
    }
    // It takes half of the members, or as many as answer in a large cluster.
    const [best] = [...votes.values()].sort((a, b) => b.count - a.count)
    const wanted = Math.min(answersWanted / 2, this.#alive / 2)
    const differing = best?.count ?? 0
    if (best !== undefined && differing > agreeing && differing >= wanted) {
      this.#keys.add(best.key)
      this.#keys.use(best.key)
    }
    return Math.max(agreeing, differing) >= Math.min(wanted, this.#alive - 1)
  }
}
