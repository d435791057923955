import { type CallOptions, joinSignals, throwIfAborted } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { type ErrorCode, KeelsonError } from '../core/errors.ts'
import { checkCall } from '../core/options.ts'
import type { NodeId, RangeId } from '../model/ids.ts'
import type { Rpc } from '../transport/rpc.ts'
import { callLeader } from './leader-calls.ts'
import type {
  LostPartsAnswer,
  NodeAnswer,
  PlanAnswer,
  RangeAnswer,
  WhatIfAnswer,
} from './placement-answers.ts'
import {
  decodeAnswer,
  encodeQuestion,
  type ImaginedChange,
  type ImaginedOptions,
  type PlacementQuestion,
} from './placement-questions.ts'
import type { ServerRoster } from './server-roster.ts'

/** Name of the remote call. */
export const placementMethod = 'placement'
/** A leader stops by itself before: see `PlacementAnswers`. */
const attemptMs = { quick: 2_000, bounds: 65_000, whatIf: 125_000 }
/** They may pass, but whoever asks is told now, and decides. */
const told: readonly ErrorCode[] = ['OVERLOADED']
const defaultMoves = 50

/** How a leader is asked. */
export interface PlacementAskerPorts {
  readonly env: Environment
  readonly rpc: Rpc
  readonly roster: ServerRoster
  /** Aborted, with the reason, when whoever asks through it is closed. */
  readonly closed: AbortSignal
}

/**
 * Asks whoever leads about placement, from anywhere: why ranges and nodes are as they are, what is planned, and what would
 * come of a change. Nothing is changed by it. Every answer says which leader gave it, under which epoch, and when the plan
 * that it goes by was made.
 *
 * Every call throws KeelsonError `OVERLOADED` (retryable) while the leader has not planned yet or has no room for the question,
 * `UNSUPPORTED` when the leader does not know the question, and `ABORTED`; it waits for a leader until its signal is aborted.
 */
export class PlacementAsker {
  readonly #ports: PlacementAskerPorts | undefined

  /** @internal Made by servers, agents and clients. */
  constructor(ports: PlacementAskerPorts | undefined) {
    this.#ports = ports
  }

  /** Why a range is where it is, why not elsewhere, and what comes next. @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT` */
  async explain(rangeId: RangeId, call: CallOptions = {}): Promise<RangeAnswer> {
    checkCall('explain', call)
    return this.#ask({ type: 'explain', rangeId }, attemptMs.quick, call)
  }

  /** What a node has, what it waits for, what comes and goes. @throws KeelsonError `NOT_FOUND`, `INVALID_ARGUMENT` */
  async explainNode(nodeId: NodeId, call: CallOptions = {}): Promise<NodeAnswer> {
    checkCall('explainNode', call)
    return this.#ask({ type: 'explainNode', nodeId }, attemptMs.quick, call)
  }

  /**
   * The leader's last plan, and how good any plan could be.
   *
   * @param options `moves` is how many moves are told, at most 500 and 50 by default; `bounds: false` leaves the bounds of the whole
   *   cluster out, for which the leader looks at every replica
   * @throws KeelsonError `INVALID_ARGUMENT`; `LIMIT_EXCEEDED` when the bounds took more than a minute
   */
  async plan(
    options: CallOptions & { readonly moves?: number; readonly bounds?: boolean } = {},
  ): Promise<PlanAnswer> {
    checkCall('plan', options, ['moves', 'bounds'])
    const { moves = defaultMoves, bounds = true, ...call } = options
    return this.#ask({ type: 'plan', moves, bounds }, bounds ? attemptMs.bounds : attemptMs.quick, call)
  }

  /**
   * What would come of a change, by the policy in force: the leader's own planner on a copy of the cluster. One at a time.
   *
   * @throws KeelsonError `NOT_FOUND` for a node or domain that there is not, `INVALID_ARGUMENT`, `INVALID_OPTION`; `OVERLOADED`
   * while another one runs; `LIMIT_EXCEEDED` when it took more than two minutes
   */
  async whatIf(change: ImaginedChange, options: ImaginedOptions & CallOptions = {}): Promise<WhatIfAnswer> {
    checkCall('whatIf', options, ['limits', 'seed', 'maximumRounds'])
    const { signal, ...rest } = options
    return this.#ask(
      { type: 'whatIf', change, options: rest },
      attemptMs.whatIf,
      signal === undefined ? {} : { signal },
    )
  }

  /** Parts of the key space where the directory does not follow what the ranges report, and why. */
  async lostSight(call: CallOptions = {}): Promise<LostPartsAnswer> {
    checkCall('lostSight', call)
    return this.#ask({ type: 'lostSight' }, attemptMs.quick, call)
  }

  async #ask<T>(question: PlacementQuestion, attempt: number, call: CallOptions): Promise<T> {
    const body = encodeQuestion(question)
    throwIfAborted(call.signal)
    if (this.#ports === undefined) {
      throw new KeelsonError(
        'UNSUPPORTED',
        'this Admin reaches only the store; ask by that of a PlaneClient, a NodeAgent or a ControlPlane',
      )
    }
    const { closed } = this.#ports
    throwIfAborted(closed)
    const limit = joinSignals(call.signal, closed)
    try {
      return decodeAnswer<T>(
        await callLeader(this.#ports, placementMethod, body, {
          signal: limit.signal,
          idempotent: true,
          attemptMs: attempt,
          told,
        }),
      )
    } finally {
      limit.release()
    }
  }
}
