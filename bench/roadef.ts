// The Google machine reassignment challenge (ROADEF/EURO 2012) on keelson's placement engine.
//
//   npm run bench:roadef -- --model FILE --assignment FILE --seconds N --out FILE   one instance
//   npm run bench:roadef -- --all DIR --seconds N                                   all model_*.txt of a folder
//   npm run bench:roadef -- --generate 50000x1000 --resources 12 --seconds N        an instance drawn from a seed
//   npm run bench:roadef -- --like b_9 --seconds N                                  one of the published size of set B
//   npm run bench:roadef -- --help                                                  what else can be said

import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { Search } from 'keelson/placement'
import { checkSolution } from './roadef/check.ts'
import { formatModel, generate, type Shape, shapeLike } from './roadef/generate.ts'
import { type Improved, improve } from './roadef/improve.ts'
import { BadFile, type Instance, parseAssignment, parseModel } from './roadef/instance.ts'
import { bestKnown, instanceName } from './roadef/known.ts'
import { commandLine, positive, toggle, wholeNumber, word } from './support/command-line.ts'

/** Something wrong with what was asked for. */
class BadUsage extends Error {}

interface Row {
  readonly name: string
  readonly initial: number
  readonly cost: number
  readonly best: number | undefined
  readonly improved: Improved
}

const values = commandLine({
  call: 'npm run bench:roadef --',
  about: `Improves an instance of the Google machine reassignment challenge (ROADEF/EURO 2012): one that is given, all of a
folder, or one that is drawn, of 1000x50 unless it is said otherwise. For 10 seconds, unless one of --seconds, --cpu-seconds
and --steps says how long.`,
  flags: {
    model: word(undefined, 'FILE', 'an instance; needs --assignment'),
    assignment: word(undefined, 'FILE', 'its initial assignment'),
    all: word(undefined, 'DIR', 'all model_*.txt of a folder, with the assignment_*.txt beside'),
    generate: word(undefined, 'PxM', 'draws an instance of P processes on M machines'),
    resources: wholeNumber(6, 'of an instance that --generate draws'),
    like: word(undefined, 'b_1...b_10', 'draws an instance of the published size of one of set B'),
    seconds: positive(undefined, 'how long to search'),
    'cpu-seconds': positive(undefined, 'the same in processor time, for a machine that others use as well'),
    steps: wholeNumber(undefined, 'the same in steps: a run that another machine repeats exactly'),
    seed: wholeNumber(1, 'of the search, and of what is drawn', 0),
    best: wholeNumber(undefined, 'best known cost', 0),
    out: word(undefined, 'FILE', 'for the solution; with --all a folder'),
    save: word(undefined, 'DIR', 'for an instance that is drawn'),
    quiet: toggle('shows no progress'),
  },
})

function fail(error: unknown): never {
  console.error(error instanceof Error ? error.message : String(error))
  process.exit(2)
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new BadFile(`cannot read ${path}: ${(error as Error).message}`)
  }
}

function run(name: string, instance: Instance, initial: Int32Array, out: string | undefined): Row {
  const start = checkSolution(instance, initial, initial)
  if (start.broken.length > 0) {
    throw new BadFile(
      `the initial assignment of ${name} breaks the rules: ${start.broken.slice(0, 3).join('; ')}`,
    )
  }
  const { steps, seconds: wall, 'cpu-seconds': cpu } = values
  if ([steps, wall, cpu].filter((each) => each !== undefined).length > 1)
    throw new BadUsage('give one of --seconds, --cpu-seconds and --steps')
  const improved = improve(instance, initial, {
    ...(steps === undefined ? { seconds: cpu ?? wall ?? 10, cpu: cpu !== undefined } : { steps }),
    seed: values.seed,
    ...(values.quiet || values.all !== undefined ? {} : { progress: tell }),
  })
  const verdict = checkSolution(instance, initial, improved.solution)
  if (verdict.broken.length > 0) {
    throw new Error(`the solution of ${name} breaks the rules: ${verdict.broken.slice(0, 3).join('; ')}`)
  }
  if (verdict.cost !== BigInt(improved.cost)) {
    throw new Error(`the engine says that ${name} costs ${improved.cost}, the checker says ${verdict.cost}`)
  }
  if (out !== undefined) writeFileSync(out, `${improved.solution.join(' ')}\n`)
  if (!values.quiet && values.all === undefined) {
    for (const [part, cost] of Object.entries(verdict.parts)) console.log(`${part.padEnd(12)} ${cost}`)
  }
  const best = values.best ?? bestKnown.get(instanceName(name))
  return { name, initial: Number(start.cost), cost: Number(verdict.cost), best, improved }
}

function tell(part: number, { phase, temperature, cost }: Search): void {
  console.log(`${(part * 100).toFixed(0).padStart(4)} %  ${cost}  ${phase} at ${temperature.toPrecision(2)}`)
}

