import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import type { Call } from './calls.ts'
import { nonsense, refusal, shown } from './refusals.ts'
import { subjects } from './subjects.ts'

const mistakes = ['INVALID_ARGUMENT', 'INVALID_OPTION', 'LIMIT_EXCEEDED']

async function refused(what: string, act: () => unknown): Promise<KeelsonError> {
  const error = await refusal(what, act)
  assert.ok(mistakes.includes(error.code), `${what}: ${error.code} ${error.message}`)
  assert.equal(error.outcome, 'none', what)
  return error
}

/** The call with one argument replaced. */
function withArgument(call: Call, at: number, value: unknown): readonly unknown[] {
  const args: unknown[] = [...call.right]
  while (args.length < at) args.push(undefined)
  args[at] = value
  return args
}

async function tryArguments(call: Call): Promise<void> {
  const make = call.call as (...args: unknown[]) => unknown
  for (const [at, argument] of call.arguments.entries()) {
    const { kind, but = [], also = [], optional = false } = argument
    const wrong = kind === undefined ? [] : nonsense[kind]
    for (const value of [...wrong, ...also, ...(optional ? [] : [undefined])]) {
      if (but.some((allowed) => Object.is(allowed, value))) continue
      await refused(`${call.name}, argument ${at + 1}: ${shown(value)}`, () =>
        make(...withArgument(call, at, value)),
      )
    }
  }
  if (call.options === undefined) return
  const at = call.arguments.length
  const needed = call.needed ?? {}
  for (const value of [null, 5, 'x', true, []]) {
    await refused(`${call.name} with the options ${shown(value)}`, () =>
      make(...withArgument(call, at, value)),
    )
  }
  for (const option of ['signal', ...call.options]) {
    const wrong = `${option.slice(0, -2)}${option.at(-1)}${option.at(-2)}x`
    const error = await refused(`${call.name} with the option ${wrong}`, () =>
      make(...withArgument(call, at, { ...needed, [wrong]: 1 })),
    )
    assert.match(error.message, /did you mean '/)
  }
  for (const signal of [null, 5, {}, new AbortController(), { aborted: true }]) {
    await refused(`${call.name} with the signal ${shown(signal)}`, () =>
      make(...withArgument(call, at, { ...needed, signal })),
    )
  }
  for (const name of Object.keys(needed)) {
    const { [name]: _, ...rest } = needed
    await refused(`${call.name} without ${name}`, () => make(...withArgument(call, at, rest)))
  }
  if (call.aborted === 'ignores') return
  const signal = AbortSignal.abort()
  try {
    await take(make(...withArgument(call, at, { ...needed, signal })))
  } catch (error) {
    assert.ok(KeelsonError.hasCode(error, 'ABORTED'), `${call.name} aborted before: ${String(error)}`)
    assert.equal(error.outcome, 'none')
    return
  }
  assert.fail(`${call.name} ignored a signal that was aborted before`)
}

/** What a call gives, the first step of it where it gives steps. */
async function take(given: unknown): Promise<unknown> {
  const made: unknown = await given
  if (typeof made !== 'object' || made === null || !(Symbol.asyncIterator in made)) return made
  return (made as AsyncIterable<unknown>)[Symbol.asyncIterator]().next()
}

suite('every call', () => {
  for (const { name, open } of subjects) {
    test(name, async () => {
      const { calls, close, unchanged } = await open()
      try {
        for (const call of calls) await tryArguments(call)
        assert.ok((await unchanged?.()) ?? true, 'what was refused took effect')
        await close()
        // Closing is idempotent, and what is closed says so.
        await close()
        for (const call of calls) {
          if (call.closed === 'ignores') continue
          const args =
            call.needed === undefined ? call.right : withArgument(call, call.arguments.length, call.needed)
          try {
            await take((call.call as (...args: unknown[]) => unknown)(...args))
          } catch (error) {
            assert.ok(KeelsonError.hasCode(error, 'CLOSED'), `${call.name} after the close: ${String(error)}`)
            continue
          }
          assert.fail(`${call.name} went on after the close`)
        }
      } finally {
        await close()
      }
    })
  }
})
