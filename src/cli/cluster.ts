import { hex } from '../core/bytes.ts'
import type { RangeDescriptor } from '../model/descriptors.ts'
import { formatLocality } from '../model/locality.ts'
import { tableOf } from '../model/table-span.ts'
import { connectionFlags, connectionHelp, withCluster } from './connection.ts'
import { andMore, json, moment, table } from './text.ts'
import { type Command, noMore, wholeNumber } from './words.ts'

const defaultLimit = 100

/** The nodes that have joined. */
export const nodes: Command = {
  about: 'the nodes that have joined: state, whether they are alive, where they stand',
  help: `keelson nodes --cluster ID --seeds HOST:PORT,…\n\n${connectionHelp}`,
  flags: connectionFlags,
  run: async (words, flags, { out }) => {
    noMore(words)
    const found = await withCluster(flags, async ({ nodes: all }, call) => {
      const epochs = await all.epochs(call)
      return (await all.list(call)).map(({ descriptor, state, reason, joinedAtMs, changedAtMs }) => {
        const { nodeId, incarnation, addresses, locality, capacity, labels, stores } = descriptor
        return {
          nodeId,
          state,
          epoch: epochs.get(nodeId),
          incarnation,
          locality: formatLocality(locality),
          capacity,
          labels,
          stores,
          addresses,
          reason,
          joinedAtMs,
          changedAtMs,
        }
      })
    })
    if (flags.json === true) {
      out(json(found))
      return
    }
    const rows = found.map(({ nodeId, state, epoch, locality, capacity, addresses }) => [
      nodeId,
      state,
      epoch === undefined ? 'no session' : `epoch ${epoch}`,
      locality || '-',
      amounts(capacity),
      addresses.join(',') || '-',
    ])
    out(table(['NODE', 'STATE', 'ALIVE', 'LOCALITY', 'CAPACITY', 'ADDRESSES'], rows))
  },
}

/** The ranges and where their replicas are. */
export const ranges: Command = {
  about: 'the ranges and where their replicas are',
  help: `keelson ranges [--node NAME] [--limit N] --cluster ID --seeds HOST:PORT,…

  --node NAME             only those with a replica there
  --limit N               how many to show; default: ${defaultLimit}

${connectionHelp}`,
  flags: [...connectionFlags, 'node', 'limit'],
  run: async (words, flags, { out }) => {
    noMore(words)
    const limit = wholeNumber(flags, 'limit', 1) ?? defaultLimit
    const all = await withCluster(flags, (admin, call) => admin.ranges(call))
    const wanted = flags.node === undefined ? all : all.filter((range) => isOn(range, flags.node as string))
    const shown = wanted.slice(0, limit)
    if (flags.json === true) {
      const told = shown.map(({ start, end, ...range }) => ({
        ...range,
        tableId: tableOf({ start, end }),
        start: hex(start),
        end: end === undefined ? undefined : hex(end),
      }))
      out(json({ ranges: told, leftOut: wanted.length - shown.length }))
      return
    }
    const rows = shown.map((range) => [
      String(range.rangeId),
      String(tableOf(range) ?? '-'),
      String(range.generation),
      range.replicas
        .map(({ nodeId, role }) => (role === 'voter' ? nodeId : `${nodeId} (${role})`))
        .join(', '),
      `0x${hex(range.start.subarray(0, 24))}${range.start.length > 24 ? '…' : ''}`,
    ])
    out(table(['RANGE', 'TABLE', 'GENERATION', 'REPLICAS', 'FROM'], rows))
    out(andMore(wanted.length, shown.length, 'ranges', '; --limit shows them'))
  },
}

function isOn({ replicas }: RangeDescriptor, nodeId: string): boolean {
  return replicas.some((replica) => replica.nodeId === nodeId)
}

/** Long work. */
export const jobs: Command = {
  about: 'long work that runs or waits: moves, splits, schema changes, maintenance',
  help: `keelson jobs [--all] [--limit N] --cluster ID --seeds HOST:PORT,…

  --all                   those that have ended, too
  --limit N               how many to show, the newest; default: ${defaultLimit}

${connectionHelp}`,
  flags: [...connectionFlags, 'all', 'limit'],
  run: async (words, flags, { out }) => {
    noMore(words)
    const limit = wholeNumber(flags, 'limit', 1) ?? defaultLimit
    const found = await withCluster(flags, (admin, call) =>
      admin.jobs.list({ ...call, ...(flags.all === true ? {} : { unfinished: true }) }),
    )
    const shown = found.slice(-limit)
    if (flags.json === true) {
      // The state of a job is for the program that runs it.
      const told = shown.map(({ state: _, ...job }) => job)
      out(json({ jobs: told, leftOut: found.length - shown.length }))
      return
    }
    const rows = shown.map((job) => [
      String(job.jobId),
      job.type,
      job.status,
      moment(job.changedAtMs),
      [job.progress?.message ?? job.outcome ?? job.lastError?.message ?? job.reason]
        .concat(job.waitingFor.length > 0 ? [`waits for ${job.waitingFor.join(', ')}`] : [])
        .join('; '),
    ])
    out(table(['JOB', 'TYPE', 'STATUS', 'CHANGED', 'WHAT'], rows))
    out(andMore(found.length, shown.length, 'jobs', '; --limit shows them'))
  },
}

function amounts(capacity: Readonly<Record<string, number | undefined>>): string {
  const named = Object.entries(capacity).map(([name, amount]) => `${name}=${amount}`)
  return named.join(',') || '-'
}