const percent = (part: number): string => `${(100 * part).toFixed(4)} %`

function scoreOf({ cost, best, initial }: Row): number | undefined {
  return best === undefined ? undefined : (cost - best) / Math.max(1, initial)
}

function report(row: Row): void {
  const { improved } = row
  const score = scoreOf(row)
  console.log(`initial cost ${row.initial}`)
  console.log(`cost         ${row.cost} (checked independently: no rule is broken)`)
  if (score !== undefined) console.log(`best known   ${row.best}, score ${percent(score)}`)
  const gap = (row.cost - improved.lowerBound) / Math.max(1, row.cost)
  console.log(`lower bound  ${improved.lowerBound}, gap ${percent(gap)}`)
  console.log(speedOf(improved))
}

function speedOf({ evaluated, accepted, seconds, setupSeconds }: Improved): string {
  const rate = (evaluated / seconds / 1e6).toFixed(2)
  return `${evaluated} changes valued in ${seconds.toFixed(1)} s (${rate} M/s), ${accepted} made; set up in ${setupSeconds.toFixed(2)} s`
}

function table(folder: string): void {
  const models = readdirSync(folder).filter((file) => /^model_.+\.txt$/.test(file))
  if (models.length === 0) throw new BadUsage(`there is no model_*.txt in ${folder}`)
  console.log(
    '| instance | initial | cost | best known | score | lower bound | M values/s |\n|-|-|-|-|-|-|-|',
  )
  const scores: number[] = []
  for (const file of models.sort()) {
    const path = join(folder, file)
    const instance = parseModel(read(path), path)
    const beside = join(folder, file.replace('model_', 'assignment_'))
    const out = values.out === undefined ? undefined : join(values.out, file.replace('model_', 'solution_'))
    const row = run(file, instance, parseAssignment(read(beside), beside, instance), out)
    const score = scoreOf(row)
    if (score !== undefined) scores.push(score)
    const { evaluated, seconds, lowerBound } = row.improved
    const shown = score === undefined ? '' : percent(score)
    console.log(
      `| ${instanceName(file)} | ${row.initial} | ${row.cost} | ${row.best ?? ''} | ${shown} | ${lowerBound} | ${(evaluated / seconds / 1e6).toFixed(2)} |`,
    )
  }
  if (scores.length === 0) return
  const mean = scores.reduce((sum, each) => sum + each, 0) / scores.length
  console.log(`mean score ${percent(mean)}, worst ${percent(Math.max(...scores))}`)
}

function likeSetB(name: string): Shape {
  const shape = shapeLike(name, values.seed)
  if (shape === undefined) throw new BadUsage(`--like takes b_1 to b_10, not '${name}'`)
  return shape
}

function ofSize(size: string): Shape {
  const match = /^(\d{1,6})x(\d{1,5})$/.exec(size)
  if (match === null)
    throw new BadUsage(`--generate takes processes x machines, such as 50000x1000, not '${size}'`)
  const [processes, machines] = [Number(match[1]), Number(match[2])]
  if (processes < 1 || machines < 4) throw new BadUsage('--generate takes 1 process and 4 machines at least')
  return { processes, machines, resources: values.resources, seed: values.seed }
}

function drawn(name: string, shape: Shape): void {
  const { instance, initial } = generate(shape)
  if (values.save !== undefined) {
    mkdirSync(values.save, { recursive: true })
    writeFileSync(join(values.save, `model_${name}.txt`), formatModel(instance))
    writeFileSync(join(values.save, `assignment_${name}.txt`), `${initial.join(' ')}\n`)
  }
  report(run(`drawn ${name}`, instance, initial, values.out))
  console.log(`memory       ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`)
}

/** A search is not to be lost for a place that nobody can write to. */
function checkOut(path: string, folder: boolean): void {
  try {
    if (folder) mkdirSync(path, { recursive: true })
    else if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true)
      throw new Error('it is a folder')
    accessSync(folder || existsSync(path) ? path : dirname(path), constants.W_OK)
  } catch (error) {
    throw new BadUsage(`--out ${path} cannot be written: ${(error as Error).message}`)
  }
}

try {
  if (values.out !== undefined) checkOut(values.out, values.all !== undefined)
  if (values.all !== undefined) table(values.all)
  else if (values.model !== undefined) {
    if (values.assignment === undefined) throw new BadUsage('--model needs --assignment')
    const instance = parseModel(read(values.model), values.model)
    report(
      run(
        values.model,
        instance,
        parseAssignment(read(values.assignment), values.assignment, instance),
        values.out,
      ),
    )
  } else if (values.like !== undefined) drawn(values.like, likeSetB(values.like))
  else {
    const size = values.generate ?? '1000x50'
    drawn(size, ofSize(size))
  }
} catch (error) {
  if (error instanceof BadUsage || error instanceof BadFile) fail(error)
  throw error
}
