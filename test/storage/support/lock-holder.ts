// A process that locks a directory and stays: `node lock-holder.js <directory>`.
import { nodeEnvironment } from '../../../src/core/node-environment.ts'
import { lockDirectory } from '../../../src/storage/directory-lock.ts'

await lockDirectory(process.argv[2] as string, nodeEnvironment())
process.stdout.write('locked\n')
// The lock itself keeps no process alive.
setInterval(() => {}, 1_000)
