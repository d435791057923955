/** One import of a file: `import`, `export … from`, `import type`, `import('…')`. */
export interface Import {
  readonly specifier: string
  readonly line: number
  /** Erased by the compiler: only `import type` and `export type`. `import { type T }` still loads the module. */
  readonly typeOnly: boolean
  /** `import('…')`: loaded when it is reached, or a type that is erased. */
  readonly dynamic: boolean
}

/**
 * The text with comments, the contents of strings and regular expressions blanked out. Every character keeps its place, so
 * that a match's offset is the offset in the file. The code within a template's `${…}` stays.
 */
export function maskText(text: string): string {
  const out = text.split('')
  const blank = (from: number, to: number): void => {
    for (let i = from; i < to; i += 1) if (out[i] !== '\n') out[i] = ' '
  }
  // The depth of braces at which each open template expression ends.
  const templates: number[] = []
  let depth = 0
  let i = 0

  const template = (start: number): number => {
    let at = start
    while (at < text.length) {
      if (text[at] === '\\') at += 2
      else if (text[at] === '`') {
        blank(start, at)
        return at + 1
      } else if (text[at] === '$' && text[at + 1] === '{') {
        blank(start, at)
        templates.push(depth)
        depth += 1
        return at + 2
      } else at += 1
    }
    blank(start, text.length)
    return text.length
  }

  while (i < text.length) {
    const char = text[i]
    const next = text[i + 1]
    if (char === '/' && next === '/') {
      const end = endOfLine(text, i)
      blank(i, end)
      i = end
    } else if (char === '/' && next === '*') {
      const found = text.indexOf('*/', i + 2)
      const end = found < 0 ? text.length : found + 2
      blank(i, end)
      i = end
    } else if (char === "'" || char === '"') {
      let end = i + 1
      while (end < text.length && text[end] !== char && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1
      blank(i + 1, end)
      i = end + 1
    } else if (char === '`') {
      i = template(i + 1)
    } else if (char === '/' && startsRegExp(out, i)) {
      const end = endOfRegExp(text, i)
      blank(i, end)
      i = end
    } else if (char === '{') {
      depth += 1
      i += 1
    } else if (char === '}') {
      depth -= 1
      i += 1
      if (templates.at(-1) === depth) {
        templates.pop()
        i = template(i)
      }
    } else i += 1
  }
  return out.join('')
}

/** Every import of a file. A computed `import(…)` has the specifier `''`: nobody can say what it loads. */
export function importsOf(text: string, masked: string = maskText(text)): Import[] {
  const found: Import[] = []
  const add = (match: RegExpMatchArray, typeOnly: boolean, dynamic: boolean): void => {
    const start = match.index ?? 0
    const open = start + match[0].length - 1
    const quote = masked[open]
    const close = quote === "'" || quote === '"' || quote === '`' ? masked.indexOf(quote, open + 1) : -1
    found.push({
      specifier: close < 0 ? '' : text.slice(open + 1, close),
      line: lineOf(text, start),
      typeOnly,
      dynamic,
    })
  }
  const clause =
    /(?<![.\w$])(?:import|export)(\s+type(?!\s+from\b))?(?=[\s{*])[\w$*{},\s]*?(?<=[\s}*])from\s*['"]/g
  for (const match of masked.matchAll(clause)) add(match, match[1] !== undefined, false)
  for (const match of masked.matchAll(/(?<![.\w$])import\s*['"]/g)) add(match, false, false)
  for (const match of masked.matchAll(/(?<![.\w$])import\s*\(\s*\S/g)) add(match, false, true)
  return found.sort((a, b) => a.line - b.line)
}

/** The line number, from 1, of an offset. */
export function lineOf(text: string, offset: number): number {
  let line = 1
  for (let i = text.indexOf('\n'); i >= 0 && i < offset; i = text.indexOf('\n', i + 1)) line += 1
  return line
}

function endOfLine(text: string, from: number): number {
  const end = text.indexOf('\n', from)
  return end < 0 ? text.length : end
}

/** A slash divides after a value, and opens a regular expression after an operator or a keyword. */
function startsRegExp(masked: readonly string[], at: number): boolean {
  let before = at - 1
  while (before >= 0 && /\s/.test(masked[before] ?? '')) before -= 1
  if (before < 0) return true
  if (/[\w$]/.test(masked[before] ?? '')) {
    const word = /[\w$]+$/.exec(masked.slice(Math.max(0, before - 12), before + 1).join(''))?.[0] ?? ''
    return /^(?:return|typeof|case|in|of|do|else|void|delete|throw|yield|await)$/.test(word)
  }
  return !/[)\]}'"`]/.test(masked[before] ?? '')
}

function endOfRegExp(text: string, start: number): number {
  let inClass = false
  for (let i = start + 1; i < text.length && text[i] !== '\n'; i += 1) {
    if (text[i] === '\\') i += 1
    else if (text[i] === '[') inClass = true
    else if (text[i] === ']') inClass = false
    else if (text[i] === '/' && !inClass) return i + 1
  }
  return start + 1
}
