/**
 * How chunks are protected. Both ways detect every change, cut, swap and splice; only the second withstands someone who
 * means to forge, and hides what is said.
 *
 *   plain:   tag = SHA-256(SHA-256(header), u32 number of the chunk, length word, content); in the last one's come all tags
 *            before, in order
 *   key:     AES-256-GCM under a key of this capsule's own; nonce = u64 zero, u32 number of the chunk (big-endian);
 *            additional data = header, length word. The own key is drawn anew and lies in the header, encrypted with
 *            AES-256-GCM under the caller's key, with a random nonce and the header before it as additional data.
 *
 * The length word has the mark of the last chunk, so that a cut end shows. A key of its own for each capsule makes the
 * counter safe: only the 96 random bits of the wrapping repeat under one caller's key, and not before 2^32 capsules.
 *
 * The identifier of a capsule is SHA-256(header, all tags in order): it stands for every byte, whoever has the key or not.
 * A capsule that continues another one names it so.
 * @module
 */
import { ThimbleError } from "../errors.ts";
import type { WebCryptoKey } from "../host-types.ts";
import { wrongOption } from "../options.ts";
import { webCrypto } from "./digest.ts";
import { HASH_BYTES, keyPart, malformed, PLAIN_HEADER_BYTES } from "./format.ts";

/** Bytes before the content in a frame, where the hash finds what goes before it: | hash | u32 number | u32 word | */
export const FRAME_BYTES = HASH_BYTES + 8;

/** Room for a chunk's content and what is hashed before it. */
export function frameOf(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(FRAME_BYTES + bytes);
}

/** An AES-GCM key that may encrypt (and decrypt), or 32 bytes. */
export type CapsuleKey = WebCryptoKey | Uint8Array;

/** Protects the chunks of one capsule, in order. */
export interface Sealer {
  /** `word`, the `bytes` of content in the frame (perhaps encrypted) and a tag. */
  seal(word: number, frame: Uint8Array<ArrayBuffer>, bytes: number, isLast: boolean): Promise<Uint8Array>;
  /** The capsule's identifier [32], after the last chunk. */
  id(): Promise<Uint8Array<ArrayBuffer>>;
}

/** Checks and opens the chunks of one capsule: they are given in order, and may be opened side by side. */
export interface Opener {
  /** Bytes of a tag. */
  readonly tagBytes: number;
  /** The content of a chunk that lies in the frame, its tag behind it. @throws ThimbleError capsule_malformed */
  open(word: number, frame: Uint8Array<ArrayBuffer>, bytes: number, isLast: boolean): Promise<Uint8Array>;
  /** As of `Sealer`. */
  id(): Promise<Uint8Array<ArrayBuffer>>;
}

/** @throws ThimbleError invalid_option */
export function checkKey(key: unknown): CapsuleKey | undefined {
  if (key === undefined) return undefined;
  if (key instanceof Uint8Array && key.byteLength === 32) return key;
  // A CryptoKey of whatever realm.
  const name = (key as { algorithm?: { name?: unknown } } | null)?.algorithm?.name;
  if (name === "AES-GCM") return key as CryptoKey;
  throw wrongOption("key", "key must be an AES-GCM CryptoKey or 32 bytes");
}

const AES = { name: "AES-GCM" } as const;
const TAG_BYTES = { plain: HASH_BYTES, key: 16 } as const;

async function importKey(key: CapsuleKey): Promise<CryptoKey> {
  if (!(key instanceof Uint8Array)) return key;
  return webCrypto().importKey("raw", new Uint8Array(key), AES, false, ["encrypt", "decrypt"]);
}

/**
 * The sealer of a new capsule; writes the wrapped key into the header.
 * @throws ThimbleError capsule_key where the key may not encrypt
 */
export async function createSealer(header: Uint8Array<ArrayBuffer>, key: CapsuleKey | undefined): Promise<Sealer> {
  if (key === undefined) return plainSealer(header);
  const subtle = webCrypto();
  const own = globalThis.crypto.getRandomValues(new Uint8Array(32));
  const { nonce, wrapped } = keyPart(header);
  globalThis.crypto.getRandomValues(nonce);
  const additionalData = header.subarray(0, PLAIN_HEADER_BYTES);
  try {
    const sealed = await subtle.encrypt({ ...AES, iv: nonce, additionalData }, await importKey(key), own);
    wrapped.set(new Uint8Array(sealed));
  } catch (cause) {
    throw new ThimbleError("capsule_key", "the key cannot encrypt the capsule", { cause });
  }
  const ownKey = await importKey(own);
  own.fill(0);
  const tags: Uint8Array[] = [];
  return {
    async seal(word, frame, bytes) {
      const content = frame.subarray(FRAME_BYTES, FRAME_BYTES + bytes);
      const sealed = new Uint8Array(await subtle.encrypt(chunkParameters(header, word, tags.length), ownKey, content));
      tags.push(sealed.subarray(bytes));
      return withWord(word, sealed);
    },
    id: () => identify(header, tags),
  };
}

