import { invariant } from '../core/invariant.ts'

/** A part of a group's log: live entries of one record. */
export interface Block {
  /** First and last live entry. The record may hold more on both sides, which are dead. */
  readonly first: number
  readonly last: number
  /** Where the record starts, and its size. Size 0: the entries exist, but no record of them was found. */
  readonly position: number
  readonly bytes: number
}

/** Numbers that make up a block: first entry, position, bytes. */
const stride = 3

const empty: number[] = Object.freeze([]) as never

let blanks: readonly number[] = Array.from({ length: 256 }, () => 0.5)
/** Most numbers that are kept to be copied from. */
const maximumBlanks = 65_536

/**
 * An array of so many numbers, and room for no more: one that is pushed to keeps room for sixteen. A copy is made in one
 * step, and of an array of fractions it needs no other form for any number that is put there.
 */
function blank(length: number): number[] {
  if (length > maximumBlanks) return blank(length >>> 1).concat(blank(length - (length >>> 1)))
  while (blanks.length < length) blanks = blanks.concat(blanks)
  return blanks.slice(0, length)
}

/**
 * Where the entries of a log are. Blocks are sorted and each ends where the next one begins, so that three numbers
 * describe one; what is missing in between is a block as well, of no bytes. They lie in one array of numbers, since a node may
 * have millions of them, and many groups may have few: a typed array takes 200 bytes before it holds anything.
 */
export class BlockTable {
  #numbers: number[] = empty
  /** Blocks given up at the front, and the end of those in use. */
  #start = 0
  #end = 0
  /** Last entry of the last block. */
  #last = 0

  get count(): number {
    return this.#end - this.#start
  }

  first(i: number): number {
    return this.#numbers[(this.#start + i) * stride] as number
  }

  last(i: number): number {
    const next = this.#start + i + 1
    return next < this.#end ? (this.#numbers[next * stride] as number) - 1 : this.#last
  }

  position(i: number): number {
    return this.#numbers[(this.#start + i) * stride + 1] as number
  }

  bytes(i: number): number {
    return this.#numbers[(this.#start + i) * stride + 2] as number
  }

  at(i: number): Block {
    return { first: this.first(i), last: this.last(i), position: this.position(i), bytes: this.bytes(i) }
  }

  /** Number of the block that holds an entry; the number of blocks when all are before it. */
  find(index: number): number {
    if (index > this.#last) return this.count
    let low = 0
    let high = this.count - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.first(middle) <= index) low = middle
      else high = middle - 1
    }
    return Math.max(low, 0)
  }

  clear(): void {
    this.#numbers = empty
    this.#start = 0
    this.#end = 0
  }

  /** Adds a block behind the last one. */
  push(first: number, last: number, position: number, bytes: number): void {
    if ((this.#end + 1) * stride > this.#numbers.length) this.#grow(1)
    const at = this.#end++ * stride
    const numbers = this.#numbers
    numbers[at] = first
    numbers[at + 1] = position
    numbers[at + 2] = bytes
    this.#last = last
  }

  /** Gives up all entries from an index on. Returns the bytes of records that are not needed any more. */
  dropFrom(index: number): number {
    let dead = 0
    while (this.#end > this.#start && this.first(this.count - 1) >= index) {
      dead += this.bytes(this.count - 1)
      this.#end--
    }
    this.#last = index - 1
    return dead
  }

  /** Gives up all entries up to an index. Returns the bytes of records that are not needed any more. */
  dropThrough(index: number): number {
    let dead = 0
    let kept = 0
    while (kept < this.count && this.last(kept) <= index) dead += this.bytes(kept++)
    this.#start += kept
    if (this.#start === this.#end) this.clear()
    else if (this.first(0) <= index) this.#numbers[this.#start * stride] = index + 1
    if (this.#start > 1_000 && this.#start > this.count) this.#resize(this.count)
    return dead
  }

  /**
   * Puts a block in the place of all that these entries had. Blocks that reach beyond it keep what is left to them.
   *
   * @returns by how much the bytes of all blocks have grown
   */
  replace(first: number, last: number, position: number, bytes: number): number {
    const from = this.find(first)
    const to = this.find(last)
    invariant(to < this.count && this.first(from) <= first, 'entries that are replaced are there')
    const head = this.at(from)
    const tail = this.at(to)
    let grown = bytes
    for (let i = from; i <= to; i++) grown -= this.bytes(i)
    const made: Block[] = [{ first, last, position, bytes }]
    if (head.first < first) {
      made.unshift({ ...head, last: first - 1 })
      grown += head.bytes
    }
    if (tail.last > last) {
      made.push({ ...tail, first: last + 1 })
      grown += tail.bytes
    }
    this.#splice(from, to - from + 1, made)
    return grown
  }

  /** Puts a block in front of the first one. */
  unshift(block: Block): void {
    const last = this.count === 0 ? block.last : this.#last
    this.#splice(0, 0, [block])
    this.#last = last
  }

  /** Puts blocks in the place of `count` from `i` on. */
  #splice(i: number, count: number, made: readonly Block[]): void {
    const growth = made.length - count
    if (growth > 0 && (this.#end + growth) * stride > this.#numbers.length) this.#grow(growth)
    const at = (this.#start + i) * stride
    const numbers = this.#numbers
    if (growth !== 0) numbers.copyWithin(at + made.length * stride, at + count * stride, this.#end * stride)
    made.forEach(({ first, position, bytes }, k) => {
      numbers[at + k * stride] = first
      numbers[at + k * stride + 1] = position
      numbers[at + k * stride + 2] = bytes
    })
    this.#end += growth
  }

  /** Makes room for so many blocks more, where others were given up if that is enough for long. */
  #grow(blocks: number): void {
    const needed = this.count + blocks
    if (needed * stride * 2 > this.#numbers.length) this.#resize(Math.max(2, needed + (needed >>> 1)))
    else {
      this.#numbers.copyWithin(0, this.#start * stride, this.#end * stride)
      this.#end -= this.#start
      this.#start = 0
    }
  }

  #resize(blocks: number): void {
    const before = this.#numbers
    const made = blank(blocks * stride)
    let to = 0
    for (let from = this.#start * stride; from < this.#end * stride; from++) {
      made[to++] = before[from] as number
    }
    this.#numbers = made
    this.#end -= this.#start
    this.#start = 0
  }
}
