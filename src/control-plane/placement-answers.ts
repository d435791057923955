import { abortable, type CallOptions, deadline } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { inSlices } from '../core/sliced.ts'
import type { NodeId } from '../model/ids.ts'
import { parseLocality } from '../model/locality.ts'
import {
  boundingCluster,
  type ClusterBounds,
  type ClusterSummary,
  type LostPart,
  type MoveRates,
  type NodeExplanation,
  type PlacementController,
  type PlacementNode,
  type Plan,
  type RangeExplanation,
  type WhatIfChange,
  type WhatIfResult,
} from '../placement/index.ts'
import {
  decodeQuestion,
  encodeAnswer,
  type ImaginedChange,
  type ImaginedNode,
  type PlacementQuestion,
} from './placement-questions.ts'

/** Who answered, and by what. */
export interface AnswerOrigin {
  /** The server that led. */
  readonly leader: NodeId
  /** The epoch of its duties. */
  readonly epoch: number
  /** When the last plan was made, in milliseconds since the Unix epoch by the leader's wall clock: for people. */
  readonly plannedAtMs: number
}

/** Why a range is where it is. */
export interface RangeAnswer {
  /** Who answered. */
  readonly madeBy: AnswerOrigin
  /** What it says. */
  readonly explanation: RangeExplanation
}

/** Why a node has what it has. */
export interface NodeAnswer {
  /** Who answered. */
  readonly madeBy: AnswerOrigin
  /** What it says. Of each kind of moves the first hundred. */
  readonly explanation: NodeExplanation
  /** Moves that the explanation leaves out. */
  readonly leftOut: {
    /** Of those under way. */
    readonly underWay: number
    /** Of those planned to it. */
    readonly arriving: number
    /** Of those planned away from it. */
    readonly leaving: number
  }
}

/** The leader's last plan. */
export interface PlanAnswer {
  /** Who answered. */
  readonly madeBy: AnswerOrigin
  /** What it says: as many moves as were asked for, and the first hundred ranges that are blocked. */
  readonly plan: Plan
  /** Moves in the plan, those that are not told included. */
  readonly moveCount: number
  /** Moves that were begun and have not ended. */
  readonly underWay: number
  /** How good any placement could be, over the whole cluster; undefined when it was not asked for. */
  readonly bounds?: ClusterBounds
  /** When the bounds were worked out, by the leader's wall clock; they are a while older than the plan in a large cluster. */
  readonly boundsAtMs?: number
}

/** What would come of a change. */
export interface WhatIfAnswer {
  /** Who answered. */
  readonly madeBy: AnswerOrigin
  /** What it says: the first hundred moves, the first hundred blocked ranges, and of each summary the hundred fullest stores. */
  readonly result: WhatIfResult
  /** Stores that each of the summaries leaves out. */
  readonly storesLeftOut: {
    /** Of the cluster as it is. */
    readonly before: number
    /** Of the cluster right after the change. */
    readonly changed: number
    /** Of the cluster at the end. */
    readonly after: number
  }
}

/** Where the directory does not follow the ranges. */
export interface LostPartsAnswer {
  /** Who answered. */
  readonly madeBy: AnswerOrigin
  /** The first hundred. */
  readonly parts: readonly LostPart[]
  /** Those that are left out. */
  readonly leftOut: number
}

/** What a {@link PlacementAnswers} needs of the leader. */
export interface PlacementAnswersParts {
  readonly env: Environment
  /** Who leads, and under which epoch. */
  readonly epoch: { readonly holder: NodeId; readonly number: number }
  readonly placement: Pick<
    PlacementController,
    'planned' | 'moves' | 'explaining' | 'explainingNode' | 'whatIf' | 'lostSight' | 'snapshot' | 'policy'
  >
  /** How fast replicas move: what the bound of repair goes by. */
  readonly rates: MoveRates
  /** Aborted when this server does not lead any more. */
  readonly signal: AbortSignal
}

const most = 100
/** Below what a remote call carries. */
const mostAnswerBytes = 1000 * 1024
const boundsLimitMs = 60_000
const whatIfLimitMs = 120_000
/** Bounds are taken for those of now for so long, and for so many times as long as they took. */
const boundsFreshMs = 5_000
const boundsIdleParts = 20

interface BoundsRun {
  readonly result: Promise<TimedBounds>
  readonly stop: AbortController
  waiting: number
}

interface TimedBounds {
  readonly bounds: ClusterBounds
  readonly atMs: number
  /** On the monotonic clock. */
  readonly freshUntilMs: number
}

