/** Columns of text, as wide as what is in them; the last one is not filled up. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, c) =>
    rows.reduce((most, row) => Math.max(most, row[c]?.length ?? 0), name.length),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, c) => (c === cells.length - 1 ? cell : cell.padEnd((widths[c] ?? 0) + 2)))
      .join('')
      .trimEnd()
  return `${[head, ...rows].map(line).join('\n')}\n`
}

/** A moment of the wall clock. */
export function moment(ms: number): string {
  return new Date(ms).toISOString()
}

/** What a program reads. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`
}

/** Says how many more there are, when there are. */
export function andMore(all: number, told: number, what: string, how: string): string {
  return all > told ? `and ${all - told} more ${what}${how}\n` : ''
}
