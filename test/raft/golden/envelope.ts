export const envelope1: readonly string[] = [
  '0100706c61696e',
  '0101ac02',
  '010280808080802005046f6e6365',
  '010307010100626f7468',
]
