import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { KeelsonError } from '../../src/core/errors.ts'
import { type Factory, factories } from './factories.ts'
import { dispose, nonsense, refusal, shown } from './refusals.ts'

/** The options that a factory knows, by its own words. */
async function known(factory: Factory): Promise<readonly string[]> {
  const strange = 'qqqqqqqqqqqqqqqqqqqqqqqqqqqqqq'
  const error = await refusal(`${factory.name} with an option of no meaning`, () =>
    factory.make({ ...factory.valid(), [strange]: 1 }),
  )
  assert.equal(error.code, 'INVALID_OPTION', `${factory.name}: ${error.message}`)
  assert.match(error.message, /known options: /)
  return (error.message.split('known options: ')[1] as string).split(', ')
}

/** A typing mistake in a name. */
function misspelt(name: string): string {
  return `${name.slice(0, -2)}${name.at(-1)}${name.at(-2)}x`
}

suite('every factory', () => {
  test('is tried: the table has all of them, and each under one name', () => {
    assert.equal(new Set(factories.map(({ name }) => name)).size, factories.length)
    assert.ok(factories.length > 50, `${factories.length}`)
  })

  for (const factory of factories) {
    test(factory.name, async () => {
      const { name, options, valid } = factory
      // What is right is taken: otherwise everything below would be refused for another reason.
      try {
        await dispose(await factory.make(valid()))
      } catch (error) {
        if (!KeelsonError.is(error) || error.code.startsWith('INVALID')) throw error
      }
      if (factory.open === undefined)
        assert.deepEqual([...(await known(factory))].sort(), Object.keys(options).sort(), name)
      for (const input of [null, 5, 'x', true, [], () => 1]) {
        const { code } = await refusal(`${name}(${shown(input)})`, () => factory.make(input))
        assert.equal(code, 'INVALID_OPTION')
      }
      for (const [key, { kind, required = false, but = [] }] of Object.entries(options)) {
        if (factory.open !== 'all') {
          const wrong = misspelt(key)
          const typo = await refusal(`${name} with ${wrong}`, () => factory.make({ ...valid(), [wrong]: 1 }))
          assert.equal(typo.code, 'INVALID_OPTION')
          assert.match(typo.message, /did you mean '/, typo.message)
        }
        for (const value of nonsense[kind]) {
          if (but.some((allowed) => Object.is(allowed, value))) continue
          const what = `${name} with ${key}: ${shown(value)}`
          const error = await refusal(what, () => factory.make({ ...valid(), [key]: value }))
          assert.equal(error.code, 'INVALID_OPTION', `${what}: ${error.message}`)
          assert.ok(
            error.message.includes(key) || factory.says?.[key]?.test(error.message),
            `${what}: ${error.message}`,
          )
        }
        if (!required) continue
        const { [key]: _, ...rest } = valid()
        const missing = await refusal(`${name} without ${key}`, () => factory.make(rest))
        assert.equal(missing.code, 'INVALID_OPTION', missing.message)
      }
    })
  }
})
