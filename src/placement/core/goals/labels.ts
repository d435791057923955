import { checkArray, checkText } from '../../../core/arguments.ts'
import type { PlacementColumns } from '../assignment.ts'
import type { Rule } from './goal.ts'

/** Keeps replicas on nodes that have a label, or one of some values of it. */
export function requireLabel(name: string, values?: readonly string[]): Rule {
  checkLabel(name, values)
  return ruleOfNodes(`requireLabel(${name})`, (columns, node) => {
    const value = columns.label(node, name)
    if (value !== undefined && (values === undefined || values.includes(value))) return undefined
    const wanted = values === undefined ? '' : ` ${values.join(' or ')}`
    return `it does not have the label ${name}${wanted}`
  })
}

/** Keeps replicas off nodes that have a label, or one of some values of it. */
export function prohibitLabel(name: string, values?: readonly string[]): Rule {
  checkLabel(name, values)
  return ruleOfNodes(`prohibitLabel(${name})`, (columns, node) => {
    const value = columns.label(node, name)
    if (value === undefined || (values !== undefined && !values.includes(value))) return undefined
    return `it has the label ${name}=${value}`
  })
}

/** Empties one domain of a tier of locality: a rack that is switched off, a zone that is given up. */
export function evacuate(tier: string, value: string): Rule {
  checkText(tier, 'the tier of evacuate', 32)
  checkText(value, 'the domain of evacuate', 64)
  return ruleOfNodes(`evacuate(${tier}=${value})`, (columns, node) => {
    const { of, names } = columns.domains(tier)
    return names[of[node] as number] === value ? `${tier} ${value} is to be emptied` : undefined
  })
}

function checkLabel(name: string, values: readonly string[] | undefined): void {
  checkText(name, 'the name of a label', 128)
  if (values === undefined) return
  for (const value of checkArray(values, 'the values of a label')) checkText(value, 'a value of a label', 128)
}

/** A rule that asks the node alone. */
function ruleOfNodes(
  name: string,
  judge: (columns: PlacementColumns, node: number) => string | undefined,
): Rule {
  return {
    name,
    bind(assignment) {
      const { columns, place } = assignment
      const verdicts = Array.from({ length: columns.nodeCount }, (_, node) => judge(columns, node))
      const refused = Uint8Array.from(verdicts, (verdict) => (verdict === undefined ? 0 : 1))
      return {
        name,
        allows: (slot, to) => to < 0 || refused[to] === 0 || place[slot] === to,
        allowsSwap: (a, b) => {
          const [from, to] = [place[a] as number, place[b] as number]
          return from === to || ((to < 0 || refused[to] === 0) && (from < 0 || refused[from] === 0))
        },
        refusal: (slot, to) => (to < 0 || place[slot] === to ? undefined : verdicts[to]),
        evicts: (slot) => verdicts[place[slot] as number],
        broken: () => place.reduce((sum, node) => sum + (node < 0 ? 0 : (refused[node] as number)), 0),
      }
    },
  }
}
