/**
 * The header of a capsule, and what all its parts agree on; the drawing of the whole is docs/capsule.md. Every number is
 * little-endian, every field has one place, and what is not used is zero, so that a header has one spelling only.
 * @module
 */
import { KvForm, Size } from "../../assembly/memory/status.ts";
import { ThimbleError } from "../errors.ts";
import { type CacheConfig, formNames } from "../kv-cache.ts";
import { describeFormat } from "../kv-format.ts";

/** Version of this file format: 3 has what a policy has observed of a session that streams. */
export const FORMAT_VERSION = 3;
/** Version of the numeric contract that the keys and values follow (docs/numeric-contract.md). */
export const CONTRACT_VERSION = 4;
/** Version of how codes, scales and f32 lie in a page (assembly/cache/page.ts, packed-page.ts). */
export const LAYOUT_VERSION = 1;

export const HEADER_BYTES = 256;
/** Bytes of the header that go before the wrapped key. */
export const PLAIN_HEADER_BYTES = 192;
/** Bytes of a SHA-256. */
export const HASH_BYTES = 32;
/** Bytes of every chunk's content but the last one's. */
export const CHUNK_BYTES = 1 << 18;
/** Most bytes of the messages and of a paused turn, as JSON. */
export const MAX_STATE_BYTES = 1 << 26;
/** Most capsules that are one session together. */
export const MAX_LINKS = 1 << 16;
/** Bytes before a page's contents: 8 u32, see records.ts. */
export const RECORD_BYTES = 32;
/** Bytes of a head's entry: u32 base, u32 end of its slots, f64 squares of all keys, f64 of those in closed pages. */
export const HEAD_BYTES = 24;

/** Beyond ASCII, with both line ends and an end-of-file: text modes show. */
const MAGIC = [0x89, 0x54, 0x48, 0x43, 0x0d, 0x0a, 0x1a, 0x0a] as const;

/** Where the fields lie, bytes. */
const AT = {
  version: 8,
  encrypted: 12,
  contract: 16,
  layout: 20,
  keyForm: 24,
  valueForm: 28,
  group: 32,
  recentPages: 36,
  sinkPages: 40,
  activations: 44,
  position: 48,
  tokens: 52,
  stateBytes: 56,
  rotateKeys: 60,
  kind: 64,
  links: 68,
  policy: 72,
  relative: 76,
  sections: 80,
  flat: 84,
  wideHeads: 88,
  observedBytes: 92,
  model: 96,
  tokenizer: 128,
  base: 160,
  nonce: 192,
  wrappedKey: 204,
  end: 252,
} as const;

/** What a KvSection word can have. */
const SECTION_BITS = 0xff_ff_03;

const KINDS = ["session", "pack"] as const;
/** A session as it was, or a prompt that many sessions begin with. */
export type CapsuleKind = (typeof KINDS)[number];

export interface CapsuleHeader {
  readonly isEncrypted: boolean;
  readonly cache: CacheConfig;
  /** 0: int8, 1: f32. */
  readonly activations: number;
  /** Tokens whose keys and values the capsule has. */
  readonly position: number;
  /** Tokens of the conversation. */
  readonly tokens: number;
  /** Bytes of the JSON behind them. */
  readonly stateBytes: number;
  /** Bytes of what a policy has observed of its rows; 0: nothing counts. */
  readonly observedBytes: number;
  readonly kind: CapsuleKind;
  /** The model has an eviction policy: pages then have positions. */
  readonly hasPolicy: boolean;
  /** Digest of the list of heads that keep 8 bits (wideDigest), 0 for none; `cache` has no list where it is read. */
  readonly wideHeads: number;
  /** Queries see cache-relative positions: the session evicts past its context. */
  readonly isRelative: boolean;
  /** Capsules that are the session together: this one, the one it continues, and so on to a full one; 1 is a full one. */
  readonly links: number;
  /** SHA-256 [32] each; see digest.ts. */
  readonly model: Uint8Array;
  readonly tokenizer: Uint8Array;
  /** Identifier [32] of the capsule that this one continues (seal.ts); zero for a full one. */
  readonly base: Uint8Array;
}

export function malformed(message: string): ThimbleError {
  return new ThimbleError("capsule_malformed", `the capsule cannot be read: ${message}`);
}

/** @param name what differs */
export function mismatch(name: string, message: string): ThimbleError {
  return new ThimbleError("capsule_mismatch", message, { name });
}

