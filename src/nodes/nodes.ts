import { randomBytes } from 'node:crypto'
import { checkMembers, checkText } from '../core/arguments.ts'
import { type CallOptions, sleep, throwIfAborted } from '../core/async.ts'
import { hex, text } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { checkCall, checkOptions, functionOption, objectOption, showValue } from '../core/options.ts'
import type { KeyValue, MetadataStore, Transaction } from '../interfaces/metadata-store.ts'
import { follow } from '../jobs/follow.ts'
import { listKeys } from '../metadata/follow.ts'
import { checkName, type NodeId } from '../model/ids.ts'
import { allNodes, allSessions, allTokens, liveKey, nodeKey, tokenKey } from './core/keys.ts'
import { admit, checkSuccession, type LifeChange, nextState, withState } from './core/life.ts'
import {
  checkNodeDescriptor,
  decodeLiveNode,
  decodeNodeRecord,
  decodeTokenRecord,
  encodeNodeRecord,
  encodeTokenRecord,
  type NodeRecord,
} from './core/record.ts'
import { checkSecret, hashSecret, type JoinRequest } from './join.ts'

/** Options of {@link Nodes}. */
export interface NodesOptions {
  /** Where nodes and tokens are kept. */
  readonly store: MetadataStore
  /** Clock, timers, random numbers, logger and metrics. */
  readonly env: Environment
  /** Replicas of ranges that a node holds by the directory: a node goes only when it holds none. */
  readonly replicasOf: (nodeId: NodeId, options: CallOptions) => Promise<number>
  /** Draws secrets. Default: the system's generator. */
  readonly secretBytes?: (length: number) => Uint8Array
}

/** Options of {@link Nodes.createToken}. */
export interface CreateTokenOptions extends CallOptions {
  /** Default: an hour. At most 30 days. */
  readonly validForMs?: number
  /** Who is to join with it, for people. */
  readonly reason: string
}

/** How a node was admitted. */
export interface JoinResult {
  /** The node as the store keeps it from now on. */
  readonly record: NodeRecord
  /** Its first life, a new one after its disk was lost, or the one that it had already. */
  readonly life: 'first' | 'new' | 'same'
}

const maximumTokens = 10_000
const maximumValidForMs = 30 * 24 * 3_600_000
const defaultValidForMs = 3_600_000
const retryDelayMs = 100

/**
 * The nodes of a cluster, for anybody who can reach the store: join tokens, admission, drain and decommission. Safe to use
 * from several processes at once, since every write compares what it was decided on.
 */
export class Nodes {
  readonly #store: MetadataStore
  readonly #env: Environment
  readonly #replicasOf: NodesOptions['replicasOf']
  readonly #secretBytes: (length: number) => Uint8Array

  /** @throws KeelsonError `INVALID_OPTION` */
  constructor(options: NodesOptions) {
    const checked = checkOptions<Required<NodesOptions>>('Nodes', options, {
      store: objectOption<MetadataStore>(['txn', 'range', 'watch']),
      env: objectOption<Environment>(['clock', 'timers']),
      replicasOf: functionOption<NodesOptions['replicasOf']>(),
      secretBytes: functionOption<(length: number) => Uint8Array>((length) => randomBytes(length)),
    })
    this.#store = checked.store
    this.#env = checked.env
    this.#replicasOf = checked.replicasOf
    this.#secretBytes = checked.secretBytes
  }

