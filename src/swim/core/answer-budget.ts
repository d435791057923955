/**
 * Bytes a second that answers may take which are longer than their questions: a forged question, or too many of them, must not
 * make a flood. What is not used is saved for a second.
 */
export class AnswerBudget {
  readonly #bytesPerSecond: number
  #bytes: number
  #atMs: number

  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerSecond = bytesPerSecond
    this.#bytes = bytesPerSecond
    this.#atMs = nowMs
  }

  /** True when another answer may be sent now. It may overdraw the budget, so that long answers get their turn. */
  allows(nowMs: number): boolean {
    const earned = ((nowMs - this.#atMs) / 1_000) * this.#bytesPerSecond
    this.#bytes = Math.min(this.#bytesPerSecond, this.#bytes + earned)
    this.#atMs = nowMs
    return this.#bytes > 0
  }

  spend(bytes: number): void {
    this.#bytes -= bytes
  }

  clone(): AnswerBudget {
    const copy = new AnswerBudget(this.#bytesPerSecond, this.#atMs)
    copy.#bytes = this.#bytes
    return copy
  }
}
