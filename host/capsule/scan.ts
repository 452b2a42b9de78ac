/**
 * What can be told of a capsule without a key or a model: what it continues, and its identifier.
 * @module
 */
import { type CapsuleHeader, decodeHeader, HASH_BYTES, HEADER_BYTES, toHex } from "./format.ts";
import { identify } from "./seal.ts";

export interface ScannedCapsule {
  readonly header: CapsuleHeader;
  /** Stands for every byte of it, 64 hex digits: what `session.saved` gives. */
  readonly id: string;
}

/** Reads over a capsule in pieces of any size, and keeps its header and tags. */
export class CapsuleScanner {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #filled = 0;
  #decoded: CapsuleHeader | undefined;
  readonly #tags: Uint8Array[] = [];
  /** The piece that is being read: a length word (4 bytes), or what comes after content of `#skip` bytes. */
  #part = new Uint8Array(0);
  #partFilled = 0;
  #skip = 0;
  #isWord = true;
  #isLast = false;
  #isBad = false;

  /** The header; undefined before it has come, or where the bytes are no capsule. */
  get header(): CapsuleHeader | undefined {
    return this.#decoded;
  }

  push(bytes: Uint8Array): void {
    for (let rest = bytes; rest.byteLength > 0 && !this.#isBad; ) rest = rest.subarray(this.#take(rest));
  }

  /** Undefined where the bytes were not exactly one capsule. */
  async end(): Promise<ScannedCapsule | undefined> {
    const isWhole = this.#isLast && this.#isWord && this.#partFilled === 0 && !this.#isBad;
    if (!isWhole || this.#decoded === undefined) return undefined;
    return { header: this.#decoded, id: toHex(await identify(this.#header, this.#tags)) };
  }

  /** Reads the beginning of `bytes`, says how much of it. */
  #take(bytes: Uint8Array): number {
    if (this.#filled < HEADER_BYTES) return this.#takeHeader(bytes);
    if (this.#skip > 0) {
      const n = Math.min(this.#skip, bytes.byteLength);
      this.#skip -= n;
      return n;
    }
    if (this.#isLast && this.#isWord) this.#isBad = true; // more than a capsule
    const part = bytes.subarray(0, this.#part.byteLength - this.#partFilled);
    this.#part.set(part, this.#partFilled);
    this.#partFilled += part.byteLength;
    if (this.#partFilled === this.#part.byteLength) this.#takePart();
    return part.byteLength;
  }

  #takeHeader(bytes: Uint8Array): number {
    const part = bytes.subarray(0, HEADER_BYTES - this.#filled);
    this.#header.set(part, this.#filled);
    this.#filled += part.byteLength;
    if (this.#filled < HEADER_BYTES) return part.byteLength;
    try {
      this.#decoded = decodeHeader(this.#header);
      this.#expect(4);
    } catch {
      this.#isBad = true;
    }
    return part.byteLength;
  }

  #takePart(): void {
    if (this.#isWord) {
      const word = new DataView(this.#part.buffer).getUint32(0, true);
      this.#isLast = word >= 0x80000000;
      this.#skip = word & 0x7fffffff;
      this.#expect(this.#decoded!.isEncrypted ? 16 : HASH_BYTES);
    } else {
      this.#tags.push(this.#part);
      this.#expect(4);
    }
    this.#isWord = !this.#isWord;
  }

  #expect(bytes: number): void {
    this.#part = new Uint8Array(bytes);
    this.#partFilled = 0;
  }
}
