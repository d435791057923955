import { KeelsonError } from '../../core/errors.ts'
import {
  arrayOption,
  booleanOption,
  checkOptions,
  numberOption,
  type OptionCheck,
  objectOption,
  optional,
  stringOption,
  wordOption,
} from '../../core/options.ts'
import { checkNode } from '../core/model/check.ts'
import type { FleetEvent } from './fleet-report.ts'
import type { SimulatedNode, SimulatedRange } from './world.ts'

const rate = numberOption({ min: 0 })
const moment = numberOption({ min: 0 })
const some = arrayOption(stringOption({ maxLength: 256 }), { min: 1 })
const typeOption = wordOption<FleetEvent['type']>(['kill', 'revive', 'slowDisk', 'drain'])

/** Takes something that happens. A type that nobody knows is refused, and a member that it would not look at. */
export const eventOption: OptionCheck<FleetEvent> = (value, name) => {
  const { type } = objectOption<FleetEvent>(['type', 'atMs', 'nodes'])(value, name)
  switch (typeOption(type, `${name}.type`)) {
    case 'revive':
      return checkOptions<{
        type: string
        atMs: number
        nodes: readonly string[]
        wiped: boolean | undefined
      }>(name, value, {
        type: typeOption,
        atMs: moment,
        nodes: some,
        wiped: optional(booleanOption()),
      }) as FleetEvent
    case 'slowDisk':
      return checkOptions(name, value, {
        type: typeOption,
        atMs: moment,
        nodes: some,
        share: numberOption({ min: 0, max: 1 }),
      }) as FleetEvent
    default:
      return checkOptions(name, value, { type: typeOption, atMs: moment, nodes: some }) as FleetEvent
  }
}

/** Takes a node. */
export const nodeOption: OptionCheck<SimulatedNode> = (value, name) => {
  const node = checkOptions<SimulatedNode>(name, value, {
    descriptor: objectOption<SimulatedNode['descriptor']>(['nodeId', 'locality', 'capacity']),
    ingressBytesPerSecond: rate,
    egressBytesPerSecond: rate,
  })
  try {
    checkNode({ descriptor: node.descriptor, state: 'active', liveness: 'live', forMs: 0 })
  } catch (error) {
    if (!KeelsonError.is(error)) throw error
    throw new KeelsonError('INVALID_OPTION', `${name}: ${error.message}`)
  }
  return node
}

/** Takes a range. Millions of them come by here. */
export const rangeOption: OptionCheck<SimulatedRange> = (value, name) => {
  const range = objectOption<SimulatedRange>(['bytes', 'nodes'])(value, name)
  if (isPlainRange(range)) return range
  return checkOptions<{ bytes: number; nodes: readonly string[]; nonVoters: readonly string[] | undefined }>(
    name,
    value,
    {
      bytes: numberOption({ min: 0, max: Number.MAX_SAFE_INTEGER }),
      nodes: some,
      nonVoters: optional(arrayOption(stringOption({ maxLength: 256 }))),
    },
  ) as SimulatedRange
}

/** Whether a range is one beyond doubt; what is not is looked at member by member, and refused by name. */
function isPlainRange(range: SimulatedRange): boolean {
  const { bytes, nodes, nonVoters } = range
  for (const key in range) if (key !== 'bytes' && key !== 'nodes' && key !== 'nonVoters') return false
  if (typeof bytes !== 'number' || !(bytes >= 0 && bytes <= Number.MAX_SAFE_INTEGER)) return false
  return areNames(nodes) && nodes.length > 0 && (nonVoters === undefined || areNames(nonVoters))
}

function areNames(names: unknown): names is readonly string[] {
  if (!Array.isArray(names)) return false
  for (const name of names)
    if (typeof name !== 'string' || name.length === 0 || name.length > 256) return false
  return true
}
