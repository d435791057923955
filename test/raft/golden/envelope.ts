export const envelope1: readonly string[] = [
  '0100706c61696e',
  '0101ac02',
  '010280808080802005046f6e6365',
  '010307010100626f7468',
]

/** Several commands in one. */
export const envelope2: readonly string[] = [
  '02000501020105666972737403067365636f6e64',
  '020107808080808020ac0203ac0200d4fdffffff3f0162010163',
]
