import { SerialExecutor } from '../core/async.ts'

/** Runs the tasks of one name one after the other, those of different names side by side. Forgets names at rest. */
export class SerialByName {
  readonly #running = new Map<string, { readonly executor: SerialExecutor; users: number }>()

  async run<T>(name: string, task: () => Promise<T>): Promise<T> {
    const known = this.#running.get(name) ?? { executor: new SerialExecutor(), users: 0 }
    this.#running.set(name, known)
    known.users++
    try {
      return await known.executor.run(task)
    } finally {
      known.users--
      if (known.users === 0) this.#running.delete(name)
    }
  }
}
