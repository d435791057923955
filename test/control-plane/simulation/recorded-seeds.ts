/** The seed that caught each bug last: written by npm run mutants -- --record. */
export const recordedSeeds: Readonly<Record<string, number>> = {
  'a control plane that was recovered counts on from what is left': 2,
  'a frozen range takes commands while it is brought over': 1,
  'a frozen range thaws without having its merge ruled out': 1,
  'a node awaits the right-hand range before it has come to the split, and drops its rows': 1,
  'a range makes a change whatever generation it was meant for': 4,
  'a range swaps two replicas without a joint configuration': 2,
  'a session counts from when its renewal was answered': 9,
  'a split leaves the first row of the right-hand range behind': 2,
  'no range is left alone after a move, whoever wants to move it again': 10,
  'ranges keep no barrier against old schema versions': 2,
  'the directory follows no splits and merges that were lost with a quorum': 9,
  'the directory takes any generation': 1,
  'the duties of a deposed leader go on, and no write compares its epoch': 5,
  'the right-hand range does not know which commands took effect before the split': 2,
  'the right-hand range keeps no barrier of the parent': 4,
  'the two halves of a split are written down one after the other': 1,
}
