import assert from 'node:assert/strict'
import { text, utf8 } from '../../core/bytes.ts'
import type {
  Bookkeeping,
  BookkeepingWrite,
  Command,
  CommandOutput,
  StateMachine,
} from '../../interfaces/state-machine.ts'

/** A place where the state of one replica can live. Machines are opened on it one after the other. */
export interface StateMachinePlace<M extends StateMachine> {
  /** A new machine on what the place holds, not opened yet. */
  readonly create: () => M | Promise<M>
  /**
   * Does to the open machine what a power cut does: it is gone without being closed, and what was not flushed may be
   * gone, too. Cases that need it pass unchecked where it is missing.
   */
  readonly crash?: () => Promise<void>
  /** Removes the place after the case. */
  readonly dispose?: () => Promise<void>
}

/** What the suite is run against. */
export interface StateMachineSubject<M extends StateMachine> {
  /** Makes a new, empty place for each replica that a case needs. */
  readonly create: () => Promise<StateMachinePlace<M>>
  /** The command with this number, from 1. Each one applied after those before it changes the state. */
  readonly command: (number: number) => Uint8Array
  /** The whole state as text: equal for equal states, and only for them. */
  readonly describe: (machine: M) => string | Promise<string>
}

/** A snapshot must not be cut into larger pieces. */
const largestChunk = 1024 * 1024

/** A machine with the bookkeeping that a Raft group would keep: how many commands were applied. */
export class Replica<M extends StateMachine> {
  readonly machine: M
  readonly #subject: StateMachineSubject<M>
  #commands: readonly Command[] = []
  /** What a machine that gathers has not asked for yet. */
  readonly #changed = new Map<string, BookkeepingWrite>()
  #sealing = false
  /** Results of the last batch, as they were given and as they read then. */
  #outputs: readonly CommandOutput[] = []
  #results: readonly string[] = []
  applied = 0

  private constructor(machine: M, subject: StateMachineSubject<M>) {
    this.machine = machine
    this.#subject = subject
  }

  static async open<M extends StateMachine>(
    subject: StateMachineSubject<M>,
    place: StateMachinePlace<M>,
  ): Promise<Replica<M>> {
    const replica = new Replica(await place.create(), subject)
    replica.applied = appliedOf(await replica.machine.open())
    replica.machine.gatherBookkeeping?.(() => replica.#takeChanged())
    return replica
  }

  /** Applies the next commands as one batch; returns their results as text. */
  async apply(count: number, ...more: readonly BookkeepingWrite[]): Promise<string[]> {
    const commands: Command[] = []
    for (let i = 1; i <= count; i++) {
      const index = this.applied + i
      commands.push({ index, term: 1, data: this.#subject.command(index) })
    }
    let seals = 0
    let results: string[] = []
    let returned = false
    this.#sealing = true
    const done = this.machine.apply(commands, (sealed) => {
      this.#sealing = false
      assert.equal(++seals, 1, 'seal is called once')
      assert.equal(returned, false, 'seal is called before apply resolves')
      assert.equal(sealed.length, count, 'one result per command')
      assert.deepEqual(this.#outputs.map(readOutput), this.#results, 'a result stays as it is')
      this.#outputs = sealed
      results = sealed.map(readOutput)
      this.#results = results
      this.applied += count
      const writes = [{ key: 'applied', value: utf8(String(this.applied)) }, ...more]
      if (this.machine.gatherBookkeeping === undefined) return writes
      for (const write of writes) this.#changed.set(write.key, write)
      return []
    })
    await done
    returned = true
    assert.equal(seals, 1, 'seal is called')
    this.#commands = commands
    return results
  }

  #takeChanged(): readonly BookkeepingWrite[] {
    assert.equal(this.#sealing, false, 'the bookkeeping is asked for when a batch has come to its end')
    const writes = [...this.#changed.values()]
    this.#changed.clear()
    return writes
  }

  /** A command's bytes are a view into a frame that is used again. */
  overwriteCommands(): void {
    for (const { data } of this.#commands) data.fill(0xff)
  }

  async describe(): Promise<string> {
    return this.#subject.describe(this.machine)
  }
}

function readOutput(output: CommandOutput): string {
  const bytes = output instanceof Uint8Array ? output : output.bytes()
  assert.ok(bytes instanceof Uint8Array, 'a result is a byte array')
  assert.equal(bytes.length, output.length, 'a result has the length that it says')
  return Buffer.from(bytes).toString('hex')
}

/** How many commands a bookkeeping says were applied. */
export function appliedOf(bookkeeping: Bookkeeping): number {
  const value = bookkeeping.get('applied')
  return value === undefined ? 0 : Number(text(value))
}

/** A bookkeeping as a plain object. */
export function plain(bookkeeping: Bookkeeping): Record<string, string> {
  return Object.fromEntries([...bookkeeping].map(([key, value]) => [key, text(value)]))
}

/** Reads a snapshot; each chunk is copied, as a transport does. */
export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) {
    assert.ok(
      chunk.length <= largestChunk,
      `a chunk has ${chunk.length} bytes, at most ${largestChunk} are allowed`,
    )
    parts.push(new Uint8Array(chunk))
  }
  return parts
}

/** Chunks as a transport hands them out; `then` may break it off. */
export async function* stream(
  chunks: readonly Uint8Array[],
  then?: () => Promise<never>,
): AsyncIterable<Uint8Array> {
  for (const chunk of chunks) yield new Uint8Array(chunk)
  await then?.()
}

/** What a case does. */
export type Body<M extends StateMachine> = (
  context: {
    /** Opens a machine on the case's place. */
    open: () => Promise<Replica<M>>
    /** Undefined when the place cannot crash. */
    crash: (() => Promise<void>) | undefined
    /** A machine on another place. */
    other: () => Promise<Replica<M>>
  },
  subject: StateMachineSubject<M>,
) => Promise<void>

/** A case, run against any subject. */
export interface StateMachineCase {
  readonly name: string
  readonly body: Body<StateMachine>
}

/** Runs a case on places of its own, and closes what it opened. */
export async function runCase<M extends StateMachine>(
  subject: StateMachineSubject<M>,
  body: Body<M>,
): Promise<void> {
  const places: StateMachinePlace<M>[] = []
  let opened: Replica<M>[] = []
  const place = await subject.create()
  places.push(place)
  const track = (replica: Replica<M>): Replica<M> => {
    opened.push(replica)
    return replica
  }
  const { crash } = place
  let current: Replica<M> | undefined
  try {
    await body(
      {
        open: async () => {
          await current?.machine.close()
          current = track(await Replica.open(subject, place))
          return current
        },
        crash:
          crash === undefined
            ? undefined
            : async () => {
                opened = opened.filter((replica) => replica !== current)
                current = undefined
                await crash()
              },
        other: async () => {
          const another = await subject.create()
          places.push(another)
          return track(await Replica.open(subject, another))
        },
      },
      subject,
    )
  } finally {
    for (const { machine } of opened) await machine.close()
    for (const { dispose } of places) await dispose?.()
  }
}
