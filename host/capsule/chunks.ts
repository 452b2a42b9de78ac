/**
 * A capsule's body in chunks: pieces of any size are gathered to 256 KiB, sealed and sent on, and the other way round, so
 * that neither side ever has more of a capsule in hand than a chunk.
 *
 *   chunk:  | u32 bytes of content, bit 31: the last chunk | content | tag |
 *
 * All chunks but the last are full: a body has one way to be cut.
 * @module
 */
import type { ByteReader } from "./byte-reader.ts";
import { CHUNK_BYTES, malformed } from "./format.ts";
import type { Opener, Sealer } from "./seal.ts";

const LAST = 0x80000000;

/** Seals a body. `onRead` is called when the last piece has been taken. A piece is used up before the next is asked for. */
export async function* sealChunks(
  pieces: Iterable<Uint8Array>,
  sealer: Sealer,
  onRead: () => void,
): AsyncGenerator<Uint8Array, void> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.byteLength; ) {
      if (filled === CHUNK_BYTES) {
        yield await sealer.seal(CHUNK_BYTES, chunk);
        filled = 0;
      }
      const part = piece.subarray(at, at + CHUNK_BYTES - filled);
      chunk.set(part, filled);
      filled += part.byteLength;
      at += part.byteLength;
    }
  }
  onRead();
  yield await sealer.seal((filled | LAST) >>> 0, chunk.subarray(0, filled));
}

/** Reads a body; every byte it gives has been checked. */
export class ChunkReader {
  readonly #reader: ByteReader;
  readonly #opener: Opener;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  #isLast = false;

  constructor(reader: ByteReader, opener: Opener) {
    this.#reader = reader;
    this.#opener = opener;
  }

  /** Fills `target`. @throws ThimbleError capsule_malformed, and what the source throws */
  async fill(target: Uint8Array): Promise<void> {
    for (let at = 0; at < target.byteLength; ) {
      if (this.#at === this.#chunk.byteLength) await this.#next();
      const part = this.#chunk.subarray(this.#at, this.#at + target.byteLength - at);
      target.set(part, at);
      at += part.byteLength;
      this.#at += part.byteLength;
    }
  }

  /** @throws ThimbleError capsule_malformed unless the body, and the source with it, ends here */
  async end(): Promise<void> {
    if (!this.#isLast || this.#at < this.#chunk.byteLength) throw malformed("it is longer than its header says");
    await this.#reader.end();
  }

  async #next(): Promise<void> {
    if (this.#isLast) throw malformed("it is shorter than its header says");
    const word = new DataView((await this.#reader.read(4)).buffer).getUint32(0, true);
    const bytes = word & ~LAST;
    this.#isLast = word >= LAST;
    if (bytes === 0 || bytes > CHUNK_BYTES || (!this.#isLast && bytes < CHUNK_BYTES)) {
      throw malformed(`a chunk has ${bytes} bytes`);
    }
    this.#chunk = await this.#opener.open(word, await this.#reader.read(bytes + this.#opener.tagBytes));
    this.#at = 0;
  }
}
