import {
  bootstrap,
  ControlPlane,
  devCluster,
  inspectServer,
  join,
  NodeAgent,
  nodeEnvironment,
  PlaneClient,
  recoverServer,
} from '../../src/index.ts'
import type { Transport, TransportFactory } from '../../src/interfaces/transport.ts'
import { JobRunner, Jobs } from '../../src/jobs/index.ts'
import { Leases } from '../../src/leases/index.ts'
import {
  DirectoryCache,
  MetadataClient,
  MetadataServer,
  MetadataStateMachine,
  memoryStore,
  metadataServerDefaults,
  RangeDirectory,
  SessionHolder,
} from '../../src/metadata/index.ts'
import {
  checkNodeSessionTuning,
  NodeController,
  NodeReporter,
  NodeSession,
  Nodes,
} from '../../src/nodes/index.ts'
import {
  balance,
  buildSnapshot,
  capacity,
  evacuationJob,
  FleetSimulation,
  LoadSampler,
  MaintenanceView,
  maintenanceJob,
  mergeJob,
  moveJob,
  moveRates,
  NodeOperations,
  overloadTuning,
  PlacementController,
  placementLimits,
  placementPolicy,
  plan,
  primaryChangeJob,
  ReplicaSets,
  RuleBook,
  rollingRestartJob,
  SplitController,
  setChangeJob,
  splitJob,
  splitPolicy,
  whatIf,
} from '../../src/placement/index.ts'
import {
  checkGroupLimits,
  checkRaftOptions,
  defaultGroupLimits,
  defaultRaftOptions,
  inspectGroup,
  RaftHost,
  recoverGroup,
} from '../../src/raft/index.ts'
import { checkSchemaChangeTuning, SchemaChangeJob, SchemaLeases } from '../../src/schema/index.ts'
import {
  booleanSetting,
  defineSettings,
  integerSetting,
  Settings,
  schemaSetting,
  stringSetting,
  wordSetting,
} from '../../src/settings/index.ts'
import {
  checkLinearizability,
  counterModel,
  drawSwarm,
  NetworkConditions,
  SimulatedDatagrams,
  SimulatedDisk,
  SimulatedTransports,
  Simulation,
} from '../../src/simulation/index.ts'
import { levelLog, openLevel } from '../../src/storage/level/index.ts'
import { MemoryDisk, MemoryFileSystem, MemoryLevel, memoryLog } from '../../src/storage/memory/index.ts'
import { segments } from '../../src/storage/segments/index.ts'
import { KeyRotation, lanProfile, Swim } from '../../src/swim/index.ts'
import { datagram, KeyRing } from '../../src/transport/datagram/index.ts'
import { Rpc } from '../../src/transport/index.ts'
import { memoryDatagrams, memoryNetwork } from '../../src/transport/memory/index.ts'
import { webSocket, webSocketDefaults } from '../../src/transport/websocket/index.ts'
import { type Kind, nonsense } from './refusals.ts'

/** One option: what it takes, and which values that look wrong it takes nevertheless. */
export interface Option {
  readonly kind: Kind
  readonly required?: boolean
  readonly but?: readonly unknown[]
}

/** Something public that takes an options object. */
export interface Factory {
  readonly name: string
  readonly options: Readonly<Record<string, Option>>
  /** Options that are right, all that are required among them. */
  readonly valid: () => Record<string, unknown>
  make(options: unknown): unknown
  /** Takes options that it does not know (`strangers`), even such as look like a typing mistake (`all`). */
  readonly open?: 'strangers' | 'all'
  /** Options whose errors name something inside of them. */
  readonly says?: Readonly<Record<string, RegExp>>
}

export const env = nodeEnvironment()
const secret = 'a secret of many characters'

const count: Option = { kind: 'count' }
const number: Option = { kind: 'number' }
const text: Option = { kind: 'text' }
const flag: Option = { kind: 'flag' }
const whole: Option = { kind: 'count', required: true, but: [-1] }
const call: Option = { kind: 'function' }
const object: Option = { kind: 'object' }
const array: Option = { kind: 'array' }
const must = (kind: Kind): Option => ({ kind, required: true })
const environment = must('port')

function all(names: object, option: Option): Record<string, Option> {
  return Object.fromEntries(Object.keys(names).map((name) => [name, option]))
}

/** A path below which nothing can be made, so that a mistake in a test makes no files. */
const nowhere = '/dev/null/nowhere'

const simulatedNode = {
  descriptor: { nodeId: 'n1', incarnation: 1, addresses: [], locality: [], capacity: {}, labels: {} },
  ingressBytesPerSecond: 1,
  egressBytesPerSecond: 1,
}

function factory(): TransportFactory {
  return memoryNetwork().transport()
}

async function transport(): Promise<Transport> {
  const self = { nodeId: 'n1', incarnation: 1, role: 'node' } as const
  return factory()({ env, clusterId: 'c', self, resolve: () => [] })
}

const idle = {
  send: () => false,
  onMessage: () => {},
  onLost: () => () => {},
  openStream: async () => {},
  onStream: () => {},
  self: { nodeId: 'n1', incarnation: 7, role: 'node' },
  maximumMessageBytes: 2 << 20,
}
const fence = {
  number: 1,
  txn: () => new Promise(() => {}),
}
const jobType = { type: 'x', run: async () => '', encode: () => null, decode: () => null }
const log = {
  incarnation: 7,
  recovered: () => new Map(),
  limits: { writeBytes: 1 << 24, queuedBytes: 1 << 26 },
  write: async () => {},
  read: async () => [],
  close: async () => {},
}
const group = {
  propose: async () => new Uint8Array(0),
  proposeBatch: async () => [],
  read: async () => {},
  token: () => undefined,
  status: () => ({}),
  on: () => () => {},
  openSession: async () => 1,
}
const host = { barrier: () => {}, backfill: () => {}, validate: () => {}, purge: () => {} }
const level = (): MemoryLevel<Uint8Array, Uint8Array> =>
  new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