/** @throws ThimbleError capsule_key where the key is missing, needless or another one */
export async function createOpener(
  header: Uint8Array<ArrayBuffer>,
  isEncrypted: boolean,
  key: CapsuleKey | undefined,
): Promise<Opener> {
  if (!isEncrypted && key === undefined) return plainOpener(header);
  if (!isEncrypted) {
    // Otherwise whoever cannot forge an encrypted capsule would send a plain one.
    throw new ThimbleError("capsule_key", "the capsule is not encrypted, but a key was given");
  }
  if (key === undefined) throw new ThimbleError("capsule_key", "the capsule is encrypted; give its key");
  const ownKey = await importKey(await unwrap(header, key));
  const tags: Uint8Array[] = [];
  return {
    tagBytes: TAG_BYTES.key,
    async open(word, frame, bytes) {
      const count = tags.length;
      const end = FRAME_BYTES + bytes;
      tags.push(frame.slice(end, end + TAG_BYTES.key));
      const sealed = frame.subarray(FRAME_BYTES, end + TAG_BYTES.key);
      try {
        return new Uint8Array(await webCrypto().decrypt(chunkParameters(header, word, count), ownKey, sealed));
      } catch {
        throw malformed(`chunk ${count} was changed, moved or cut`);
      }
    },
    id: () => identify(header, tags),
  };
}

async function unwrap(header: Uint8Array<ArrayBuffer>, key: CapsuleKey): Promise<Uint8Array> {
  const { nonce, wrapped } = keyPart(header);
  const additionalData = header.subarray(0, PLAIN_HEADER_BYTES);
  try {
    const parameters = { ...AES, iv: nonce, additionalData };
    return new Uint8Array(await webCrypto().decrypt(parameters, await importKey(key), wrapped));
  } catch (cause) {
    const message = "the key is not the one the capsule was made with, or the capsule's header was changed";
    throw new ThimbleError("capsule_key", message, { cause });
  }
}

function chunkParameters(header: Uint8Array<ArrayBuffer>, word: number, count: number): AesGcmParams {
  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setUint32(8, count);
  const additionalData = new Uint8Array(header.byteLength + 4);
  additionalData.set(header);
  new DataView(additionalData.buffer).setUint32(header.byteLength, word, true);
  return { ...AES, iv, additionalData };
}

function withWord(word: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const start = new Uint8Array(4);
  new DataView(start.buffer).setUint32(0, word, true);
  return concat([start, ...parts]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

async function hash(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await webCrypto().digest("SHA-256", bytes));
}

/** The identifier of a capsule of these tags. */
export function identify(header: Uint8Array, tags: readonly Uint8Array[]): Promise<Uint8Array<ArrayBuffer>> {
  return hash(concat([header, ...tags]));
}

/** The tag of chunk number `tags.length`, whose content lies in the frame. */
function plainTag(
  start: Uint8Array,
  tags: readonly Uint8Array[],
  word: number,
  frame: Uint8Array<ArrayBuffer>,
  bytes: number,
  isLast: boolean,
): Promise<Uint8Array<ArrayBuffer>> {
  frame.set(start);
  const view = new DataView(frame.buffer);
  view.setUint32(HASH_BYTES, tags.length, true);
  view.setUint32(HASH_BYTES + 4, word, true);
  const input = frame.subarray(0, FRAME_BYTES + bytes);
  return hash(isLast ? concat([input, ...tags]) : input);
}

async function plainSealer(header: Uint8Array<ArrayBuffer>): Promise<Sealer> {
  const start = await hash(header);
  const tags: Uint8Array[] = [];
  return {
    async seal(word, frame, bytes, isLast) {
      const tag = await plainTag(start, tags, word, frame, bytes, isLast);
      tags.push(tag);
      return withWord(word, frame.subarray(FRAME_BYTES, FRAME_BYTES + bytes), tag);
    },
    id: () => identify(header, tags),
  };
}

async function plainOpener(header: Uint8Array<ArrayBuffer>): Promise<Opener> {
  const start = await hash(header);
  const tags: Uint8Array[] = [];
  return {
    tagBytes: TAG_BYTES.plain,
    async open(word, frame, bytes, isLast) {
      const end = FRAME_BYTES + bytes;
      const tag = plainTag(start, tags, word, frame, bytes, isLast);
      const given = frame.slice(end, end + TAG_BYTES.plain);
      tags.push(given);
      if ((await tag).some((byte, i) => byte !== given[i])) throw malformed("a chunk was changed, moved or cut");
      return frame.subarray(FRAME_BYTES, end);
    },
    id: () => identify(header, tags),
  };
}
