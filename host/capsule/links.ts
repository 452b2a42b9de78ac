/**
 * Capsules that are one session together, the newest first: each names the one it continues by its identifier, down to a
 * full one.
 * @module
 */
import { ByteReader, type CapsuleSource } from "./byte-reader.ts";
import { ChunkReader } from "./chunks.ts";
import { type CapsuleHeader, decodeHeader, HEADER_BYTES, malformed, mismatch, toHex } from "./format.ts";
import { type CapsuleKey, createOpener, type Opener } from "./seal.ts";

/** One capsule, its header read. */
export class Link {
  readonly header: CapsuleHeader;
  readonly body: ChunkReader;
  readonly #opener: Opener;
  /** What the newer one calls it. */
  readonly #expected: Uint8Array | undefined;
  readonly #hasMore: () => Promise<boolean>;

  constructor(
    header: CapsuleHeader,
    body: ChunkReader,
    opener: Opener,
    expected: Uint8Array | undefined,
    hasMore: () => Promise<boolean>,
  ) {
    this.header = header;
    this.body = body;
    this.#opener = opener;
    this.#expected = expected;
    this.#hasMore = hasMore;
  }

  /** The identifier [32]; once the body has been read. */
  id(): Promise<Uint8Array> {
    return this.#opener.id();
  }

  /** @throws ThimbleError capsule_mismatch where it is another one than the newer one continues, or more follow a full one */
  async end(): Promise<void> {
    const id = await this.id();
    if (this.#expected?.some((byte, i) => byte !== id[i])) throw notTheBase(this.#expected, toHex(id));
    if (this.header.links === 1 && (await this.#hasMore())) {
      throw mismatch(
        "base",
        "a full capsule follows another one; give the full one first, then those that continue it",
      );
    }
  }
}

export class LinkReader {
  /** The newest first. */
  readonly #readers: ByteReader[] = [];
  readonly #all: readonly ByteReader[];
  #newer: CapsuleHeader | undefined;

  /** @param sources - the oldest first. @throws ThimbleError as `ByteReader` */
  constructor(sources: readonly CapsuleSource[], signal: AbortSignal | undefined) {
    try {
      for (const source of sources) this.#readers.unshift(new ByteReader(source, signal));
    } catch (error) {
      for (const reader of this.#readers) void reader.close();
      throw error;
    }
    this.#all = [...this.#readers];
  }

  /** The capsule that the last one continues; at first the newest. @throws ThimbleError; what the sources throw */
  async next(key: CapsuleKey | undefined): Promise<Link> {
    const newer = this.#newer;
    while (this.#readers.length > 1 && (await this.#readers[0]!.isEnd())) this.#readers.shift();
    const reader = this.#readers[0];
    if (reader === undefined) throw malformed("there is none");
    if (newer !== undefined && (await reader.isEnd())) throw notTheBase(newer.base, "none");
    const bytes = await reader.read(new Uint8Array(HEADER_BYTES));
    const header = decodeHeader(bytes);
    if (newer !== undefined && header.links !== newer.links - 1) throw notTheBase(newer.base, "another");
    this.#newer = header;
    // An older one is held to its identifier, which stands in the newer one: that protects one without a key as well.
    const opener = await createOpener(
      bytes,
      header.isEncrypted,
      header.isEncrypted || newer === undefined ? key : undefined,
    );
    return new Link(header, new ChunkReader(reader, opener), opener, newer?.base, () => this.#hasMore());
  }

  /** Lets the sources go. */
  async close(): Promise<void> {
    await Promise.all(this.#all.map((reader) => reader.close()));
  }

  async #hasMore(): Promise<boolean> {
    if (!(await this.#readers[0]!.isEnd())) {
      if (this.#all.length === 1) throw malformed("bytes follow its end");
      return true;
    }
    return this.#readers.length > 1;
  }
}

function notTheBase(expected: Uint8Array, found: string): Error {
  const message = `the capsule continues ${toHex(expected)}, but ${found} was given; give the full capsule and all that continue it, in the order they were saved`;
  return mismatch("base", message);
}