const store = memoryStore({ env })
const simulation = new Simulation({ seed: 1 })
const raftOptions: Record<string, Option> = {
  ...all(defaultRaftOptions, count),
  electionTimeoutMs: number,
  electionTimeoutRange: number,
  heartbeatIntervalMs: number,
  roundTripMs: number,
  commitNoticeMs: number,
  preVote: flag,
  checkQuorum: flag,
  quiescence: flag,
}
const groupLimits: Record<string, Option> = {
  ...all(defaultGroupLimits, count),
  lostLeadershipGraceMs: number,
  forwardTimeoutMs: number,
}
const probability: Option = { kind: 'probability' }
const boundsJobOptions: Record<string, Option> = {
  env: environment,
  epoch: must('port'),
  directory: must('port'),
  observed: must('function'),
  isLive: must('function'),
  pollIntervalMs: count,
  stepTimeoutMs: count,
  tidyTimeoutMs: count,
  settleMs: count,
}
const validBoundsJob = (): object => ({
  env,
  epoch: fence,
  directory: new RangeDirectory(store),
  observed: () => [],
  isLive: () => true,
})
const stoppedServer: Record<string, Option> = {
  env: environment,
  clusterId: must('name'),
  nodeId: must('name'),
  log: must('function'),
  database: must('port'),
}
const validServer = (): Record<string, unknown> => ({
  env,
  clusterId: 'c',
  nodeId: 'cp1',
  log: memoryLog(),
  database: level(),
})
const stoppedGroup: Record<string, Option> = {
  env: environment,
  log: must('function'),
  clusterId: must('text'),
  nodeId: must('text'),
  groupId: must('count'),
  stateMachine: must('port'),
}
const validGroup = (): Record<string, unknown> => ({
  env,
  log: memoryLog(),
  clusterId: 'c',
  nodeId: 'n1',
  groupId: 1,
  stateMachine: { open: async () => new Map(), close: async () => {} },
})
/** All that is needed to go on with one replica of three. */
const agreedLoss = {
  survivors: [
    {
      groupId: 1,
      nodeId: 'n1',
      incarnation: 7,
      replicaId: 1,
      recoveryGeneration: 0,
      term: 1,
      commitIndex: 1,
      appliedIndex: 1,
      lastIndex: 1,
      lastTerm: 1,
      terms: [{ index: 1, term: 1 }],
      quarantined: false,
      configuration: {
        generation: 1,
        replicas: [1, 2, 3].map((id) => ({ replicaId: id, nodeId: `n${id}`, incarnation: 7, role: 'voter' })),
      },
    },
  ],
  acceptDataLoss: true,
  confirm: 'recover group 1',
}
const described = { description: must('text') }

