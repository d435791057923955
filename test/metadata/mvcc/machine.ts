import assert from 'node:assert/strict'
import type { BookkeepingWrite, Command } from '../../../src/interfaces/state-machine.ts'
import { encodeCommand, type MetadataCommand } from '../../../src/metadata/mvcc/commands.ts'
import { MetadataStateMachine } from '../../../src/metadata/mvcc/state-machine.ts'
import { bytesOf } from '../../../src/raft/group/outcomes.ts'
import { MemoryDisk, MemoryLevel } from '../../../src/storage/memory/index.ts'

/** Bytes of a name that counts the commands that were applied. */
export function counter(value: number): Uint8Array {
  return new TextEncoder().encode(String(value))
}

/** A machine on a disk, which counts its commands in the bookkeeping as a group would. */
export class Machine {
  readonly disk: MemoryDisk
  readonly machine: MetadataStateMachine
  readonly database: MemoryLevel
  applied = 0
  readonly #gathers: boolean
  /** A batch was given to the machine, and is not sealed. */
  #sealing = false
  /** What `applied` was when the machine was told last. */
  #told: number | undefined

  /** The machine asks for the bookkeeping, as it asks a group, unless `gathers` is false. */
  constructor(disk: MemoryDisk = new MemoryDisk(), logIsFull: () => boolean = () => false, gathers = true) {
    this.disk = disk
    this.#gathers = gathers
    this.database = new MemoryLevel({ disk, logIsFull })
    this.machine = new MetadataStateMachine({ database: this.database, prefix: 'm/' })
  }

  async open(): Promise<this> {
    const bookkeeping = await this.machine.open()
    const applied = bookkeeping.get('applied')
    this.applied = applied === undefined ? 0 : Number(new TextDecoder().decode(applied))
    this.#told = this.applied
    if (this.#gathers) this.machine.gatherBookkeeping(() => this.#changed())
    return this
  }

  async apply(...commands: readonly MetadataCommand[]): Promise<readonly Uint8Array[]> {
    return this.applyBytes(...commands.map(encodeCommand))
  }

  async applyBytes(...data: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
    let answers: readonly Uint8Array[] = []
    const commands = data.map((bytes, i): Command => ({ index: this.applied + i + 1, term: 1, data: bytes }))
    this.#sealing = true
    await this.machine.apply(commands, (results) => {
      this.#sealing = false
      answers = results.map(bytesOf)
      this.applied += commands.length
      return this.#gathers ? [] : this.#changed()
    })
    return answers
  }

  #changed(): BookkeepingWrite[] {
    assert.equal(this.#sealing, false, 'bookkeeping is that of the end of a batch')
    if (this.#told === this.applied) return []
    this.#told = this.applied
    return [{ key: 'applied', value: counter(this.applied) }]
  }

  async one(command: MetadataCommand): Promise<Uint8Array> {
    return (await this.apply(command))[0] as Uint8Array
  }

  async close(): Promise<void> {
    await this.machine.close()
    await this.database.close()
  }
}
