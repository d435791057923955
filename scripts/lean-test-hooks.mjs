// Loaded before each test file. Node's test runner follows every promise by async hooks, to know which test it belongs to. That costs a
// simulation, which makes millions of promises, a quarter to a third of its time (on Node 20 and 26), and serves only to name the test that
// a stray error came from; such an error fails its file in any case. So the runner gets to know of its own tests, and of nothing else.

import hooks from 'node:async_hooks'

const { createHook, AsyncResource } = hooks
let noteTest = () => {}

hooks.createHook = (callbacks) => {
  const isRunner = new Error('where from?').stack?.includes('node:internal/test_runner') === true
  if (!isRunner) return createHook(callbacks)
  const { init } = callbacks
  if (init !== undefined) noteTest = init
  const hook = { enable: () => hook, disable: () => hook }
  return hook
}

/** What the runner derives its tests and suites from. */
hooks.AsyncResource = class FollowedResource extends AsyncResource {
  constructor(type, options) {
    super(type, options)
    noteTest(this.asyncId(), type, this.triggerAsyncId(), this)
  }
}
