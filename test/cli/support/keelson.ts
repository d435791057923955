import { run } from '../../../src/cli/run.ts'

/** What a command printed, and how it ended. */
export interface Printed {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** Runs the command, with something to read by standard input. */
export async function keelsonWith(input: string, ...words: readonly string[]): Promise<Printed> {
  const printed = { out: '', err: '' }
  const code = await run(words, {
    out: (text) => {
      printed.out += text
    },
    err: (text) => {
      printed.err += text
    },
    input: () => input,
  })
  return { code, ...printed }
}

/** Runs the command. */
export async function keelson(...words: readonly string[]): Promise<Printed> {
  return keelsonWith('', ...words)
}
