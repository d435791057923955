import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * Writes which seed caught which bug to a source file, from where tests replay them.
 *
 * @param program where the compiled program lies that asks for it: beside it, in the sources, lies the file
 */
export function recordSeeds(program: string, seeds: Readonly<Record<string, number>>): void {
  const path = fileURLToPath(new URL('./recorded-seeds.ts', program)).replace(/\/build\/(?=test\/)/, '/')
  const lines = Object.entries(seeds)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, seed]) => `  ${JSON.stringify(name).replaceAll("'", "\\'").replaceAll('"', "'")}: ${seed},`)
  writeFileSync(
    path,
    `/** The seed that caught each bug last: written by npm run mutants -- --record. */\nexport const recordedSeeds: Readonly<Record<string, number>> = {\n${lines.join('\n')}\n}\n`,
  )
  console.log(`recorded in ${path.split('/').slice(-4).join('/')}`)
}
