import { type FileHandle, open, readdir, unlink } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join, resolve } from 'node:path'
import { sleep } from '../core/async.ts'
import { hex } from '../core/bytes.ts'
import type { Environment } from '../core/environment.ts'
import { KeelsonError } from '../core/errors.ts'
import { between } from '../core/random.ts'
import type { DirectoryLock } from '../interfaces/file-system.ts'
import { ioError, lockPrefix } from './file-system.ts'

// Two that start at the same moment refuse each other, so each tries again after a random while.
const attempts = 5
const retryMs = 40

/** Longest path of a Unix socket that every system takes, without its closing zero byte. */
const longestSocketPath = 103

/**
 * Locks a directory by a Unix socket in it, on which this process listens. Only a living process answers, so a lock is
 * gone with its holder however that ended, and neither a reused process id nor another container misleads: the system
 * itself says who is there. Node.js has no `flock`.
 *
 * Each opener listens on a socket with a name of its own and only then looks for others. Of two openers the one that
 * began to listen later therefore always sees the other, and nobody ever removes a file under a name that could be in
 * use again: the socket of somebody who did not answer once has a dead owner for good, or one that will find us.
 *
 * @throws KeelsonError `DIRECTORY_LOCKED`, `IO`
 */
export async function lockDirectory(directory: string, env: Environment): Promise<DirectoryLock> {
  const place = await SocketFolder.open(resolve(directory))
  try {
    for (let attempt = 1; ; attempt++) {
      // A directory that is plainly taken is left untouched.
      const holder = (await place.livingSockets(undefined))[0]
      const lock = holder === undefined ? await tryLock(place, env) : undefined
      if (lock !== undefined) return lock
      if (attempt === attempts) throw locked(directory, holder)
      await sleep(env.timers, between(env.random, retryMs / 4, retryMs))
    }
  } catch (error) {
    await place.close()
    throw ioError(error, `locking ${directory}`)
  }
}

function locked(directory: string, holder: string | undefined): KeelsonError {
  const pid = Number(holder?.slice(lockPrefix.length).split('.')[0])
  const who = Number.isSafeInteger(pid) && pid > 0 ? ` (process ${pid})` : ''
  return new KeelsonError(
    'DIRECTORY_LOCKED',
    `${directory} is in use${who === '' ? ' by another opener' : who}: one store at a time may open a directory. ` +
      'Close that store or stop its process, or give this node a directory of its own',
    { details: { directory, ...(who === '' ? {} : { pid }) } },
  )
}

async function tryLock(place: SocketFolder, env: Environment): Promise<DirectoryLock | undefined> {
  const name = `${lockPrefix}${process.pid}.${hex(env.random.bytes(8))}`
  const server = await place.listen(name)
  const living = await place.livingSockets(name)
  // Our own may be missing: who looked before we listened took it for dead.
  if (living.length === 1 && living[0] === name) {
    return {
      release: async () => {
        await closeServer(server)
        await place.close()
      },
    }
  }
  await closeServer(server)
  return undefined
}

async function closeServer(server: Server): Promise<void> {
  // Closing it removes the socket. It is closed already when it is released a second time.
  await new Promise<void>((done) => server.close(() => done()))
}

/** The sockets of a directory, reached by a path that is short enough however deep the directory lies. */
class SocketFolder {
  readonly #directory: string
  readonly #handle: FileHandle | undefined

  private constructor(directory: string, handle: FileHandle | undefined) {
    this.#directory = directory
    this.#handle = handle
  }

  static async open(directory: string): Promise<SocketFolder> {
    const longest = join(directory, `${lockPrefix}${2 ** 22}.${'0'.repeat(16)}`)
    if (Buffer.byteLength(longest) <= longestSocketPath) return new SocketFolder(directory, undefined)
    if (process.platform !== 'linux') {
      throw new KeelsonError('IO', `the path ${directory} is too long to lock; use a shorter one`)
    }
    return new SocketFolder(directory, await open(directory))
  }

  async close(): Promise<void> {
    await this.#handle?.close()
  }

  async listen(name: string): Promise<Server> {
    const server = createServer((socket) => socket.destroy())
    await new Promise<void>((listening, failed) => {
      server.once('error', failed)
      server.listen({ path: this.#path(name) }, listening)
    })
    // The lock must not keep a process alive that has nothing else to do.
    server.unref()
    return server
  }

  /** Names of the sockets whose owners live. Who has one of its `own` removes those of the dead. */
  async livingSockets(own: string | undefined): Promise<string[]> {
    const living: string[] = []
    for (const name of await readdir(this.#directory)) {
      if (!name.startsWith(lockPrefix)) continue
      if (await this.#answers(name)) living.push(name)
      else if (own !== undefined) await unlink(join(this.#directory, name)).catch(ignoreMissing)
    }
    return living
  }

  async #answers(name: string): Promise<boolean> {
    return new Promise((answer) => {
      const socket = connect({ path: this.#path(name) })
      socket.once('connect', () => {
        socket.destroy()
        answer(true)
      })
      socket.once('error', (error: NodeJS.ErrnoException) => {
        // Whatever else goes wrong, a full queue of a stopped process for one, is no proof that nobody is there.
        answer(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT')
      })
    })
  }

  #path(name: string): string {
    return this.#handle === undefined
      ? join(this.#directory, name)
      : `/proc/self/fd/${this.#handle.fd}/${name}`
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}
