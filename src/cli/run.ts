import { toKeelsonError } from '../core/errors.ts'
import { jobs, nodes, ranges } from './cluster.ts'
import { connectionHelp } from './connection.ts'
import { explain, plan, whatIf } from './placement.ts'
import { rules } from './rules.ts'
import { inspect, recover, recoverySteps, stoppedServer } from './servers.ts'
import { type Command, checkFlags, readWords, suggestion, type Terminal, Usage } from './words.ts'

const running: Readonly<Record<string, Command>> = {
  nodes,
  ranges,
  explain,
  plan,
  'what-if': whatIf,
  rules,
  jobs,
}
const stopped: Readonly<Record<string, Command>> = { inspect, recover }
const commands: Readonly<Record<string, Command>> = { ...running, ...stopped }

function listed(group: Readonly<Record<string, Command>>): string {
  return Object.entries(group)
    .map(([name, { about }]) => `  ${name.padEnd(10)}${about}\n`)
    .join('')
}

const help = `keelson <command> [options]

Of a cluster that runs:

${listed(running)}
${connectionHelp}
Of a server that is stopped:

${listed(stopped)}
${stoppedServer}
${recoverySteps}
keelson <command> --help says more of each. It ends with 0; with 1 when something went wrong, and with 2 when nobody
understands the words.
`

/**
 * Carries out the command that the words say. What goes wrong is one line, with the code of the error.
 *
 * @returns 0; 1 when it failed, 2 when nobody understands the words
 */
export async function run(words: readonly string[], terminal: Terminal): Promise<number> {
  try {
    const { flags, positionals } = readWords(words)
    const [name, ...more] = positionals
    if (name === undefined) {
      terminal.out(help)
      return flags.help === true ? 0 : 2
    }
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (command === undefined)
      throw new Usage(`there is no command '${name}'${suggestion(name, Object.keys(commands))}`)
    if (flags.help === true) {
      terminal.out(`${command.about}\n\n${command.help}`)
      return 0
    }
    checkFlags(name, command, flags)
    // What others have written must not move the cursor. JSON says such characters in its own way, but for a few.
    const out = flags.json === true ? terminal.out : (text: string) => terminal.out(readable(text))
    await command.run(more, flags, { ...terminal, out })
    return 0
  } catch (thrown) {
    if (thrown instanceof Usage) {
      terminal.err(`keelson: ${thrown.message}; see keelson --help\n`)
      return 2
    }
    const { code, message } = toKeelsonError(thrown)
    terminal.err(`keelson: ${code}: ${readable(message).replaceAll('\n', ' ')}\n`)
    return 1
  }
}

/** Text in which nothing but the ends of lines steers a terminal. */
function readable(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, '\ufffd')
}