export const factories: readonly Factory[] = [
  {
    name: 'nodeEnvironment',
    options: { logger: { kind: 'port' }, metrics: { kind: 'port' } },
    valid: () => ({ metrics: env.metrics }),
    make: (options) => nodeEnvironment(options as never),
  },
  {
    name: 'ControlPlane.open',
    options: {
      env: environment,
      clusterId: must('name'),
      nodeId: must('name'),
      cluster: must('port'),
      transport: must('function'),
      datagrams: call,
      gossip: object,
      log: must('function'),
      database: must('port'),
      raft: object,
      limits: object,
      placement: object,
      schema: object,
      jobs: array,
    },
    valid: () => ({
      env,
      clusterId: 'c',
      nodeId: 'cp1',
      cluster: bootstrap({ secret }),
      transport: factory(),
      log: memoryLog(),
      database: level(),
    }),
    make: (options) => ControlPlane.open(options as never),
    says: { raft: /Raft/, limits: /limits/, schema: /schema changes/ },
  },
  {
    name: 'inspectServer',
    options: stoppedServer,
    valid: validServer,
    make: (options) => inspectServer(options as never),
  },
  {
    name: 'recoverServer',
    options: { ...stoppedServer, survivors: must('array'), acceptDataLoss: flag, confirm: { kind: 'text' } },
    valid: () => ({ ...validServer(), ...agreedLoss }),
    make: (options) => recoverServer(options as never),
  },
  {
    name: 'inspectGroup',
    options: stoppedGroup,
    valid: validGroup,
    make: (options) => inspectGroup(options as never),
  },
  {
    name: 'recoverGroup',
    options: {
      ...stoppedGroup,
      survivors: must('array'),
      acceptDataLoss: flag,
      confirm: { kind: 'text' },
      firstCommand: call,
    },
    valid: () => ({ ...validGroup(), ...agreedLoss }),
    make: (options) => recoverGroup(options as never),
  },
  {
    name: 'bootstrap',
    options: { others: array, secret: must('text'), founding: { kind: 'id' }, revision: { kind: 'id' } },
    valid: () => ({ secret }),
    make: (options) => bootstrap(options as never),
  },
  {
    name: 'join',
    options: { seeds: must('array'), secret: must('text') },
    valid: () => ({ seeds: ['memory:9'], secret }),
    make: (options) => join(options as never),
  },
  {
    name: 'the cluster of ControlPlane.open that is begun',
    options: {
      type: must('word'),
      others: array,
      secret: must('text'),
      founding: { kind: 'id' },
      revision: { kind: 'id' },
    },
    valid: () => ({ type: 'bootstrap', others: [], secret }),
    make: (cluster) => openPlane({ cluster }),
  },
  {
    name: 'the cluster of ControlPlane.open that is joined',
    options: { type: must('word'), seeds: must('array'), secret: must('text') },
    valid: () => ({ type: 'join', seeds: ['memory:9'], secret }),
    // It would wait for the seeds for ever.
    make: (cluster) => openPlane({ cluster }, AbortSignal.timeout(50)),
  },
  {
    name: 'the gossip of ControlPlane.open',
    options: {
      ...all(lanProfile, number),
      keys: { kind: 'port' },
      metadata: { kind: 'bytes' },
      profile: { kind: 'word' },
      token: { kind: 'bytes' },
      admit: call,
      veto: call,
      coordinates: flag,
      snapshotIntervalMs: number,
      coalesceMs: number,
    },
    valid: () => ({}),
    make: (gossip) => openPlane({ gossip }),
  },
  {
    name: 'the placement of ControlPlane.open',
    options: {
      policy: object,
      limits: object,
      rates: object,
      overload: object,
      splits: object,
      restart: call,
      replicaSets: { kind: 'port' },
      ...all(
        {
          intervalMs: 1,
          deadAfterMs: 1,
          retryAfterMs: 1,
          dampingMs: 1,
          pollIntervalMs: 1,
          stepTimeoutMs: 1,
          leaseTimeoutMs: 1,
          jointTimeoutMs: 1,
          roomTimeoutMs: 1,
          catchUpTimeoutMs: 1,
          tidyTimeoutMs: 1,
          settleMs: 1,
        },
        count,
      ),
    },
    valid: () => ({}),
    make: (placement) => openPlane({ placement }),
    says: {
      policy: /placement policy/,
      limits: /placement limits/,
      rates: /move rates/,
      splits: /split policy/,
    },
  },
  {
    name: 'NodeAgent.join',
    options: {
      env: environment,
      clusterId: must('name'),
      nodeId: must('name'),
      incarnation: must('id'),
      seeds: must('array'),
      token: text,
      transport: must('function'),
      datagrams: call,
      gossip: object,
      database: must('port'),
      locality: array,
      capacity: object,
      labels: object,
      stores: array,
      session: object,
      reportIntervalMs: count,
      schemaLeaseMs: count,
      secretBytes: call,
    },
    valid: () => ({
      env,
      clusterId: 'c',
      nodeId: 'n1',
      incarnation: 7,
      seeds: ['memory:9'],
      transport: factory(),
      database: level(),
    }),
    // It would wait for a cluster for ever.
    make: (options) => NodeAgent.join(options as never, { signal: AbortSignal.timeout(50) }),
    says: { session: /the session of a node/ },
  },
  {
    name: 'PlaneClient.connect',
    options: {
      env: environment,
      clusterId: must('name'),
      seeds: must('array'),
      transport: must('function'),
      name: { kind: 'name' },
    },
    valid: () => ({ env, clusterId: 'c', seeds: ['memory:9'], transport: factory() }),
    make: (options) => PlaneClient.connect(options as never, { signal: AbortSignal.timeout(50) }),
  },
  {
    name: 'devCluster',
    options: { servers: count, env: { kind: 'port' }, placement: object },
    valid: () => ({ servers: 1 }),
    make: (options) => devCluster(options as never),
  },
  {
    name: 'RaftHost.open',
    options: {
      env: environment,
      log: must('port'),
      clusterId: must('name'),
      nodeId: must('name'),
      channel: must('port'),
      raft: object,
      limits: object,
      maximumGroups: count,
      maximumSnapshotTransfers: count,
      snapshotTimeoutMs: number,
      forwardProposals: flag,
      snapshotBytesPerSecond: count,
      snapshotWindowBytes: count,
    },
    valid: () => ({ env, log, clusterId: 'c', nodeId: 'n1', channel: idle }),
    make: (options) => RaftHost.open(options as never),
    says: { raft: /Raft/ },
  },
  {
    name: 'checkRaftOptions',
    options: raftOptions,
    valid: () => ({}),
    make: (options) => checkRaftOptions(options as never),
  },
  {
    name: 'checkGroupLimits',
    options: groupLimits,
    valid: () => ({}),
    make: (options) => checkGroupLimits(options as never),
  },
  {
    name: 'Swim.open',
    options: {
      ...all(lanProfile, number),
      env: environment,
      socket: must('port'),
      nodeId: must('name'),
      incarnation: must('id'),
      label: must('name'),
      metadata: { kind: 'bytes' },
      seeds: array,
      profile: { kind: 'word' },
      channel: { kind: 'port' },
      token: { kind: 'bytes' },
      admit: call,
      veto: call,
      coordinates: flag,
      snapshots: { kind: 'port' },
      snapshotIntervalMs: number,
      coalesceMs: number,
    },
    valid: () => ({
      env,
      socket: {
        address: 'host:1',
        maximumPayloadBytes: 1_400,
        send: () => {},
        onMessage: () => {},
        close: async () => {},
      },
      nodeId: 'n1',
      incarnation: 7,
      label: 'c',
    }),
    make: (options) => Swim.open(options as never),
    says: { nodeId: /a node id/, incarnation: /an incarnation/, label: /a label/ },
  },
  {
    name: 'KeyRotation',
    options: {
      env: environment,
      swim: must('port'),
      keys: must('port'),
      checkIntervalMs: count,
      timeoutMs: count,
    },
    valid: () => ({
      env,
      swim: { ask: async () => [], answer: () => () => {}, self: { nodeId: 'n1' } },
      keys: new KeyRing([new Uint8Array(32)]),
    }),
    make: (options) => new KeyRotation(options as never),
  },
  {
    name: 'memoryStore',
    options: {
      env: environment,
      historyRevisions: count,
      quotaBytes: count,
      maximumWatchers: count,
      progressIntervalMs: count,
    },
    valid: () => ({ env }),
    make: (options) => memoryStore(options as never),
  },
  {
    name: 'MetadataClient',
    options: {
      env: environment,
      channel: must('port'),
      servers: must('function'),
      callTimeoutMs: count,
      attemptTimeoutMs: count,
      retryBaseMs: count,
      retryLimitMs: count,
      maximumInFlight: count,
      maximumQueued: count,
    },
    valid: () => ({ env, channel: idle, servers: () => [] }),
    make: (options) => new MetadataClient(options as never),
  },
  {
    name: 'MetadataServer.open',
    options: {
      ...all(metadataServerDefaults, count),
      clockDriftBound: number,
      missedAfter: number,
      env: environment,
      group: must('port'),
      machine: must('port'),
      channel: must('port'),
    },
    valid: () => ({ env, group, machine: new MetadataStateMachine({ database: level() }), channel: idle }),
    make: (options) => MetadataServer.open(options as never),
  },
  {
    name: 'MetadataStateMachine',
    options: { database: must('port'), prefix: text },
    valid: () => ({ database: level() }),
    make: (options) => void new MetadataStateMachine(options as never),
  },
  {
    name: 'SessionHolder.open',
    options: {
      env: environment,
      store: must('port'),
      holder: must('text'),
      ttlMs: must('count'),
      clockDriftBound: number,
      stasisMs: number,
      renewAfter: number,
      jitter: number,
      sleepToleranceMs: number,
    },
    valid: () => ({ env, store, holder: 'h', ttlMs: 1_000 }),
    make: (options) => SessionHolder.open(options as never),
  },
  {
    name: 'DirectoryCache',
    options: { env: environment, directory: must('port') },
    valid: () => ({ env, directory: new RangeDirectory(store) }),
    make: (options) => new DirectoryCache(options as never),
  },
  {
    name: 'Jobs',
    options: { store: must('port'), env: environment, maximumStateBytes: count, maximumJobs: count },
    valid: () => ({ store, env }),
    make: (options) => void new Jobs(options as never),
  },
  {
    name: 'JobRunner.start',
    options: {
      env: environment,
      store: must('port'),
      epoch: must('port'),
      types: must('array'),
      signal: { kind: 'port' },
      ...all(
        {
          concurrency: 1,
          maximumFailures: 1,
          minimumBackoffMs: 1,
          maximumBackoffMs: 1,
          historyLimit: 1,
          maximumStateBytes: 1,
          progressIntervalMs: 1,
        },
        count,
      ),
    },
    valid: () => ({ env, store, epoch: fence, types: [jobType] }),
    make: (options) => JobRunner.start(options as never),
  },
  {
    name: 'Nodes',
    options: { store: must('port'), env: environment, replicasOf: must('function'), secretBytes: call },
    valid: () => ({ store, env, replicasOf: async () => 0 }),
    make: (options) => void new Nodes(options as never),
  },
  {
    name: 'NodeController.start',
    options: {
      env: environment,
      store: must('port'),
      epoch: must('port'),
      replicasOf: must('function'),
      signal: { kind: 'port' },
      intervalMs: count,
    },
    valid: () => ({ env, store, epoch: fence, replicasOf: async () => 0 }),
    make: (options) => NodeController.start(options as never),
  },
  {
    name: 'NodeReporter.start',
    options: {
      env: environment,
      session: must('port'),
      observe: must('function'),
      load: must('function'),
      capacity: must('function'),
      stores: call,
      send: must('function'),
      refused: call,
      intervalMs: count,
      timeoutMs: count,
    },
    valid: () => ({
      env,
      session: { epoch: 1, isLive: () => true, isLost: true },
      observe: () => [],
      load: () => ({}),
      capacity: () => ({}),
      send: async () => {},
    }),
    make: (options) => NodeReporter.start(options as never),
  },
  {
    name: 'NodeSession.open',
    options: {
      env: environment,
      store: must('port'),
      nodeId: must('name'),
      incarnation: must('id'),
      ttlMs: count,
      renewIntervalMs: count,
      maximumDrift: number,
    },
    valid: () => ({ env, store, nodeId: 'n1', incarnation: 7 }),
    make: (options) => NodeSession.open(options as never),
    says: { nodeId: /a node id|NodeSession.open/, incarnation: /NodeSession.open/ },
  },
  {
    name: 'checkNodeSessionTuning',
    options: { ttlMs: count, renewIntervalMs: count, maximumDrift: number },
    valid: () => ({}),
    make: (options) => checkNodeSessionTuning(options as never),
  },
  {
    name: 'Leases.open',
    options: {
      env: environment,
      store: must('port'),
      holder: must('text'),
      session: must('function'),
      stasisMs: number,
      takeoverStaggerMs: number,
      takeoverSpreadMs: number,
      takeoversPerSecond: number,
      maximumWaiting: count,
    },
    valid: () => ({ env, store, holder: 'h', session: () => undefined }),
    make: (options) => Leases.open(options as never),
  },
  {
    name: 'PlacementController.start',
    options: {
      env: environment,
      store: must('port'),
      epoch: must('port'),
      directory: must('port'),
      nodes: must('function'),
      observed: must('function'),
      move: must('port'),
      changed: call,
      held: call,
      rules: call,
      policy: object,
      limits: object,
      signal: { kind: 'port' },
      intervalMs: count,
      deadAfterMs: count,
      retryAfterMs: count,
      dampingMs: count,
    },
    valid: () => ({
      env,
      store,
      epoch: fence,
      directory: new RangeDirectory(store),
      nodes: () => [],
      observed: () => [],
      move: jobType,
    }),
    make: (options) => PlacementController.start(options as never),
    says: { policy: /placement policy/, limits: /placement limits/ },
  },
  {
    name: 'moveJob',
    options: {
      env: environment,
      epoch: must('port'),
      directory: must('port'),
      observed: must('function'),
      node: must('function'),
      throttle: { kind: 'port' },
      pollIntervalMs: count,
      stepTimeoutMs: count,
      leaseTimeoutMs: count,
      jointTimeoutMs: count,
      catchUpTimeoutMs: count,
      roomTimeoutMs: count,
      tidyTimeoutMs: count,
      settleMs: count,
    },
    valid: () => ({
      env,
      epoch: fence,
      directory: new RangeDirectory(store),
      observed: () => [],
      node: () => undefined,
    }),
    make: (options) => void moveJob(options as never),
  },
  {
    name: 'splitJob',
    options: boundsJobOptions,
    valid: validBoundsJob,
    make: (options) => void splitJob(options as never),
  },
  {
    name: 'mergeJob',
    options: boundsJobOptions,
    valid: validBoundsJob,
    make: (options) => void mergeJob(options as never),
  },
  {
    name: 'SplitController.start',
    options: {
      env: environment,
      store: must('port'),
      epoch: must('port'),
      directory: must('port'),
      observed: must('function'),
      changed: must('function'),
      moving: must('function'),
      split: must('port'),
      merge: must('port'),
      policy: object,
      intervalMs: count,
      signal: { kind: 'port' },
    },
    valid: () => ({
      env,
      store,
      epoch: fence,
      directory: new RangeDirectory(store),
      observed: () => [],
      changed: () => [],
      moving: () => new Set(),
      split: jobType,
      merge: jobType,
    }),
    make: (options) => SplitController.start(options as never),
    says: { policy: /split policy/ },
  },
  {
    name: 'splitPolicy',
    options: {
      maximumBytes: count,
      maximumRequestsPerSecond: number,
      maximumCpuCores: number,
      mergeBelowBytes: count,
      mergeBelowRequestsPerSecond: number,
      mergeBelowCpuCores: number,
      splitMergeBackoffMs: count,
      retryAfterMs: count,
      splits: count,
      merges: count,
      mayMerge: call,
    },
    valid: () => ({}),
    make: (options) => splitPolicy(options as never),
  },
  {
    name: 'LoadSampler',
    options: {
      random: must('port'),
      windowMs: count,
      samples: count,
      minimumRequests: count,
      maximumImbalance: probability,
      maximumSpanning: probability,
    },
    valid: () => ({ random: env.random }),
    make: (options) => void new LoadSampler(options as never),
  },
  {
    name: 'placementPolicy',
    options: { replicationFactor: count, constraints: array, goals: array, rules: object },
    valid: () => ({}),
    make: (options) => placementPolicy(options as never),
  },
  {
    name: 'placementLimits',
    options: all(
      {
        moves: 1,
        improvements: 1,
        incomingPerNode: 1,
        outgoingPerNode: 1,
        leaseTransfers: 1,
        shedLeasesPerStore: 1,
        shedReplicasPerStore: 1,
      },
      count,
    ),
    valid: () => ({}),
    make: (options) => placementLimits(options as never),
  },
  ...[maintenanceJob, rollingRestartJob, evacuationJob].map(
    (make): Factory => ({
      name: make.name,
      options: {
        env: environment,
        store: must('port'),
        epoch: must('port'),
        nodes: must('function'),
        rangesOn: must('function'),
        observed: must('function'),
        maintenance: must('port'),
        move: must('port'),
        drain: must('function'),
        undrain: must('function'),
        plan: must('function'),
        restart: call,
        pollIntervalMs: count,
        clearTimeoutMs: count,
        transfers: count,
      },
      valid: () => ({
        env,
        store,
        epoch: fence,
        nodes: () => [],
        rangesOn: () => [],
        observed: () => [],
        maintenance: { by: () => undefined, isKnown: true },
        move: jobType,
        drain: async () => {},
        undrain: async () => {},
        plan: () => undefined,
      }),
      make: (options) => void make(options as never),
    }),
  ),
  ...[setChangeJob, primaryChangeJob].map(
    (make): Factory => ({
      name: make.name,
      options: {
        env: environment,
        store: must('port'),
        host: must('port'),
        grant: call,
        pollIntervalMs: count,
        callTimeoutMs: count,
        stepTimeoutMs: count,
        hydrateTimeoutMs: count,
        maximumOutageMs: count,
      },
      valid: () => ({
        env,
        store,
        host: Object.fromEntries(
          ['status', 'install', 'hydrate', 'retire', 'stepDown', 'resume', 'catchUp', 'promote'].map(
            (each) => [each, async () => {}],
          ),
        ),
      }),
      make: (options) => void make(options as never),
    }),
  ),
  {
    name: 'ReplicaSets',
    options: { env: environment, store: must('port') },
    valid: () => ({ env, store }),
    make: (options) => void new ReplicaSets(options as never),
  },
  {
    name: 'MaintenanceView',
    options: { env: environment, store: must('port'), signal: { kind: 'port' } },
    valid: () => ({ env, store }),
    make: (options) => new MaintenanceView(options as never),
  },
  {
    name: 'NodeOperations',
    options: { store: must('port'), env: environment, maximumStateBytes: count, maximumJobs: count },
    valid: () => ({ store, env }),
    make: (options) => void new NodeOperations(options as never),
  },
  {
    name: 'overloadTuning',
    options: {
      calmShare: { kind: 'probability' },
      ...all({ ioOverload: 1, diskLatencyMs: 1, severeFactor: 1 }, { kind: 'probability', but: [2] }),
      ...all(
        {
          smoothingMs: 1,
          overloadedAfterMs: 1,
          exhaustedAfterMs: 1,
          severeAfterMs: 1,
          calmAfterMs: 1,
          maximumCalmAfterMs: 1,
        },
        count,
      ),
    },
    valid: () => ({}),
    make: (options) => overloadTuning(options as never),
  },
  {
    name: 'moveRates',
    options: {
      ...all(
        {
          incomingPerMinute: 1,
          outgoingPerMinute: 1,
          removalsPerMinute: 1,
          incomingBytesPerSecond: 1,
          outgoingBytesPerSecond: 1,
          clusterPerMinute: 1,
          clusterBytesPerSecond: 1,
          burstSeconds: 1,
          maximumIncoming: 1,
          maximumOutgoing: 1,
          maximumCopies: 1,
          diskLatencyMs: 1,
          intervalMs: 1,
          slowBytesPerSecond: 1,
        },
        count,
      ),
      ...all({ startFactor: 1, minimumFactor: 1, decrease: 1 }, { kind: 'probability' }),
      ...all({ ioOverload: 1, maximumFactor: 1, increase: 1 }, { kind: 'probability', but: [2] }),
    },
    valid: () => ({}),
    make: (options) => moveRates(options as never),
  },
  {
    name: 'plan',
    options: { seed: count, limits: object },
    valid: () => ({}),
    make: (options) => plan(buildSnapshot({ nodes: [], ranges: [], deadAfterMs: 0 }), {}, options as never),
    says: { limits: /placement limits/ },
  },
  {
    name: 'RuleBook',
    options: { rules: must('array'), tables: array, defaultVoters: count },
    valid: () => ({ rules: [] }),
    make: (options) => new RuleBook(options as never),
  },
  {
    name: 'whatIf',
    options: { policy: object, limits: object, seed: count, maximumRounds: count },
    valid: () => ({}),
    make: (options) => whatIf(buildSnapshot({ nodes: [], ranges: [], deadAfterMs: 0 }), {}, options as never),
    says: { policy: /placement policy/, limits: /placement limits/ },
  },
  {
    name: 'FleetSimulation',
    options: {
      nodes: must('array'),
      ranges: must('array'),
      events: array,
      load: object,
      planner: object,
      policy: object,
      limits: object,
      overload: object,
      planEveryMs: count,
      detectionMs: count,
      deadAfterMs: count,
      dampingMs: count,
      sampleEveryMs: count,
      seed: count,
    },
    valid: () => ({ nodes: [simulatedNode], ranges: [] }),
    make: (options) => new FleetSimulation(options as never),
  },
  {
    name: 'a rule of placement',
    options: {
      id: must('text'),
      scope: must('object'),
      override: flag,
      voters: count,
      nonVoters: { kind: 'count', but: [0] },
      require: array,
      prohibit: array,
      prefer: array,
      lead: array,
      spread: array,
      atMost: array,
      survive: text,
    },
    valid: () => ({ id: 'all', scope: { type: 'cluster' } }),
    make: (rule) => new RuleBook({ rules: [rule as never] }),
  },
  {
    name: 'balance',
    options: { tolerance: { kind: 'probability' }, by: text },
    valid: () => ({}),
    make: (options) => balance('replicas', options as never),
  },
  {
    name: 'capacity',
    options: {
      refuseAbove: { kind: 'probability' },
      shedAbove: { kind: 'probability' },
      resources: array,
      transient: array,
    },
    valid: () => ({}),
    make: (options) => capacity('bytes', options as never),
  },
  {
    name: 'SchemaLeases.open',
    options: { env: environment, store: must('port'), nodeId: must('name'), openSession: must('function') },
    valid: () => ({
      env,
      store,
      nodeId: 'n1',
      openSession: async () => ({ sessionId: 0, isLive: () => false, [Symbol.asyncDispose]: async () => {} }),
    }),
    make: (options) => SchemaLeases.open(options as never),
  },
  {
    name: 'SchemaChangeJob',
    options: {
      env: environment,
      store: must('port'),
      ranges: must('function'),
      host: must('port'),
      isLive: must('function'),
    },
    valid: () => ({ env, store, ranges: async () => [], host, isLive: () => true }),
    make: (options) => void new SchemaChangeJob(options as never),
  },
  {
    name: 'checkSchemaChangeTuning',
    options: all({ chunkRows: 1, parallelChunks: 1, laggardGraceMs: 1, pollIntervalMs: 1 }, count),
    valid: () => ({}),
    make: (options) => checkSchemaChangeTuning(options as never),
  },
  {
    name: 'Settings.open',
    options: { env: environment, store: must('port'), definitions: must('object'), nodeId: { kind: 'name' } },
    valid: () => ({ env, store, definitions: defineSettings({}) }),
    make: (options) => Settings.open(options as never),
  },
  {
    name: 'integerSetting',
    options: { ...described, default: whole, min: whole, max: whole },
    valid: () => ({ description: 'd', default: 1, min: 0, max: 2 }),
    make: (options) => integerSetting(options as never),
  },
  {
    name: 'booleanSetting',
    options: { ...described, default: must('flag') },
    valid: () => ({ description: 'd', default: true }),
    make: (options) => booleanSetting(options as never),
  },
  {
    name: 'stringSetting',
    options: { ...described, default: { ...must('text'), but: [''] }, maxLength: count, secret: flag },
    valid: () => ({ description: 'd', default: '' }),
    make: (options) => stringSetting(options as never),
  },
  {
    name: 'wordSetting',
    options: { ...described, default: must('text'), words: must('array') },
    valid: () => ({ description: 'd', default: 'a', words: ['a', 'b'] }),
    make: (options) => wordSetting(options as never),
  },
  {
    name: 'schemaSetting',
    options: {
      ...described,
      default: { kind: 'count', but: nonsense.count },
      schema: must('port'),
      secret: flag,
    },
    valid: () => ({
      description: 'd',
      default: 1,
      schema: { '~standard': { validate: () => ({ value: 1 }) } },
    }),
    make: (options) => schemaSetting(options as never),
  },
  {
    name: 'Rpc',
    options: {
      env: environment,
      channel: must('port'),
      authorize: call,
      ...all(
        {
          callTimeoutMs: 1,
          maximumCallsPerPeer: 1,
          maximumCalls: 1,
          maximumRequestsPerPeer: 1,
          maximumRequests: 1,
          maximumStreamsPerPeer: 1,
          maximumStreams: 1,
          streamWindowBytes: 1,
          maximumBodyBytes: 1,
          probeIntervalMs: 1,
        },
        count,
      ),
    },
    valid: () => ({ env, channel: idle }),
    make: (options) => new Rpc(options as never),
  },
  {
    name: 'webSocket',
    options: {
      ...all(webSocketDefaults, count),
      listen: { kind: 'port' },
      advertise: { kind: 'address' },
      tls: { kind: 'port' },
      insecure: flag,
      verifyPeer: call,
    },
    valid: () => ({ listen: { host: '127.0.0.1', port: 0 } }),
    make: (options) => void webSocket(options as never),
  },
  {
    name: 'the listening address of webSocket',
    options: { host: must('text'), port: must('count') },
    valid: () => ({ host: '127.0.0.1', port: 0 }),
    make: (listen) => void webSocket({ listen } as never),
  },
  {
    name: 'the context of a transport',
    open: 'all',
    options: { env: environment, clusterId: { kind: 'name' }, self: must('port'), resolve: must('function') },
    valid: () => ({
      env,
      clusterId: 'c',
      self: { nodeId: 'n1', incarnation: 1, role: 'node' },
      resolve: () => [],
    }),
    make: (context) => webSocket()(context as never),
  },
  {
    name: 'the self of a transport',
    open: 'all',
    options: { nodeId: must('name'), incarnation: must('id'), role: must('word') },
    valid: () => ({ nodeId: 'n1', incarnation: 1, role: 'node' }),
    make: (self) => factory()({ env, clusterId: 'c', self, resolve: () => [] } as never),
    says: { nodeId: /'self'/, incarnation: /'self'/ },
  },
  {
    name: 'the channel of a transport',
    options: { traffic: { kind: 'word' } },
    valid: () => ({ traffic: 'bulk' }),
    make: async (options) => {
      await using opened = await transport()
      opened.channel('x', options as never)
    },
  },
  {
    name: 'datagram',
    options: {
      listen: must('port'),
      advertise: { kind: 'address' },
      keyRing: { kind: 'port' },
      insecure: flag,
      maximumPacketBytes: count,
      maximumQueuedBytes: count,
    },
    valid: () => ({ listen: { host: '127.0.0.1', port: 0 }, keyRing: new KeyRing([new Uint8Array(32)]) }),
    make: (options) => void datagram(options as never),
  },
  {
    name: 'the context of a datagram socket',
    open: 'all',
    options: { env: environment, clusterId: must('name'), nodeId: must('name') },
    valid: () => ({ env, clusterId: 'c', nodeId: 'n1' }),
    make: (context) => memoryDatagrams().socket()(context as never),
  },
  {
    name: 'memoryNetwork',
    options: all(
      {
        maximumMessageBytes: 1,
        maximumQueuedMessages: 1,
        maximumQueuedBytes: 1,
        maximumStreams: 1,
        streamWindowBytes: 1,
      },
      count,
    ),
    valid: () => ({}),
    make: (options) => void memoryNetwork(options as never),
  },
  {
    name: 'MemoryNetwork.cut',
    options: { silent: flag },
    valid: () => ({}),
    make: (options) => memoryNetwork().cut('a', 'b', options as never),
  },
  {
    name: 'memoryDatagrams',
    options: { maximumPayloadBytes: count },
    valid: () => ({}),
    make: (options) => void memoryDatagrams(options as never),
  },
  {
    name: 'the context of a log store',
    open: 'all',
    options: { env: environment, clusterId: must('name'), nodeId: must('name') },
    valid: () => ({ env, clusterId: 'c', nodeId: 'n1' }),
    make: (context) => memoryLog()(context as never),
  },
  {
    name: 'the context of segments',
    open: 'all',
    options: { env: environment, clusterId: must('name'), nodeId: must('name') },
    valid: () => ({ env, clusterId: 'c', nodeId: 'n1' }),
    make: (context) => segments(nowhere)(context as never),
  },
  {
    name: 'the context of levelLog',
    open: 'all',
    options: { env: environment, clusterId: must('name'), nodeId: must('name') },
    valid: () => ({ env, clusterId: 'c', nodeId: 'n1' }),
    make: (context) => levelLog(level())(context as never),
  },
  {
    name: 'memoryLog',
    options: { disk: { kind: 'port' }, name: text, maximumWriteBytes: count, maximumQueuedBytes: count },
    valid: () => ({ disk: new MemoryDisk(), maximumWriteBytes: 8_192, maximumQueuedBytes: 8_192 }),
    make: (options) => void memoryLog(options as never),
  },
  {
    name: 'MemoryDisk',
    options: { timers: { kind: 'port' }, syncLatencyMs: call, maximumUnsyncedBytes: count },
    valid: () => ({ timers: env.timers }),
    make: (options) => void new MemoryDisk(options as never),
  },
  {
    name: 'MemoryFileSystem',
    options: { timers: { kind: 'port' }, syncLatencyMs: call },
    valid: () => ({ timers: env.timers }),
    make: (options) => void new MemoryFileSystem(options as never),
  },
  {
    name: 'MemoryLevel',
    open: 'strangers',
    options: {
      disk: { kind: 'port' },
      name: text,
      logIsFull: call,
      keyEncoding: { kind: 'function', but: ['f'] },
      valueEncoding: { kind: 'function', but: ['f'] },
    },
    valid: () => ({ keyEncoding: 'view' }),
    make: (options) => void new MemoryLevel(options as never),
  },
  {
    name: 'levelLog',
    options: all({ maximumBatchBytes: 1, maximumQueuedBytes: 1, cleanFromBytes: 1 }, count),
    valid: () => ({}),
    make: (options) => void levelLog(nowhere, options as never),
  },
  {
    name: 'openLevel',
    options: {
      ...all({ cacheBytes: 1, writeBufferBytes: 1, tableBytes: 1, maximumOpenFiles: 1 }, count),
      create: flag,
      logger: { kind: 'port' },
    },
    valid: () => ({}),
    make: (options) => openLevel(nowhere, options as never),
  },
  {
    name: 'segments',
    options: {
      ...all({ segmentBytes: 1, maximumQueuedBytes: 1, cleanFromBytes: 1 }, count),
      damage: { kind: 'word' },
      fileSystem: { kind: 'port' },
    },
    valid: () => ({}),
    make: (options) => void segments(nowhere, options as never),
  },
  {
    name: 'Simulation',
    options: {
      seed: must('count'),
      traceLimit: count,
      logLevel: { kind: 'word' },
      startWallMs: count,
      onLine: call,
    },
    valid: () => ({ seed: 1 }),
    make: (options) => void new Simulation(options as never),
  },
  {
    name: 'Simulation.runSync',
    options: { untilMs: number, stop: call, maximumEvents: count },
    valid: () => ({}),
    make: (options) => simulation.runSync(options as never),
  },
  {
    name: 'the quality of a link',
    options: {
      minimumDelayMs: number,
      meanExtraDelayMs: number,
      reorderDelayMs: number,
      ...all({ lossProbability: 1, duplicateProbability: 1, reorderProbability: 1 }, { kind: 'probability' }),
    },
    valid: () => ({}),
    make: (quality) => conditions().setQuality(quality as never),
  },
  {
    name: 'the quality of a disk',
    options: {
      minimumDelayMs: number,
      meanExtraDelayMs: number,
      slowDelayMs: number,
      capacityBytes: number,
      ...all(
        {
          slowProbability: 1,
          syncFailureProbability: 1,
          readFailureProbability: 1,
          writeFailureProbability: 1,
          lostSyncProbability: 1,
          misdirectedWriteProbability: 1,
        },
        { kind: 'probability' },
      ),
    },
    valid: () => ({}),
    make: (quality) =>
      new SimulatedDisk(simulation.process('d'), {
        scheduler: simulation.scheduler,
        random: simulation.random('d'),
        counts: simulation.faults,
      }).setQuality(quality as never),
  },
  {
    name: 'SimulatedTransports.factory',
    options: {
      listen: flag,
      ...all(
        {
          port: 1,
          maximumMessageBytes: 1,
          maximumQueuedBytes: 1,
          maximumStreams: 1,
          streamWindowBytes: 1,
          connectTimeoutMs: 1,
          pingTimeoutMs: 1,
        },
        count,
      ),
    },
    valid: () => ({}),
    make: (options) =>
      void new SimulatedTransports(simulation.scheduler, conditions(), simulation.random('t')).factory(
        simulation.process('t'),
        options as never,
      ),
  },
  {
    name: 'SimulatedDatagrams.factory',
    options: { port: count, maximumPayloadBytes: count },
    valid: () => ({}),
    make: (options) =>
      void new SimulatedDatagrams(simulation.scheduler, conditions()).factory(
        simulation.process('g'),
        options as never,
      ),
  },
  {
    name: 'drawSwarm',
    options: { probability: { kind: 'probability' } },
    valid: () => ({}),
    make: (options) => drawSwarm(simulation.random('s'), [], options as never),
  },
  {
    name: 'checkLinearizability',
    options: { maximumSteps: count },
    valid: () => ({}),
    make: (options) => checkLinearizability(counterModel, [], options as never),
  },
]

async function openPlane(options: object, signal?: AbortSignal): Promise<ControlPlane> {
  return ControlPlane.open(
    {
      env,
      clusterId: 'c',
      nodeId: 'cp1',
      cluster: bootstrap({ secret }),
      transport: factory(),
      log: memoryLog(),
      database: level(),
      ...options,
    },
    signal === undefined ? {} : { signal },
  )
}

function conditions(): NetworkConditions {
  return new NetworkConditions(simulation.random('c'), simulation.faults)
}
