/** Best known costs of the challenge's instances, by name. */
export const bestKnown: ReadonlyMap<string, number> = new Map([
  ['a1_1', 44_306_501],
  ['a1_2', 777_531_842],
  ['a1_3', 583_005_719],
  ['a1_4', 262_086_758],
  ['a1_5', 727_578_310],
  ['a2_1', 329],
  ['a2_2', 746_097_632],
  ['a2_3', 1_210_644_572],
  ['a2_4', 1_680_615_349],
  ['a2_5', 318_358_949],
])

/** `a1_1` of `somewhere/model_a1_1.txt`. */
export function instanceName(file: string): string {
  return /(?:^|[/\\])model_([^/\\]+)\.txt$/.exec(file)?.[1] ?? file
}
