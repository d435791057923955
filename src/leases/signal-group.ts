/** A signal of one call, and what to do when the call has ended. */
export interface JoinedSignal {
  readonly signal: AbortSignal
  readonly release: () => void
}

/**
 * Ends many calls at once. Each has a signal of its own, so that thousands of them do not all listen to one: Node warns
 * of that, and rightly.
 */
export class SignalGroup {
  readonly #members = new Set<AbortController>()
  #reason: Error | undefined

  get aborted(): boolean {
    return this.#reason !== undefined
  }

  /** A signal that is aborted with the group, and with `signal`. Call `release` when the call has ended. */
  join(signal: AbortSignal | undefined): JoinedSignal {
    const member = new AbortController()
    const listener = (): void => member.abort(signal?.reason)
    if (this.#reason !== undefined) member.abort(this.#reason)
    else if (signal?.aborted === true) listener()
    else {
      this.#members.add(member)
      signal?.addEventListener('abort', listener, { once: true })
    }
    return {
      signal: member.signal,
      release: () => {
        this.#members.delete(member)
        signal?.removeEventListener('abort', listener)
      },
    }
  }

  /** Ends all calls, and those that join later. */
  abort(reason: Error): void {
    this.#reason = reason
    for (const member of this.#members) member.abort(reason)
    this.#members.clear()
  }
}
