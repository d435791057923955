import { stdout } from 'node:process'
import { styleText } from 'node:util'

/** What a line is about; gives it its colour. */
export type LineKind = 'step' | 'fault' | 'good' | 'bad' | 'info'

const colours = { step: 'bold', fault: 'yellow', good: 'green', bad: 'red', info: 'gray' } as const

/** Prints what happens as it happens, with the seconds since the start, and one line of progress at the bottom. */
export class Timeline {
  readonly #startMs = performance.now()
  readonly #live = stdout.isTTY === true
  #progress = ''
  #printedMs = 0

  get elapsedMs(): number {
    return performance.now() - this.#startMs
  }

  line(kind: LineKind, text: string): void {
    const seconds = (this.elapsedMs / 1000).toFixed(1).padStart(6)
    this.#clear()
    stdout.write(`${styleText('gray', `${seconds}s`)}  ${styleText(colours[kind], text)}\n`)
    this.#show()
  }

  /** Replaces the line of progress; without a terminal it is printed every five seconds. */
  progress(text: string): void {
    this.#clear()
    this.#progress = text
    if (this.#live) this.#show()
    else if (this.elapsedMs - this.#printedMs > 5_000) {
      this.#printedMs = this.elapsedMs
      stdout.write(`${(this.elapsedMs / 1000).toFixed(1).padStart(6)}s  … ${text}\n`)
    }
  }

  /** Rows of a name and a figure. */
  table(rows: readonly (readonly [string, string, boolean?])[]): void {
    this.#clear()
    this.#progress = ''
    const width = Math.max(...rows.map(([name]) => name.length))
    for (const [name, value, good] of rows) {
      const colour = good === undefined ? 'reset' : good ? 'green' : 'red'
      stdout.write(`  ${name.padEnd(width)}  ${styleText(colour, value)}\n`)
    }
  }

  #clear(): void {
    if (this.#live && this.#progress !== '') stdout.write('\r\u001b[2K')
  }

  #show(): void {
    if (this.#live && this.#progress !== '') stdout.write(styleText('gray', `         … ${this.#progress}`))
  }
}
