import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'

const readme = await readFile('README.md', 'utf8')

test('the program on the first page is the example that CI runs, and begins by line 20', async () => {
  const begins = readme.indexOf('```ts\n')
  assert.ok(readme.slice(0, begins).split('\n').length <= 20)
  const shown = readme.slice(begins + '```ts\n'.length, readme.indexOf('```\n', begins + 5))
  assert.equal(shown, await readFile('examples/00-three-servers.ts', 'utf8'))
})

test('every subpath of the package is in the table of modules, and every command exists', async () => {
  const manifest = JSON.parse(await readFile('package.json', 'utf8')) as {
    exports: Record<string, unknown>
    scripts: Record<string, string>
  }
  const internal = ['./package.json', './internal/*', './core']
  for (const subpath of Object.keys(manifest.exports)) {
    if (internal.includes(subpath)) continue
    const [, first, second] = subpath.split('/')
    const named = first === undefined ? '`keelson`' : second === undefined ? `keelson/${first}` : `/${second}`
    assert.ok(readme.includes(named), `${subpath} is missing`)
  }
  for (const [, command] of readme.matchAll(/npm run ([a-z:]+)/g)) {
    assert.ok((command as string) in manifest.scripts, `npm run ${command} does not exist`)
  }
})
