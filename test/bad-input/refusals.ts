import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { KeelsonError } from '../../src/core/errors.ts'

/** What an argument or an option may be: each kind has values that it is not. */
export type Kind =
  | 'count'
  | 'number'
  | 'probability'
  | 'text'
  | 'name'
  | 'id'
  | 'flag'
  | 'word'
  | 'function'
  | 'object'
  | 'port'
  | 'array'
  | 'bytes'
  | 'address'

const common = [null, Number.NaN, Symbol('s'), 10n] as const
const large = 'x'.repeat(1_000_000)

/** Values that are of no use as a value of the kind. */
export const nonsense: Readonly<Record<Kind, readonly unknown[]>> = {
  count: [
    ...common,
    '5',
    -1,
    1.5,
    2 ** 53,
    Number.POSITIVE_INFINITY,
    [],
    {},
    true,
    () => 1,
    new Uint8Array(1),
  ],
  number: [...common, '5', Number.NEGATIVE_INFINITY, [], {}, true, () => 1],
  probability: [...common, '0.5', -1, 2, [], {}, true],
  text: [...common, '', 5, [], {}, true, () => 'x', new Uint8Array(1), large],
  name: [...common, '', 5, 'UPPER', '../x', 'a b', 'x'.repeat(65), {}, [], large],
  id: [...common, 0, -1, 1.5, '1', 2 ** 53, [], {}, true],
  flag: [...common, 'true', 0, 1, [], {}],
  word: [...common, 'no such word', 5, [], {}, ''],
  function: [...common, 'f', 5, [], {}, true],
  object: [...common, 'x', 5, [], true, () => 1],
  port: [...common, 'x', 5, [], true, {}],
  array: [...common, 'x', 5, {}, true],
  bytes: [
    ...common,
    'text',
    5,
    [1, 2],
    {},
    new Uint16Array(2),
    new ArrayBuffer(2),
    new DataView(new ArrayBuffer(1)),
  ],
  address: [...common, '', 5, 'no-port', 'a b:1', '%:80', 'host:0', 'host:99999', 'host:-1', {}, []],
}

/** Runs what should be refused and gives the error; whatever it made instead is closed. */
export async function refusal(what: string, act: () => unknown): Promise<KeelsonError> {
  let made: unknown
  try {
    made = await act()
    if (isIterable(made)) made = await made[Symbol.asyncIterator]().next()
  } catch (error) {
    if (!KeelsonError.is(error)) assert.fail(`${what} gave an error of no type: ${inspect(error)}`)
    assert.ok(error.message.length > 15, `${what} says too little: ${error.message}`)
    assert.ok(error.message.length < 1_500, `${what} says too much: ${error.message.slice(0, 200)}…`)
    assert.equal(error.retryable, false, `${what} says that trying again helps: ${error.message}`)
    return error
  }
  await dispose(made)
  return assert.fail(`${what} was accepted and gave ${inspect(made, { depth: 0 })}`)
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

/** Closes what a factory made, as far as it can be closed. */
export async function dispose(made: unknown): Promise<void> {
  const resource = made as Partial<AsyncDisposable> & { close?: () => unknown }
  if (typeof made !== 'object' || made === null) return
  if (typeof resource[Symbol.asyncDispose] === 'function') await resource[Symbol.asyncDispose]?.()
  else if (typeof resource.close === 'function') await resource.close()
}

/** A value as the name of a case. */
export function shown(value: unknown): string {
  return typeof value === 'string' && value.length > 40
    ? `a string of ${value.length} characters`
    : inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY }).slice(0, 60)
}
