import { type CallOptions, sleep } from '../core/async.ts'
import type { Environment } from '../core/environment.ts'
import { type ErrorCode, KeelsonError } from '../core/errors.ts'
import type { NodeId } from '../model/ids.ts'
import type { Rpc } from '../transport/rpc.ts'
import type { ServerRoster } from './server-roster.ts'

/** Time for one server's answer before another one is asked, where the call says nothing else. */
const usualAttemptMs = 2_000
const minimumBackoffMs = 50
const maximumBackoffMs = 1_000
/** What says nothing of the request, but that this server is on its way out: another one is asked. */
const ofTheServer: readonly ErrorCode[] = ['CLOSED', 'ABORTED', 'STORE_POISONED', 'QUARANTINED']

/**
 * Calls that only the leader of the control plane answers: follows its hints, asks around when there are none, and backs
 * off with jitter, so that a thousand nodes that lost their leader do not all ask the next one at the same moment.
 *
 * @throws KeelsonError what the leader answered, or `ABORTED`
 */
export async function callLeader(
  ports: {
    readonly env: Environment
    readonly rpc: Rpc
    readonly roster: ServerRoster
    /** Who is not asked: a server does not ask itself to be let in. */
    readonly except?: NodeId
  },
  method: string,
  body: Uint8Array,
  options: CallOptions & {
    readonly idempotent: boolean
    /** Time for one server's answer. Default: two seconds. */
    readonly attemptMs?: number
    /** Codes that the caller is told though they may pass. Default: none. */
    readonly told?: readonly ErrorCode[]
  },
): Promise<Uint8Array> {
  const { env, rpc, roster } = ports
  const { attemptMs = usualAttemptMs, told = [] } = options
  let backoffMs = minimumBackoffMs
  for (let attempt = 0; ; attempt++) {
    const server = roster.inTurn(attempt, ports.except)[0]
    if (server !== undefined) {
      try {
        const answer = await rpc.call(server, method, body, {
          timeoutMs: attemptMs,
          ...(options.signal === undefined ? {} : { signal: options.signal }),
        })
        roster.leader = server
        return answer
      } catch (error) {
        if (options.signal?.aborted === true || !KeelsonError.is(error)) throw error
        if (told.includes(error.code)) throw error
        if (!error.retryable && !ofTheServer.includes(error.code)) throw error
        if (error.outcome === 'unknown' && !options.idempotent) throw error
        const hint = error.details['leaderNodeId']
        const useful = error.code === 'NOT_LEADER' && typeof hint === 'string' && hint !== server
        roster.leader = useful ? hint : undefined
        if (useful && backoffMs === minimumBackoffMs) {
          backoffMs *= 2
          continue
        }
      }
    }
    await sleep(env.timers, backoffMs * (0.5 + env.random.float() / 2), options.signal)
    backoffMs = Math.min(backoffMs * 2, maximumBackoffMs)
  }
}
