import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Where the tests find what a program has recorded. */
export interface RecordFile {
  /** Where the compiled program lies: beside it, in the sources, lies the file. */
  readonly program: string
  readonly file: string
  /** Name of the constant. */
  readonly constant: string
  readonly about: string
}

/** As the sources are formatted. */
const lineWidth = 110

/** Writes what shows each bug to a source file, from where tests repeat it. */
export function record(
  { program, file, constant, about }: RecordFile,
  records: Readonly<Record<string, number>> | Readonly<Record<string, string>>,
): void {
  const path = fileURLToPath(new URL(file, program)).replace(/\/build\/(?=test\/)/, '/')
  const entries: [string, number | string][] = Object.entries(records)
  const type = typeof entries[0]?.[1] === 'string' ? 'string' : 'number'
  const lines = entries
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => {
      const [key, text] = [quoted(name), typeof value === 'string' ? quoted(value) : String(value)]
      const line = `  ${key}: ${text},`
      return line.length <= lineWidth ? line : `  ${key}:\n    ${text},`
    })
  writeFileSync(
    path,
    `/** ${about} */\nexport const ${constant}: Readonly<Record<string, ${type}>> = {\n${lines.join('\n')}\n}\n`,
  )
}

function quoted(text: string): string {
  return JSON.stringify(text).replaceAll("'", "\\'").replaceAll('"', "'")
}
