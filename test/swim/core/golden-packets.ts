// Bytes of protocol version 2 (`challenge` and `proof`: of 4), as its first release wrote them: never regenerate them. A change of the format is a new
// version of the protocol.

/** Version, label, node id, incarnation 300, version 2. */
export const goldenHeader = '02046369747903646231ac0202'

/** Tag, length, content of each sample. */
export const goldenMessages: Readonly<Record<string, string>> = {
  ping: '0109ffffffff0f03646232',
  ack: '021801036462322000e0ff10000000000000000000800c080096',
  indirectPing: '03070203646233f403',
  nack: '040102',
  alive: '0513036462320905075b3a3a315d3a310203020102',
  suspect: '0609036462330503646231',
  dead: '0709036462330503646231',
  left: '080703646234ac0207',
  offer:
    '09850100000000010000080200001003000018040000200500002806000030070000380800004009' +
    '0000480a0000500b0000580c0000600d0000680e0000700f00007810000080110000881200009013' +
    '000098140000a0150000a8160000b0170000b8180000c0190000c81a0000d01b0000d81c0000e01d' +
    '0000e81e0000f01f0000f84d01efcdab',
  state:
    '0a4101000080010201050600036462310364623209050a686f73743a36353533350203a01fefbeadde02ffff' +
    'ffff0fffffffff0f80b899290003646235000100020300',
  event: '0b1203646231ac0207066465706c6f7903010203',
  query: '0c0d03646231ad0208046c6f616400',
  answer: '0d03080109',
  hello: '0e03020405',
  refusal: '0f09086e6f20746f6b656e',
  fetch: '100703646232058008',
  chunk: '110a03646232058008020607',
  recall: '1200',
  contest: '1302ac02',
  ballot: '140bac0209075b3a3a315d3a31',
  challenge: '150498badcfe',
  proof: '160467452301',
}

/** A piece of a view that goes by a stream, in protocol version 3: a packet with a state of two members. */
export const goldenPiece =
  '0304746573740473656c6601000a3200040800010200000000000473656c6601000673656c663a31020300' +
  '00010100000470656572010106706565723a31020300'

/** A query that says how long answers are waited for, in protocol version 5: the sample with 300 ms left. */
export const goldenTimedQuery = '0c0f03646231ad0208046c6f616400ac02'
