/**
 * A capsule's body in chunks: pieces of any size are gathered to 256 KiB, sealed and sent on, and the other way round, so
 * that neither side ever has more of a capsule in hand than a few chunks.
 *
 *   chunk:  | u32 bytes of content, bit 31: the last chunk | content | tag |
 *
 * All chunks but the last are full: a body has one way to be cut. Chunks are read ahead, and hashed or decrypted meanwhile.
 * @module
 */
import type { ByteReader } from "./byte-reader.ts";
import { CHUNK_BYTES, malformed } from "./format.ts";
import { FRAME_BYTES, frameOf, type Opener, type Sealer } from "./seal.ts";

const LAST = 0x80000000;
/** Chunks under way at once. */
const AHEAD = 4;

/** Seals a body. `onRead` is called when the last piece has been taken. A piece is used up before the next is asked for. */
export async function* sealChunks(
  pieces: Iterable<Uint8Array>,
  sealer: Sealer,
  onRead: () => void,
): AsyncGenerator<Uint8Array, void> {
  const frame = frameOf(CHUNK_BYTES);
  let filled = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.byteLength; ) {
      if (filled === CHUNK_BYTES) {
        yield await sealer.seal(CHUNK_BYTES, frame, CHUNK_BYTES, false);
        filled = 0;
      }
      const part = piece.subarray(at, at + CHUNK_BYTES - filled);
      frame.set(part, FRAME_BYTES + filled);
      filled += part.byteLength;
      at += part.byteLength;
    }
  }
  onRead();
  yield await sealer.seal((filled | LAST) >>> 0, frame, filled, true);
}

/** A chunk on its way. */
interface Coming {
  readonly content: Promise<Uint8Array>;
  readonly frame: Uint8Array<ArrayBuffer>;
}

/** Reads a body; every byte it gives has been checked. */
export class ChunkReader {
  readonly #reader: ByteReader;
  readonly #opener: Opener;
  readonly #coming: Coming[] = [];
  /** Frames that nobody reads from. */
  readonly #free: Uint8Array<ArrayBuffer>[] = [];
  #frame: Uint8Array<ArrayBuffer> | undefined;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  #isLast = false;

  constructor(reader: ByteReader, opener: Opener) {
    this.#reader = reader;
    this.#opener = opener;
  }

  /** The next bytes, up to n of them: a view, good until the next call. @throws ThimbleError capsule_malformed; what the source throws */
  async some(n: number): Promise<Uint8Array> {
    if (await this.isEnd()) throw malformed("it is shorter than its header says");
    return this.now(n);
  }

  /** As `some`, of those that are at hand: perhaps none. */
  now(n: number): Uint8Array {
    const bytes = this.#chunk.subarray(this.#at, this.#at + n);
    this.#at += bytes.byteLength;
    return bytes;
  }

  /** Fills `target`. @throws ThimbleError capsule_malformed, and what the source throws */
  async fill(target: Uint8Array): Promise<void> {
    for (let at = 0; at < target.byteLength; ) {
      const part = await this.some(target.byteLength - at);
      target.set(part, at);
      at += part.byteLength;
    }
  }

  /** Leaves n bytes out. @throws ThimbleError as `fill` */
  async skip(n: number): Promise<void> {
    for (let left = n; left > 0; ) left -= (await this.some(left)).byteLength;
  }

  /** No byte of the body is left; all its chunks have been checked. @throws ThimbleError as `fill` */
  async isEnd(): Promise<boolean> {
    if (this.#at < this.#chunk.byteLength) return false;
    if (this.#frame !== undefined) this.#free.push(this.#frame);
    this.#frame = undefined;
    this.#chunk = new Uint8Array(0);
    this.#at = 0;
    while (!this.#isLast && this.#coming.length < AHEAD) this.#coming.push(await this.#begin());
    const next = this.#coming.shift();
    if (next === undefined) return true;
    this.#frame = next.frame;
    this.#chunk = await next.content;
    return false;
  }

  /** Reads a chunk and lets it be checked. */
  async #begin(): Promise<Coming> {
    const word = new DataView((await this.#reader.read(new Uint8Array(4))).buffer).getUint32(0, true);
    const bytes = word & ~LAST;
    this.#isLast = word >= LAST;
    if (bytes === 0 || bytes > CHUNK_BYTES || (!this.#isLast && bytes < CHUNK_BYTES)) {
      throw malformed(`a chunk has ${bytes} bytes`);
    }
    const frame = this.#free.pop() ?? frameOf(CHUNK_BYTES + this.#opener.tagBytes);
    await this.#reader.read(frame.subarray(FRAME_BYTES, FRAME_BYTES + bytes + this.#opener.tagBytes));
    const content = this.#opener.open(word, frame, bytes, this.#isLast);
    content.catch(() => {}); // who comes to it sees the error
    return { content, frame };
  }
}