/** The header without its last 64 bytes, which seal.ts writes. */
export function encodeHeader(header: CapsuleHeader): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  const { keyForm, valueForm, group, recentPages, sinkPages, rotateKeys, sections, flat } = header.cache;
  bytes.set(MAGIC);
  view.setUint32(AT.version, FORMAT_VERSION, true);
  view.setUint32(AT.encrypted, header.isEncrypted ? 1 : 0, true);
  view.setUint32(AT.contract, CONTRACT_VERSION, true);
  view.setUint32(AT.layout, LAYOUT_VERSION, true);
  view.setUint32(AT.keyForm, keyForm, true);
  view.setUint32(AT.valueForm, valueForm, true);
  view.setUint32(AT.group, group, true);
  view.setUint32(AT.recentPages, recentPages, true);
  view.setUint32(AT.sinkPages, sinkPages, true);
  view.setUint32(AT.activations, header.activations, true);
  view.setUint32(AT.position, header.position, true);
  view.setUint32(AT.tokens, header.tokens, true);
  view.setUint32(AT.stateBytes, header.stateBytes, true);
  view.setUint32(AT.observedBytes, header.observedBytes, true);
  view.setUint32(AT.rotateKeys, rotateKeys ? 1 : 0, true);
  view.setUint32(AT.sections, sections, true);
  view.setUint32(AT.flat, flat, true);
  view.setUint32(AT.wideHeads, header.wideHeads, true);
  view.setUint32(AT.kind, KINDS.indexOf(header.kind), true);
  view.setUint32(AT.links, header.links, true);
  view.setUint32(AT.policy, header.hasPolicy ? 1 : 0, true);
  view.setUint32(AT.relative, header.isRelative ? 1 : 0, true);
  bytes.set(header.model, AT.model);
  bytes.set(header.tokenizer, AT.tokenizer);
  bytes.set(header.base, AT.base);
  return bytes;
}

/** The nonce [12] of the wrapped key, and the key [48]: views of the header. */
export function keyPart(bytes: Uint8Array<ArrayBuffer>): {
  nonce: Uint8Array<ArrayBuffer>;
  wrapped: Uint8Array<ArrayBuffer>;
} {
  return { nonce: bytes.subarray(AT.nonce, AT.wrappedKey), wrapped: bytes.subarray(AT.wrappedKey, AT.end) };
}

/**
 * Reads a header; sizes are only bounded by what fits their fields, the caller checks them against the model.
 * @throws ThimbleError capsule_malformed, capsule_mismatch for versions this build does not know
 */
export function decodeHeader(bytes: Uint8Array): CapsuleHeader {
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) throw malformed("it does not begin as one");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (at: number): number => view.getUint32(at, true);
  for (const [name, at, known] of [
    ["format", AT.version, FORMAT_VERSION],
    ["contract", AT.contract, CONTRACT_VERSION],
    ["layout", AT.layout, LAYOUT_VERSION],
  ] as const) {
    if (u32(at) !== known) {
      throw mismatch(name, `the capsule has version ${u32(at)} of the ${name}; this build reads version ${known}`);
    }
  }
  const isEncrypted = u32(AT.encrypted) === 1;
  const isUsed = (from: number, to: number): boolean => bytes.subarray(from, to).some((byte) => byte !== 0);
  const isUnknown =
    u32(AT.encrypted) > 1 ||
    u32(AT.rotateKeys) > 1 ||
    u32(AT.policy) > 1 ||
    u32(AT.relative) > 1 ||
    (u32(AT.sections) & ~SECTION_BITS) !== 0 ||
    u32(AT.flat) > 1000;
  if (isUnknown || isUsed(isEncrypted ? AT.end : PLAIN_HEADER_BYTES, HEADER_BYTES)) {
    throw malformed("its header has bits that mean nothing");
  }
  const kind = KINDS[u32(AT.kind)];
  const links = u32(AT.links);
  const isLink = isUsed(AT.base, AT.nonce);
  if (kind === undefined || links < 1 || links > MAX_LINKS || isLink !== links > 1 || (isLink && kind === "pack")) {
    throw malformed("its header contradicts itself");
  }
  const [keyForm, valueForm] = [u32(AT.keyForm), u32(AT.valueForm)];
  if (keyForm > KvForm.Q3_CHANNELS || valueForm > KvForm.Q3)
    throw malformed("its header names a form that does not exist");
  return {
    isEncrypted,
    cache: {
      keyForm,
      valueForm,
      group: u32(AT.group),
      recentPages: u32(AT.recentPages),
      sinkPages: u32(AT.sinkPages),
      rotateKeys: u32(AT.rotateKeys) === 1,
      sections: u32(AT.sections),
      flat: u32(AT.flat),
      wideHeads: [],
    },
    activations: u32(AT.activations),
    position: u32(AT.position),
    tokens: u32(AT.tokens),
    stateBytes: u32(AT.stateBytes),
    observedBytes: u32(AT.observedBytes),
    kind,
    hasPolicy: u32(AT.policy) === 1,
    wideHeads: u32(AT.wideHeads),
    isRelative: u32(AT.relative) === 1,
    links,
    model: bytes.slice(AT.model, AT.tokenizer),
    tokenizer: bytes.slice(AT.tokenizer, AT.base),
    base: bytes.slice(AT.base, AT.nonce),
  };
}

/** The options that `loadModel` takes for it, as errors show them. */
export function describeCache(cache: CacheConfig): string {
  const { group, recentPages, sinkPages, rotateKeys } = cache;
  const { keys, values } = formNames(cache);
  const forms = `keys: "${keys}", values: "${values}"`;
  const window =
    recentPages === 0 ? "" : `, kvWindow: ${recentPages * Size.PAGE_SLOTS}, kvSinks: ${sinkPages * Size.PAGE_SLOTS}`;
  const format = describeFormat(cache);
  const more = format === "" ? "" : `, kvFormat: "${format}"`;
  return `${forms}${window}, kvGroup: ${group}, kvRotation: ${rotateKeys}${more}`;
}

/** Bytes as errors and callers see them. */
export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
