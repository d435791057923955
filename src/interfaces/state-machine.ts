/** A committed command for the state machine. */
export interface Command {
  /** Log index of its entry. */
  readonly index: number
  /** Term of its entry. */
  readonly term: number
  /** The bytes that were proposed. A view: copy what is kept. */
  readonly data: Uint8Array
}

/** One pair of the bookkeeping that the group keeps inside the state machine. An undefined value deletes the key. */
export interface BookkeepingWrite {
  /** A short name, unique in the bookkeeping. */
  readonly key: string
  /** The new value; undefined deletes the key. */
  readonly value: Uint8Array | undefined
}

/** All of a group's bookkeeping: applied position, configuration, client sessions. Opaque to the state machine. */
export type Bookkeeping = ReadonlyMap<string, Uint8Array>

/** A consistent view of a state machine at one applied index, cheap to make, readable while applies go on. */
export interface StateSnapshot extends AsyncDisposable {
  /** The bookkeeping at that point. */
  readonly bookkeeping: Bookkeeping
  /** The state in chunks of at most 1 MiB. Can be iterated once. */
  chunks(): AsyncIterable<Uint8Array>
}

/**
 * The result of a command that is made into bytes only where somebody asks for them. Most replicas have nobody to tell, and
 * most results are acknowledged before they are stored.
 */
export interface DeferredResult {
  /** How many bytes it has. */
  readonly length: number
  /** Makes the bytes, in an array of their own. They are the same whenever it is called, whatever was applied meanwhile. */
  bytes(): Uint8Array
}

/** The result of a command, as bytes or to be made into bytes later. */
export type CommandOutput = Uint8Array | DeferredResult

/**
 * The replicated program of a Raft group. It must be deterministic: equal commands in equal order make equal states and
 * results on every replica. Time and randomness come inside the commands.
 *
 * All calls come from one owner, one at a time, but for `snapshot` views, which are read beside `apply`.
 */
export interface StateMachine {
  /**
   * Opens the state and returns the bookkeeping that was stored with it last; empty for a new one. Called once, first.
   *
   * @throws KeelsonError `CORRUPTION`, `FORMAT_VERSION`, `IO`
   */
  open(): Promise<Bookkeeping>
  /**
   * Applies commands in order. When the results are known it calls `seal` once, synchronously, with one result per
   * command, and stores the bookkeeping that it returns *atomically* with the effects: either all of the batch is
   * there after a crash or nothing. The write need not be synced, and may even go on when this resolves if the writes keep
   * their order and every other call waits for it: the log repeats what was lost. `commands` may be empty, as
   * bookkeeping alone may change.
   *
   * A command that the application refuses is a result, not an exception. An exception stops the replica.
   */
  apply(
    commands: readonly Command[],
    seal: (results: readonly CommandOutput[]) => readonly BookkeepingWrite[],
  ): Promise<void>
  /**
   * Of a machine that stores the effects of many `apply`s together. Called once, between `open` and the first `apply`: from
   * then on `seal` returns nothing, and `changed` returns the bookkeeping that has changed since it was last called, as of
   * the last `apply`. The machine calls it before it stores effects or makes a snapshot, at any time that is not between the
   * call of an `apply` and its `seal`, and stores what it returns atomically with the effects of all `apply`s so far. So
   * bookkeeping that changes with every command is made once for many of them. A machine asks now and
   * then, say after 16,384 commands or batches, even if it stores nothing: until then the group keeps what has changed,
   * the results as they are: nobody changes them any more. Absent: `seal` returns all of it.
   */
  gatherBookkeeping?(changed: () => readonly BookkeepingWrite[]): void
  /**
   * Whether a command is to be applied in a batch of its own, so that the stored bookkeeping before it, and with what `seal`
   * returns the one after it, are those of exactly this place in the log on every replica. For commands that hand a part of
   * the state on together with its bookkeeping, such as a split. A function of the bytes alone. Absent: no command.
   */
  alone?(data: Uint8Array): boolean
  /** Makes everything applied so far durable. The log is never compacted beyond what this has confirmed. */
  flush(): Promise<void>
  /**
   * A view of the state and the bookkeeping as they are now. It is read while later commands are applied, and
   * closed by the caller.
   */
  snapshot(): Promise<StateSnapshot>
  /**
   * Replaces state and bookkeeping by a snapshot's, durably and atomically: after a crash in the middle the old state
   * or the new one is there. `chunks` may throw (a broken transfer); the old state then stays.
   *
   * Whoever calls goes on with the old state when this throws, so nothing may fail once the state has switched: whatever
   * a machine keeps in memory of its state it reads before. A machine that cannot tell whether it has switched, because
   * that very write failed, throws `STORE_POISONED` and refuses every later call until it is opened again; its replica
   * stops then.
   *
   * @throws KeelsonError `STORE_POISONED`; anything else means that the old state is there as it was
   */
  restore(bookkeeping: Bookkeeping, chunks: AsyncIterable<Uint8Array>): Promise<void>
  /** Deletes all of the state: the replica was removed. */
  destroy(): Promise<void>
  /** Idempotent. */
  close(): Promise<void>
}
