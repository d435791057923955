/** What the orchestrator asks of a process. */
export type ToHost =
  | { readonly type: 'open'; readonly nodeIds: readonly string[]; readonly seeds: readonly string[] }
  | { readonly type: 'report' }

/** What a process has spent and sees. */
export interface HostReport {
  readonly packets: number
  readonly bytes: number
  readonly cpuMs: number
  /** Members alive in the smallest view of its members. */
  readonly smallestView: number
}

/** What a process says. */
export type FromHost =
  | { readonly type: 'opened'; readonly addresses: readonly string[] }
  | { readonly type: 'report'; readonly report: HostReport }
  | { readonly type: 'failed'; readonly about: string; readonly atMs: number }
