/**
 * The control plane of a distributed database, as a library: which nodes are alive, which of them hold which range of
 * the data, what the schema is and what the settings are. The host program keeps reading and writing the data itself.
 *
 * This entry has the composition: {@link ControlPlane} for a server, {@link NodeAgent} for a node, {@link PlaneClient}
 * for a program beside the cluster, {@link Admin} for what operators ask, and {@link devCluster} for all of it in one
 * process. It also has what every module shares: the ports that a host implements or chooses ({@link RangeHost},
 * {@link StateMachine}, {@link Transport}, {@link LogStore}, {@link MetadataStore}), ids, descriptors and
 * {@link KeelsonError}. Each module has an entry of its own and works alone.
 *
 * ```ts
 * await using cluster = await devCluster({ servers: 3 })
 * const { store } = cluster.client
 * await store.txn({ then: [{ type: 'put', key: utf8('/app/greeting'), value: utf8('hello') }] })
 * console.log(text((await store.get(utf8('/app/greeting')))!.value))
 * ```
 *
 * @module keelson
 */
export * from './control-plane/index.ts'
export * from './core/index.ts'
export * from './interfaces/index.ts'
export * from './model/index.ts'
