/**
 * Words and bytes, little-endian, one after the other.
 * @module
 */
export class ByteWriter {
  #bytes = new Uint8Array(1 << 12);
  #length = 0;

  u32(...words: readonly number[]): this {
    return this.words(words);
  }

  words(words: Iterable<number> & { readonly length: number }): this {
    const at = this.#grow(4 * words.length);
    const view = new DataView(this.#bytes.buffer);
    let i = 0;
    for (const word of words) view.setUint32(at + 4 * i++, word, true);
    return this;
  }

  f64(...values: readonly number[]): this {
    const at = this.#grow(8 * values.length);
    const view = new DataView(this.#bytes.buffer);
    for (const [i, value] of values.entries()) view.setFloat64(at + 8 * i, value, true);
    return this;
  }

  bytes(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Zeros up to a whole word. */
  align(): this {
    this.#grow(-this.#length & 3);
    return this;
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** Makes room, and gives where it begins. */
  #grow(n: number): number {
    const at = this.#length;
    this.#length += n;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
    }
    return at;
  }
}
