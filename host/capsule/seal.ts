/**
 * How chunks are protected. Both ways detect every change, cut, swap and splice; only the second withstands someone who
 * means to forge, and hides what is said.
 *
 *   plain:   tag = SHA-256(tag before, length word, content); the tag before the first one is SHA-256(header)
 *   key:     AES-256-GCM under a key of this capsule's own; nonce = u64 zero, u32 number of the chunk (big-endian);
 *            additional data = header, length word. The own key is drawn anew and lies in the header, encrypted with
 *            AES-256-GCM under the caller's key, with a random nonce and the header before it as additional data.
 *
 * The length word has the mark of the last chunk, so that a cut end shows. A key of its own for each capsule makes the
 * counter safe: only the 96 random bits of the wrapping repeat under one caller's key, and not before 2^32 capsules.
 * @module
 */
import { ThimbleError } from "../errors.ts";
import { webCrypto } from "./digest.ts";
import { keyPart, malformed, PLAIN_HEADER_BYTES } from "./format.ts";

/** An AES-GCM key that may encrypt (and decrypt), or 32 bytes. */
export type CapsuleKey = CryptoKey | Uint8Array;

/** Protects the chunks of one capsule, in order. */
export interface Sealer {
  /** Bytes behind the content. */
  readonly tagBytes: number;
  /** `word`, content (perhaps encrypted) and tag. */
  seal(word: number, content: Uint8Array): Promise<Uint8Array>;
}

/** Checks and opens the chunks of one capsule, in order. */
export interface Opener {
  readonly tagBytes: number;
  /** The content of a chunk. @throws ThimbleError capsule_malformed */
  open(word: number, sealed: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>>;
}

/** @throws ThimbleError invalid_option */
export function checkKey(key: unknown): CapsuleKey | undefined {
  if (key === undefined) return undefined;
  if (key instanceof Uint8Array && key.byteLength === 32) return key;
  // A CryptoKey of whatever realm.
  const name = (key as { algorithm?: { name?: unknown } } | null)?.algorithm?.name;
  if (name === "AES-GCM") return key as CryptoKey;
  throw new ThimbleError("invalid_option", "key must be an AES-GCM CryptoKey or 32 bytes", { name: "key" });
}

const AES = { name: "AES-GCM" } as const;
const TAG_BYTES = { plain: 32, key: 16 } as const;

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
  let count = 0;
  return {
    tagBytes: TAG_BYTES.key,
    async seal(word, content) {
      const sealed = await subtle.encrypt(chunkParameters(header, word, count++), ownKey, new Uint8Array(content));
      return withWord(word, new Uint8Array(sealed));
    },
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
  let count = 0;
  return {
    tagBytes: TAG_BYTES.key,
    async open(word, sealed) {
      try {
        return new Uint8Array(await webCrypto().decrypt(chunkParameters(header, word, count++), ownKey, sealed));
      } catch {
        throw malformed(`chunk ${count - 1} was changed, moved or cut`);
      }
    },
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
  const bytes = new Uint8Array(parts.reduce((n, part) => n + part.byteLength, 4));
  new DataView(bytes.buffer).setUint32(0, word, true);
  let at = 4;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

/** The next tag from the one before. */
async function chain(before: Uint8Array, word: number, content: Uint8Array): Promise<Uint8Array> {
  const input = new Uint8Array(36 + content.byteLength);
  input.set(before);
  new DataView(input.buffer).setUint32(32, word, true);
  input.set(content, 36);
  return new Uint8Array(await webCrypto().digest("SHA-256", input));
}

async function plainSealer(header: Uint8Array<ArrayBuffer>): Promise<Sealer> {
  let tag = new Uint8Array(await webCrypto().digest("SHA-256", header)) as Uint8Array;
  return {
    tagBytes: TAG_BYTES.plain,
    async seal(word, content) {
      tag = await chain(tag, word, content);
      return withWord(word, content, tag);
    },
  };
}

async function plainOpener(header: Uint8Array<ArrayBuffer>): Promise<Opener> {
  let tag = new Uint8Array(await webCrypto().digest("SHA-256", header)) as Uint8Array;
  return {
    tagBytes: TAG_BYTES.plain,
    async open(word, sealed) {
      const content = sealed.subarray(0, sealed.byteLength - TAG_BYTES.plain);
      tag = await chain(tag, word, content);
      const given = sealed.subarray(content.byteLength);
      if (tag.some((byte, i) => byte !== given[i])) throw malformed("a chunk was changed, moved or cut");
      return content;
    },
  };
}