/**
 * The leader's end of what is asked about placement. Explanations, bounds and what-ifs are worked out in slices that aim at two
 * milliseconds, and end with whoever asked. What a slice took at most on two slow processors that others used as well, with 1,000 nodes:
 * of an explanation 3 ms once there is a plan, and 8 ms where first one is made of what has changed; of the bounds 13 ms with 100,000 ranges, and
 * 15 ms with a million, beside the collection of garbage that their arrays bring about (98 to 170 ms where a planner holds a million ranges). In one
 * go go the view of the cluster, by the nodes and by what has changed since the last round, and an answer when it is encoded: one of 500
 * moves, the largest plan that is told, in 3 to 10 ms.
 */
export class PlacementAnswers {
  readonly #parts: PlacementAnswersParts
  #bounds: TimedBounds | undefined
  #run: BoundsRun | undefined

  /** @internal Made with the duties of a leader. */
  constructor(parts: PlacementAnswersParts) {
    this.#parts = parts
  }

  /**
   * Answers a question that came over the network.
   *
   * @throws KeelsonError `MALFORMED`, `INVALID_ARGUMENT`, `LIMIT_EXCEEDED`, `UNSUPPORTED`, `NOT_FOUND`, `OVERLOADED`, `ABORTED`
   */
  async answer(body: Uint8Array, call: CallOptions): Promise<Uint8Array> {
    return encodeAnswer(await this.#answer(decodeQuestion(body), call), mostAnswerBytes)
  }

  async #answer(
    question: PlacementQuestion,
    call: CallOptions,
  ): Promise<RangeAnswer | NodeAnswer | PlanAnswer | WhatIfAnswer | LostPartsAnswer> {
    const { env, placement } = this.#parts
    this.#requirePlan()
    switch (question.type) {
      case 'explain': {
        const explanation = await inSlices(placement.explaining(question.rangeId), env, call)
        return { madeBy: this.#origin(), explanation }
      }
      case 'explainNode':
        return this.#explainNode(question.nodeId, call)
      case 'plan':
        return this.#plan(question.moves, question.bounds, call)
      case 'whatIf':
        return this.#whatIf(question, call)
      case 'lostSight': {
        const parts = placement.lostSight()
        return {
          madeBy: this.#origin(),
          parts: parts.slice(0, most),
          leftOut: Math.max(0, parts.length - most),
        }
      }
    }
  }

  #requirePlan(): NonNullable<ReturnType<PlacementController['planned']>> {
    const planned = this.#parts.placement.planned()
    if (planned !== undefined) return planned
    throw new KeelsonError(
      'OVERLOADED',
      `${this.#parts.epoch.holder} leads and has not planned yet: it reads the ranges and the rules first; try again`,
    )
  }

  #origin(): AnswerOrigin {
    const { epoch } = this.#parts
    return { leader: epoch.holder, epoch: epoch.number, plannedAtMs: this.#requirePlan().atMs }
  }

