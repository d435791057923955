import { KeelsonError } from '../../../src/core/errors.ts'
import type { SeededRandom } from '../../../src/core/random.ts'
import type { ClusterNode } from '../support/host-cluster.ts'
import { BlindClient, SessionClient } from './clients.ts'
import { replaceForgetful, restoreImages } from './images.ts'
import { loseAndRecover } from './lost-quorum.ts'
import { drawHostSettings, type HostSettings } from './settings.ts'
import { changeMembers, tidy, torment } from './torment.ts'
import { HostWorld } from './world.ts'

/** What a run of hosts did. */
export interface HostReport {
  readonly seed: number
  /** Undefined when everything held. */
  readonly failure:
    | { readonly invariant: string; readonly message: string; readonly stack: string }
    | undefined
  readonly hash: string
  readonly virtualMs: number
  readonly commands: number
  readonly counts: readonly [what: string, count: number][]
}

export interface HostRun {
  readonly seed: number
  /** Changes what was drawn, to look at one corner more often. */
  readonly adjust?: ((settings: HostSettings) => HostSettings) | undefined
}

/** Runs one seed: hosts, with all of their features, under faults and load; then calm, and judgement. */
export async function runHosts({ seed, adjust }: HostRun): Promise<HostReport> {
  const draw = (random: SeededRandom): HostSettings => {
    const settings = drawHostSettings(random)
    return adjust?.(settings) ?? settings
  }
  const world = new HostWorld(seed, draw)
  let failure: HostReport['failure']
  let commands = 0
  try {
    await world.cluster.run(async () => {
      commands = await play(world)
    }, 600_000)
  } catch (error) {
    failure = describe(world.failure ?? error, world)
  }
  world.counts.set('restored states compared', world.history.compared)
  const counts = [...world.counts].sort(([a], [b]) => (a < b ? -1 : 1))
  const { trace, nowMs } = world.cluster.simulation
  return { seed, failure, hash: trace.hash(), virtualMs: nowMs, commands, counts }
}

async function play(world: HostWorld): Promise<number> {
  const { settings } = world
  await world.start()
  let working = true
  const going = (): boolean => working && world.failure === undefined
  const sure = Array.from({ length: settings.clients }, (_, i) => new SessionClient(world, `c${i + 1}`))
  const blind = Array.from({ length: settings.blind }, (_, i) => new BlindClient(world, `u${i + 1}`))
  const work = [...sure, ...blind].map(async (client) => client.run(going))
  if (settings.changeMs < 1e6) void changeMembers(world)
  const images = settings.images ? restoreImages(world) : undefined
  images?.catch((error: unknown) => {
    world.failure ??= error
  })
  await torment(world)
  world.calm = true
  if (images !== undefined) await Promise.race([images, failed(world)])
  await calmDown(world)
  if (images !== undefined) await Promise.race([replaceForgetful(world), failed(world)])
  working = false
  await Promise.race([Promise.all(work), failed(world)])
  await converge(world)
  judge(world, sure, blind)
  if (settings.losesQuorum) await loseAndRecover(world)
  if (world.failure !== undefined) throw world.failure
  return sure.reduce((sum, { sequence }) => sum + sequence, 0)
}

async function calmDown(world: HostWorld): Promise<void> {
  const { cluster } = world
  cluster.conditions.heal()
  for (const node of cluster.nodes.values()) {
    node.process.resume()
    world.revive(node)
  }
  await Promise.race([
    cluster.until(() => [...cluster.nodes.values()].every((node) => world.isOpen(node)), 'all are open'),
    failed(world),
  ])
}

/** Rejects when something fails where nobody waits. */
async function failed(world: HostWorld): Promise<never> {
  for (;;) {
    await world.cluster.sleep(50)
    if (world.failure !== undefined) throw world.failure
  }
}

/** Whoever is a member has everything, within a bound. */
async function converge(world: HostWorld): Promise<void> {
  const { cluster } = world
  await cluster.leader()
  const equal = (): boolean => {
    tidy(world)
    const leader = cluster.serving()
    const last = leader?.group().status()
    if (last === undefined || last.appliedIndex !== last.lastIndex) return false
    const { configuration, latestConfiguration } = last
    if (configuration?.generation !== latestConfiguration?.generation) return false
    if (configuration?.joint !== undefined) return false
    return world.members().every((name) => {
      const node = cluster.node(name)
      return world.isOpen(node) && node.group().status().appliedIndex === last.appliedIndex
    })
  }
  await Promise.race([cluster.until(equal, 'members that are equal', 30_000), failed(world)])
}

function judge(world: HostWorld, sure: readonly SessionClient[], blind: readonly BlindClient[]): void {
  for (const name of world.members()) {
    const node = world.cluster.node(name)
    const status = node.group().status()
    // A leader that holds its acknowledgements may have found it out as well, or it was only now.
    if (status.quarantined && !(world.settings.images && world.disks.isForgetful(node)))
      world.broken('no quarantine without a loss', `${name} is quarantined`)
    for (const { counter, sequence } of sure) {
      const value = node.value(counter) ?? 0
      if (value !== sequence) {
        world.broken('states are equal', `${name} ends with ${counter} = ${value}, not ${sequence}`)
      }
    }
    for (const { counter, done, unknown } of blind) {
      const value = node.value(counter) ?? 0
      if (value >= done && value <= done + unknown) continue
      world.broken(
        'at most once',
        `${name} ends with ${counter} = ${value}; ${done} were acknowledged, ${unknown} are unknown`,
      )
    }
    const bound =
      (world.settings.limits.maximumLagEntries ?? 0) + (world.settings.limits.compactAfterEntries ?? 0) * 2
    const held = status.lastIndex - (node.group().replica?.status().compacted.index ?? 0)
    if (held > bound + 64)
      world.broken('the log is bounded', `${name} holds ${held} entries, ${bound} are allowed`)
  }
  // A session takes its time to come to be; where the faults are over soon, it is the last thing that is waited for.
  const long = world.settings.faultMs >= 5_000
  if (long && sure.every(({ sequence }) => sequence === 0)) world.broken('liveness', 'no command was done')
}

function stateOf(node: ClusterNode): string {
  const group = node.process.state === 'crashed' ? undefined : node.host.groups().get(1)
  if (group === undefined) return `${node.name} ${node.process.state}, group not open`
  const { replicaId, role, term, commitIndex, appliedIndex, lastIndex, ...rest } = group.status()
  const members = rest.latestConfiguration?.replicas.map((r) => `${r.replicaId}@${r.nodeId}`).join(' ')
  const stopped = rest.stopped === undefined ? '' : ` stopped: ${rest.stopped.message}`
  return `${node.name} r${replicaId} ${role} t${term} commit ${commitIndex} applied ${appliedIndex} last ${lastIndex} gen ${rest.recoveryGeneration} removed ${rest.removed} [${members}]${stopped}`
}

function describe(error: unknown, world: HostWorld): NonNullable<HostReport['failure']> {
  const known = KeelsonError.is(error) ? error : undefined
  const invariant = known?.details.invariant
  return {
    invariant: typeof invariant === 'string' ? invariant : (known?.code ?? 'exception'),
    message: [
      error instanceof Error ? error.message : String(error),
      ...[...world.cluster.nodes.values()].map(stateOf),
    ].join('\n'),
    stack: error instanceof Error ? String(error.stack) : '',
  }
}
