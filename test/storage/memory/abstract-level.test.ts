import { createRequire } from 'node:module'
import { suite } from 'node:test'
import { MemoryLevel, type MemoryLevelOptions } from '../../../src/storage/memory/index.ts'
import { tape } from '../../support/tape.ts'

// The suite is CommonJS without typings, written for tape.
const compliance = createRequire(import.meta.url)('abstract-level/test') as (options: {
  test: typeof tape
  factory: (options?: MemoryLevelOptions) => MemoryLevel
}) => void

suite("abstract-level's own suite on MemoryLevel", () => {
  compliance({ test: tape, factory: (options) => new MemoryLevel(options) })
})