  async #explainNode(nodeId: NodeId, call: CallOptions): Promise<NodeAnswer> {
    const { env, placement } = this.#parts
    const explanation = await inSlices(placement.explainingNode(nodeId), env, call)
    const { underWay, arriving, leaving } = explanation
    const beyond = (moves: readonly unknown[]): number => Math.max(0, moves.length - most)
    return {
      madeBy: this.#origin(),
      explanation: {
        ...explanation,
        underWay: underWay.slice(0, most),
        arriving: arriving.slice(0, most),
        leaving: leaving.slice(0, most),
      },
      leftOut: { underWay: beyond(underWay), arriving: beyond(arriving), leaving: beyond(leaving) },
    }
  }

  async #plan(moves: number, withBounds: boolean, call: CallOptions): Promise<PlanAnswer> {
    const timed = withBounds ? await this.#boundsOfNow(call) : undefined
    const { plan } = this.#requirePlan()
    return {
      madeBy: this.#origin(),
      plan: { ...plan, moves: plan.moves.slice(0, moves), blocked: plan.blocked.slice(0, most) },
      moveCount: plan.moves.length,
      underWay: this.#parts.placement.moves().length,
      ...(timed === undefined ? {} : { bounds: timed.bounds, boundsAtMs: timed.atMs }),
    }
  }

  /** One computation serves all who ask meanwhile, and ends when the last of them is gone. */
  async #boundsOfNow({ signal }: CallOptions): Promise<TimedBounds> {
    const { clock } = this.#parts.env
    if (this.#bounds !== undefined && clock.monotonicMs() < this.#bounds.freshUntilMs) return this.#bounds
    this.#run ??= this.#startBounds()
    const run = this.#run
    run.waiting++
    try {
      return await abortable(run.result, signal)
    } finally {
      if (--run.waiting === 0) {
        run.stop.abort(new KeelsonError('ABORTED', 'nobody waits for the bounds any more'))
        if (this.#run === run) this.#run = undefined
      }
    }
  }

  #startBounds(): BoundsRun {
    const stop = new AbortController()
    const result = this.#workOutBounds(stop.signal)
    result.catch(() => {})
    return { result, stop, waiting: 0 }
  }

  async #workOutBounds(stop: AbortSignal): Promise<TimedBounds> {
    const { env, placement, rates, signal } = this.#parts
    const startedMs = env.clock.monotonicMs()
    const atMs = env.clock.wallMs()
    // Rates adapt; a bound goes by the fastest that they may be.
    const bandwidth = {
      ingressBytesPerSecond: rates.incomingBytesPerSecond * rates.maximumFactor,
      egressBytesPerSecond: rates.outgoingBytesPerSecond * rates.maximumFactor,
    }
    const limit = deadline(
      env.timers,
      boundsLimitMs,
      () => tooLong('the bounds', boundsLimitMs),
      stop,
      signal,
    )
    try {
      const work = boundingCluster(placement.snapshot(), placement.policy, { bandwidth })
      const bounds = await inSlices(work, env, { signal: limit.signal })
      const nowMs = env.clock.monotonicMs()
      const freshUntilMs = nowMs + Math.max(boundsFreshMs, (nowMs - startedMs) * boundsIdleParts)
      this.#bounds = { bounds, atMs, freshUntilMs }
      return this.#bounds
    } finally {
      limit.release()
    }
  }

  async #whatIf(
    { change, options }: Extract<PlacementQuestion, { readonly type: 'whatIf' }>,
    { signal }: CallOptions,
  ): Promise<WhatIfAnswer> {
    const { env, placement } = this.#parts
    const madeBy = this.#origin()
    const limit = deadline(env.timers, whatIfLimitMs, () => tooLong('the what-if', whatIfLimitMs), signal)
    try {
      const result = await placement.whatIf(imagined(change), { ...options, signal: limit.signal })
      const [before, changed, after] = [result.before, result.changed, result.after].map(theFullest) as [
        Shortened,
        Shortened,
        Shortened,
      ]
      return {
        madeBy,
        result: {
          ...result,
          before: before.summary,
          changed: changed.summary,
          after: after.summary,
          moves: result.moves.slice(0, most),
          blocked: result.blocked.slice(0, most),
        },
        storesLeftOut: { before: before.leftOut, changed: changed.leftOut, after: after.leftOut },
      }
    } finally {
      limit.release()
    }
  }
}

interface Shortened {
  readonly summary: ClusterSummary
  readonly leftOut: number
}

/** A summary of which only the fullest stores are told, in the order in which they stood. */
function theFullest(summary: ClusterSummary): Shortened {
  const { stores } = summary
  const fullness = stores.map(({ used, capacity }) =>
    Object.entries(capacity).reduce(
      (fullest, [name, room]) => (room > 0 ? Math.max(fullest, (used[name] ?? 0) / room) : fullest),
      0,
    ),
  )
  const told = stores
    .map((_, i) => i)
    .sort((a, b) => (fullness[b] as number) - (fullness[a] as number) || a - b)
    .slice(0, most)
    .sort((a, b) => a - b)
  return {
    summary: { ...summary, stores: told.map((i) => stores[i] as ClusterSummary['stores'][number]) },
    leftOut: stores.length - told.length,
  }
}

/** A change as the planner takes it. */
function imagined({ addNodes, ...change }: ImaginedChange): WhatIfChange {
  return addNodes === undefined ? change : { ...change, addNodes: addNodes.map(asNode) }
}

function asNode({ nodeId, locality = '', capacity = {}, labels = {} }: ImaginedNode): PlacementNode {
  return {
    descriptor: {
      nodeId,
      incarnation: 1,
      addresses: [],
      locality: parseLocality(locality),
      capacity,
      labels,
    },
    state: 'active',
    liveness: 'live',
    forMs: 1,
  }
}

function tooLong(what: string, limitMs: number): KeelsonError {
  return new KeelsonError(
    'LIMIT_EXCEEDED',
    `${what} took more than ${limitMs / 1000} s and was given up; ask for less: fewer rounds, or no bounds`,
  )
}
