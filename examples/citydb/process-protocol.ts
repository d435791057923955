import { createInterface } from 'node:readline'

/** What a server or node process prints, one JSON object a line, for whoever started it. */
export type ProcessEvent =
  | { readonly event: 'ready' }
  | { readonly event: 'leading'; readonly epoch: number }
  | { readonly event: 'following' }
  | { readonly event: 'refused'; readonly what: string }
  | { readonly event: 'log'; readonly level: string; readonly message: string; readonly fields: unknown }

/** Prints an event. */
export function tell(event: ProcessEvent): void {
  process.stdout.write(`${JSON.stringify(event)}\n`)
}

/** Calls `listener` with each event of a child's output; other lines go to `other`. */
export function listen(
  output: NodeJS.ReadableStream,
  listener: (event: ProcessEvent) => void,
  other: (line: string) => void,
): void {
  createInterface({ input: output }).on('line', (line) => {
    let event: ProcessEvent | undefined
    try {
      event = JSON.parse(line) as ProcessEvent
    } catch {
      other(line)
    }
    if (event !== undefined) listener(event)
  })
}

/** Resolves when the one who started this process is gone, so that no child outlives a demo that was killed. */
export async function parentGone(): Promise<void> {
  process.stdin.resume()
  await new Promise((resolve) => process.stdin.once('end', resolve).once('error', resolve))
}
