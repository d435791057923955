import { checkArray, checkObject, checkText } from '../../core/arguments.ts'
import { KeelsonError } from '../../core/errors.ts'
import { localityValue } from '../../model/locality.ts'
import type { ClusterSummary, StoreSummary } from './summary.ts'

/** What {@link drawClusters} draws. */
export interface PictureOptions {
  /** Load dimension that the bars show. Default: `bytes` where there is one, else the number of replicas. */
  readonly resource?: string
  /** Tier of locality by which nodes are grouped. Default: the widest that the first node names. */
  readonly tier?: string
}

/** One cluster, or the same one at several moments. */
export interface PictureFrame {
  /** What stands above it. */
  readonly title: string
  /** The cluster. */
  readonly summary: ClusterSummary
}

const barWidth = 14
const barGap = 4
const barHeight = 120
const groupPad = 12
const titleHeight = 28
const footer = 46
const colors: Readonly<Record<StoreSummary['condition'], string>> = {
  up: '#4c78a8',
  suspect: '#b8b8b8',
  lost: '#e45756',
  leaving: '#f2a93b',
  resting: '#9d7bb0',
}

/**
 * Draws clusters as SVG, one below the other: a bar for every store, by domain, as high as the store is full; a line at the mean.
 * Hovering over a bar says what it is. All frames have the same scale, so before and after can be compared.
 *
 * @throws KeelsonError `INVALID_ARGUMENT`
 */
export function drawClusters(frames: readonly PictureFrame[], options: PictureOptions = {}): string {
  checkArray(frames, 'the frames of a picture', 16)
  const [first] = frames
  if (first === undefined) throw new KeelsonError('INVALID_ARGUMENT', 'a picture has one frame at least')
  for (const frame of frames) {
    checkObject(frame, 'a frame of a picture', ['title', 'summary'])
    checkText(frame.title, 'the title of a frame', 200)
  }
  const resource = options.resource ?? (first.summary.resources.includes('bytes') ? 'bytes' : undefined)
  const tier = options.tier ?? first.summary.stores[0]?.locality[0]?.key ?? ''
  const scale = Math.max(
    1e-12,
    ...frames.flatMap(({ summary }) => summary.stores.map((each) => height(each, resource))),
  )
  let [width, y] = [0, 0]
  const parts: string[] = []
  for (const { title, summary } of frames) {
    const drawn = frame(title, summary, { resource, tier, scale, y })
    parts.push(drawn.svg)
    width = Math.max(width, drawn.width)
    y += titleHeight + barHeight + footer
  }
  const legend = Object.entries(colors)
    .map(([name, color], i) => {
      const x = groupPad + i * 90
      return `<rect x="${x}" y="${y}" width="10" height="10" fill="${color}"/><text x="${x + 14}" y="${y + 9}">${name}</text>`
    })
    .join('')
  const total = Math.max(width, groupPad + Object.keys(colors).length * 90)
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${total}" height="${y + 20}" viewBox="0 0 ${total} ${y + 20}" font-family="sans-serif" font-size="11">${parts.join('')}${legend}</svg>`
}

/** How high a bar is: part of the capacity, or the amount where there is none. */
function height(store: StoreSummary, resource: string | undefined): number {
  if (resource === undefined) return store.replicas
  const capacity = store.capacity[resource]
  const used = store.used[resource] ?? 0
  return capacity === undefined || capacity === 0 ? used : used / capacity
}

interface Scale {
  readonly resource: string | undefined
  readonly tier: string
  readonly scale: number
  readonly y: number
}

function frame(
  title: string,
  summary: ClusterSummary,
  { resource, tier, scale, y }: Scale,
): { svg: string; width: number } {
  const groups = new Map<string, StoreSummary[]>()
  for (const store of summary.stores) {
    const domain = localityValue(store.locality, tier) ?? ''
    const group = groups.get(domain)
    if (group === undefined) groups.set(domain, [store])
    else group.push(store)
  }
  const base = y + titleHeight + barHeight
  const parts: string[] = []
  let x = groupPad
  for (const [domain, stores] of [...groups].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const groupWidth = stores.length * (barWidth + barGap) + barGap
    parts.push(
      `<rect x="${x}" y="${y + titleHeight - 4}" width="${groupWidth}" height="${barHeight + 4}" fill="#f4f4f4"/>`,
      `<text x="${x + groupWidth / 2}" y="${base + 16}" text-anchor="middle">${escaped(domain === '' ? 'no ' + tier : domain)}</text>`,
    )
    stores.forEach((store, i) => {
      const tall = (height(store, resource) / scale) * barHeight
      const left = x + barGap + i * (barWidth + barGap)
      parts.push(
        `<rect x="${left}" y="${(base - tall).toFixed(1)}" width="${barWidth}" height="${tall.toFixed(1)}" fill="${colors[store.condition]}"><title>${escaped(describe(store))}</title></rect>`,
      )
    })
    x += groupWidth + groupPad
  }
  const alive = summary.stores.filter(({ condition }) => condition !== 'lost')
  const mean = alive.reduce((sum, store) => sum + height(store, resource), 0) / Math.max(1, alive.length)
  const line = base - (mean / scale) * barHeight
  parts.push(
    `<line x1="${groupPad}" x2="${x - groupPad}" y1="${line.toFixed(1)}" y2="${line.toFixed(1)}" stroke="#333" stroke-dasharray="3 3"/>`,
  )
  const highest = Math.max(0, ...alive.map((store) => height(store, resource)))
  const unit = resource === undefined ? 'replicas' : resource
  const shown = (value: number): string =>
    resource !== undefined && alive.some(({ capacity }) => capacity[resource] !== undefined)
      ? `${(value * 100).toFixed(1)} %`
      : value.toPrecision(4)
  const heading = `${title}: ${unit}, mean ${shown(mean)}, most ${shown(highest)}; ${summary.underReplicated} of ${summary.ranges} ranges lack replicas`
  return {
    svg: `<text x="${groupPad}" y="${y + 16}" font-weight="bold">${escaped(heading)}</text>${parts.join('')}`,
    width: x,
  }
}

function describe(store: StoreSummary): string {
  const { name, condition, replicas, leases, used, capacity } = store
  const amounts = Object.entries(used).map(([resource, amount]) => {
    const room = capacity[resource]
    return room === undefined ? `${resource} ${amount}` : `${resource} ${amount} of ${room}`
  })
  return [name, condition, `${replicas} replicas`, `${leases} leases`, ...amounts].join(', ')
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (each) => `&#${each.charCodeAt(0)};`)
}
