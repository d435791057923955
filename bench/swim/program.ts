import { amount, list, toggle, wholeNumber, word } from '../support/command-line.ts'

/** What membership is measured for. */
const experiments = ['lifeguard', 'rapid', 'scale', 'sockets', 'floor']

/** What runs in virtual time, with its cases. */
const cases = ['bootstrap', 'crashes', 'loss', 'flip-flop', 'steady', 'joins', 'massacre', 'split']

const ofPaper = ['SWIM', 'LHA-Probe', 'LHA-Suspicion', 'Buddy', 'Lifeguard']
const configurations = [...ofPaper, 'Lifeguard α 2', 'keelson']

/** How `bench/swim.ts` and what it starts are told what to do. */
export const swimProgram = {
  call: 'npm run bench -- swim',
  about: [
    'What membership costs, and how well it tells the dead from the slow.',
    '',
    '  lifeguard   128 members of which some are held up: false positives and detection',
    '  rapid       a bootstrap of 2,000, crashes, and members that lose most of what is sent to them',
    '  scale       detection, traffic, processor time, many joins, many deaths, a long split',
    '  sockets     members in processes on the loopback interface, some of which are killed',
    '  floor       bare sockets in one process that send as many packets as members at rest',
    '',
    'All but the last two run in virtual time. Each run of lifeguard is a line in a file: it can be stopped at any time, and the',
    'same command goes on where the file ends.',
  ].join('\n'),
  flags: {
    only: list(experiments, 'sockets', 'which of them'),
    members: list([], '', 'how many; scale takes several'),
    cases: list(cases, '', 'of rapid and scale; without them all'),
    processes: wholeNumber(16, 'among which the members of sockets are'),
    settle: amount(30, 'seconds that they run before they are measured'),
    file: word('lifeguard.jsonl', 'FILE', 'for the runs of lifeguard'),
    report: toggle('prints the tables of that file and runs nothing'),
    grid: list(
      ['full', 'corners', 'edge'],
      'full',
      'points of the paper: all, corners, or those of long standstills with a moment in between',
    ),
    hold: list(['all', 'receives'], 'all', 'what is held up'),
    'packet-ms': amount(0.05, 'what a process needs for a packet'),
    'wake-ms': amount(1.6, 'after which the threads of a process go on, in the mean'),
    configurations: list(configurations, '', 'of lifeguard; without them all'),
    repetitions: wholeNumber(10, 'of each point, at most 10'),
    minutes: amount(30, 'after which no further run begins'),
    slice: word('1/1', 'K/N', 'the K-th of N parts of the runs'),
  },
} as const