  /**
   * Makes a token with which one node may join, once. Only its hash is stored, so it cannot be shown again.
   *
   * @throws KeelsonError `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`
   */
  async createToken(options: CreateTokenOptions): Promise<string> {
    checkCall('createToken', options, ['validForMs', 'reason'])
    const { validForMs = defaultValidForMs } = options
    if (!Number.isSafeInteger(validForMs) || validForMs < 1 || validForMs > maximumValidForMs) {
      throw new KeelsonError(
        'INVALID_ARGUMENT',
        `a token is valid for 1 to ${maximumValidForMs} ms, not ${showValue(validForMs)}`,
      )
    }
    checkReason(options.reason)
    const call = callOptions(options)
    await this.#dropExpiredTokens(call)
    const token = hex(this.#secretBytes(32))
    const record = { expiresAtMs: this.#env.clock.wallMs() + validForMs, reason: options.reason }
    // Repeating it after an unknown outcome writes the same key again.
    await this.#untilKnown(call, () =>
      this.#store.txn(
        { then: [{ type: 'put', key: tokenKey(hashSecret(token)), value: encodeTokenRecord(record) }] },
        call,
      ),
    )
    return token
  }

  /**
   * Admits a node, or says why not. A known incarnation shows its credential; a new node, or one whose directory was
   * lost, shows a token.
   *
   * @throws KeelsonError `UNAUTHORIZED`, `INVALID_ARGUMENT`, `CONFLICT` while another incarnation of it is alive
   */
  async join(request: JoinRequest, options: CallOptions = {}): Promise<JoinResult> {
    checkMembers(request, 'a request to join', ['descriptor', 'credential', 'token'])
    checkCall('join', options)
    const descriptor = checkNodeDescriptor(request.descriptor)
    const { nodeId } = descriptor
    const credentialHash = hashSecret(checkSecret(request.credential, 'a node credential'))
    const tokenHash =
      request.token === undefined ? undefined : hashSecret(checkSecret(request.token, 'a join token'))
    for (;;) {
      const entry = await this.#store.get(nodeKey(nodeId), options)
      const live = await this.#store.get(liveKey(nodeId), options)
      const token = tokenHash === undefined ? undefined : await this.#store.get(tokenKey(tokenHash), options)
      const before = entry === undefined ? undefined : decodeNodeRecord(entry.value)
      const admitted = admit(
        {
          record: before,
          token: token === undefined ? undefined : decodeTokenRecord(token.value),
          live: live === undefined ? undefined : decodeLiveNode(live.value).incarnation,
        },
        {
          descriptor,
          credentialHash,
          ...(tokenHash === undefined ? {} : { tokenHash }),
          wallMs: this.#env.clock.wallMs(),
        },
      )
      checkSuccession(before, admitted.record)
      const done = await this.#write(
        {
          if: [
            { key: nodeKey(nodeId), target: 'modRevision', is: '=', operand: entry?.modRevision ?? 0 },
            ...(admitted.usesToken
              ? ([
                  { key: (token as KeyValue).key, target: 'version', is: '>', operand: 0 },
                  { key: liveKey(nodeId), target: 'version', is: '=', operand: 0 },
                ] as const)
              : []),
          ],
          then: [
            { type: 'put', key: nodeKey(nodeId), value: encodeNodeRecord(admitted.record) },
            ...(admitted.usesToken
              ? ([{ type: 'delete', select: { key: (token as KeyValue).key } }] as const)
              : []),
          ],
        },
        options,
      )
      if (done) return { record: admitted.record, life: admitted.life }
    }
  }

  /** A node's record, or undefined when it never joined. */
  async get(nodeId: NodeId, options: CallOptions = {}): Promise<NodeRecord | undefined> {
    checkName(nodeId, 'a node id')
    checkCall('get', options)
    const entry = await this.#store.get(nodeKey(nodeId), options)
    return entry === undefined ? undefined : decodeNodeRecord(entry.value)
  }

  /** All nodes that ever joined, by id. */
  async list(options: CallOptions = {}): Promise<readonly NodeRecord[]> {
    checkCall('list', options)
    for await (const change of follow(this.#store, this.#env, allNodes, options)) {
      if (change.type === 'snapshot') return change.entries.map((entry) => decodeNodeRecord(entry.value))
    }
    throwIfAborted(options.signal)
    return []
  }

  /** The epoch of each node that holds its session: who is not in it is not alive. */
  async epochs(options: CallOptions = {}): Promise<ReadonlyMap<NodeId, number>> {
    checkCall('epochs', options)
    const { entries } = await listKeys(this.#store, allSessions, options)
    const prefix = text(allSessions.key).length
    return new Map(entries.map(({ key, session }) => [text(key).slice(prefix), session]))
  }

  /** Has all replicas moved off a node. @throws KeelsonError `NOT_FOUND`, `CONFLICT` */
  async drain(nodeId: NodeId, reason: string, options: CallOptions = {}): Promise<NodeRecord> {
    return this.#change(nodeId, 'drain', reason, options)
  }

  /** Takes a drain back. @throws KeelsonError `NOT_FOUND`, `CONFLICT` */
  async undrain(nodeId: NodeId, reason: string, options: CallOptions = {}): Promise<NodeRecord> {
    return this.#change(nodeId, 'undrain', reason, options)
  }

  /** Sends a drained node away for good. @throws KeelsonError `NOT_FOUND`, `CONFLICT` */
  async decommission(nodeId: NodeId, reason: string, options: CallOptions = {}): Promise<NodeRecord> {
    return this.#change(nodeId, 'decommission', reason, options)
  }

  async #change(
    nodeId: NodeId,
    change: LifeChange,
    reason: string,
    options: CallOptions,
  ): Promise<NodeRecord> {
    checkName(nodeId, 'a node id')
    checkReason(reason)
    checkCall(change, options)
    for (;;) {
      const entry = await this.#store.get(nodeKey(nodeId), options)
      if (entry === undefined)
        throw new KeelsonError(
          'NOT_FOUND',
          `no node ${nodeId} ever joined; look at the list of nodes for its name`,
        )
      const before = decodeNodeRecord(entry.value)
      const live = await this.#store.get(liveKey(nodeId), options)
      const replicas = change === 'decommission' ? await this.#replicasOf(nodeId, options) : 0
      const state = nextState(nodeId, before.state, change, { replicas, live: live !== undefined })
      if (state === undefined) return before
      const after = withState(before, state, reason, this.#env.clock.wallMs())
      checkSuccession(before, after)
      const done = await this.#write(
        {
          if: [{ key: entry.key, target: 'modRevision', is: '=', operand: entry.modRevision }],
          then: [{ type: 'put', key: entry.key, value: encodeNodeRecord(after) }],
        },
        options,
      )
      if (done) return after
    }
  }

  /** False when a compare failed or nobody knows: the caller reads again and decides anew. */
  async #write(transaction: Transaction, options: CallOptions): Promise<boolean> {
    try {
      return (await this.#store.txn(transaction, options)).succeeded
    } catch (error) {
      if (!KeelsonError.is(error) || error.outcome !== 'unknown' || !error.retryable) throw error
      await sleep(this.#env.timers, retryDelayMs, options.signal)
      return false
    }
  }

  async #untilKnown<T>(options: CallOptions, call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call()
      } catch (error) {
        if (!KeelsonError.is(error) || error.outcome !== 'unknown' || !error.retryable) throw error
        await sleep(this.#env.timers, retryDelayMs, options.signal)
      }
    }
  }

  async #dropExpiredTokens(options: CallOptions): Promise<void> {
    const { entries, count } = await this.#store.range(allTokens, options)
    const now = this.#env.clock.wallMs()
    const expired = entries.filter(({ value }) => decodeTokenRecord(value).expiresAtMs < now).slice(0, 64)
    if (count - expired.length >= maximumTokens) {
      throw new KeelsonError(
        'LIMIT_EXCEEDED',
        `there are ${count} join tokens that nobody has used; use them, or wait until their time is over`,
      )
    }
    if (expired.length === 0) return
    await this.#untilKnown(options, () =>
      this.#store.txn({ then: expired.map(({ key }) => ({ type: 'delete', select: { key } })) }, options),
    )
  }
}

function checkReason(reason: string): void {
  checkText(reason, 'the reason, for people to read,', 1024)
}

function callOptions(options: CallOptions): CallOptions {
  return options.signal === undefined ? {} : { signal: options.signal }
}
