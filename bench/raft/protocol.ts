import type { ReplicaDescriptor } from 'keelson'
import type { LoadResult, Spent } from './load.ts'

/** Group of the counting machine: what is proposed in the leader's process. */
export const countingGroup = 1
/** Group of the metadata store: what clients in other processes write and read. */
export const metadataGroup = 2

/** Group of a counter on the disk: it is there again after a failover. */
export const durableGroup = 3

export const clusterId = 'bench'

/** What one operation of a load is. */
export type Operation = 'propose' | 'readIndex' | 'leaseRead' | 'put' | 'get'

/** What the orchestrator asks of the processes. Each gets one answer with the same number. */
export type Request =
  | { readonly type: 'begin'; readonly replicas: readonly ReplicaDescriptor[] }
  | { readonly type: 'leads'; readonly group: number }
  | { readonly type: 'handOver'; readonly group: number; readonly to: string }
  | {
      readonly type: 'load'
      readonly operation: Operation
      readonly outstanding: number
      readonly seconds: number
    }
  /** `profile`: a file into which a processor profile of the process is written, from now until `spent`. */
  | { readonly type: 'watchSpending'; readonly profile?: string }
  | { readonly type: 'spent' }
  /** One write, now, to the end: for the time that a failover takes. */
  | { readonly type: 'write' }

/** From the orchestrator: where the others are, or a numbered request. */
export type ToProcess =
  | { readonly type: 'addresses'; readonly addresses: Readonly<Record<string, string>> }
  | { readonly type: 'request'; readonly number: number; readonly request: Request }

/** From a process, once it is up. */
export interface Hello {
  readonly type: 'hello'
  readonly address: string
  readonly incarnation: number
}

export type Answer = boolean | Spent | LoadResult | undefined

/** From a process. */
export type FromProcess =
  | Hello
  | { readonly type: 'answer'; readonly number: number; readonly answer: Answer }
  | { readonly type: 'failure'; readonly number: number; readonly message: string }

/** How a process was started: the third argument of its script. */
export interface ProcessSettings {
  readonly name: string
  readonly directory: string
  readonly store: 'segments' | 'level'
  readonly servers: readonly string[]
  /** How far clocks may drift apart: above 0, leaders read by lease. */
  readonly clockDriftBound: number
  /** Of a client: it speaks to the etcd at this endpoint. */
  readonly etcd?: string
}

/** Answers the requests of the orchestrator, and ends with it. */
export function serveRequests(
  answer: (request: Request) => Promise<Answer>,
  onAddresses: (addresses: Readonly<Record<string, string>>) => void,
): void {
  const send = (message: FromProcess): void => {
    // The orchestrator may be gone.
    process.send?.(message, () => {})
  }
  process.on('disconnect', () => process.exit(0))
  process.on('message', (message: ToProcess) => {
    if (message.type === 'addresses') {
      onAddresses(message.addresses)
      return
    }
    const { number, request } = message
    answer(request).then(
      (result) => send({ type: 'answer', number, answer: result }),
      (error: unknown) => send({ type: 'failure', number, message: String(error) }),
    )
  })
}

export function settingsOfProcess(): ProcessSettings {
  return JSON.parse(process.argv[2] as string) as ProcessSettings
}
