/**
 * A session made from a capsule (docs/capsule.md). Nothing in it is trusted: sizes are checked against the model before
 * anything is allocated, every byte is checked before it is used, and whatever fails leaves no session behind.
 * @module
 */
import { Size, Status } from "../../assembly/memory/status.ts";
import type { Engine } from "../engine.ts";
import type { Platform } from "../platform.ts";
import { TokenSession } from "../token-session.ts";
import { ByteReader, type CapsuleSource } from "./byte-reader.ts";
import { ChunkReader } from "./chunks.ts";
import { crc32 } from "./crc32.ts";
import { type CapsuleModel, digestsOf } from "./digest.ts";
import {
  type CapsuleHeader,
  decodeHeader,
  describeCache,
  HEAD_BYTES,
  HEADER_BYTES,
  MAX_STATE_BYTES,
  malformed,
  mismatch,
} from "./format.ts";
import { type CapsuleKey, checkKey, createOpener } from "./seal.ts";
import { type ConversationState, decodeState, tooLong } from "./state.ts";

export interface RestoreOptions {
  /** The key the capsule was saved with. A capsule that is not encrypted is refused where a key is given. */
  readonly key?: CapsuleKey | undefined;
  /** Ends reading; `restore` then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What a session goes on from. */
export interface RestoredState extends ConversationState {
  readonly session: TokenSession;
  readonly tokens: readonly number[];
}

/**
 * Reads a capsule to its end. The source is closed whatever happens.
 * @throws ThimbleError capsule_malformed, capsule_mismatch, capsule_key, context_length_exceeded, out_of_memory, over_budget,
 * source_unreadable, invalid_option, unsupported_runtime; the signal's reason when aborted
 */
export async function restoreCapsule(
  model: CapsuleModel,
  platform: Pick<Platform, "pause" | "now">,
  source: CapsuleSource,
  options: RestoreOptions = {},
): Promise<RestoredState> {
  const key = checkKey(options.key);
  options.signal?.throwIfAborted();
  const reader = new ByteReader(source, options.signal);
  try {
    const bytes = await reader.read(HEADER_BYTES);
    const header = decodeHeader(bytes);
    await checkHeader(model, header);
    const body = new ChunkReader(reader, await createOpener(bytes, header.isEncrypted, key));
    return await readBody(model.engine, platform, header, body);
  } finally {
    await reader.close();
  }
}

/** @throws ThimbleError capsule_mismatch, capsule_malformed, context_length_exceeded */
async function checkHeader(model: CapsuleModel, header: CapsuleHeader): Promise<void> {
  const { sizes } = model.engine;
  const digests = await digestsOf(model);
  const differs = (a: Uint8Array, b: Uint8Array): boolean => a.some((byte, i) => byte !== b[i]);
  if (header.activations !== (model.activations === "f32" ? 1 : 0)) {
    throw mismatch("activations", "the capsule was made with the other kind of activations (int8 or f32)");
  }
  if (differs(header.model, digests.model)) throw mismatch("model", "the capsule was made with another model");
  if (differs(header.tokenizer, digests.tokenizer)) {
    throw mismatch("tokenizer", "the capsule was made with another tokenizer");
  }
  const [theirs, ours] = [describeCache(header.cache), describeCache(sizes.cache)];
  if (theirs !== ours) throw mismatch("cache", `the capsule has ${theirs}; the model was loaded with ${ours}`);
  if (header.stateBytes > MAX_STATE_BYTES) throw malformed("its messages are too long");
  if (header.position > sizes.contextLength) throw tooLong(header.position, sizes.contextLength);
  // The last token of a full context has no place in the cache any more.
  if (header.tokens > sizes.contextLength + 1) throw tooLong(header.tokens, sizes.contextLength);
}

async function readBody(
  engine: Engine,
  platform: Pick<Platform, "pause" | "now">,
  header: CapsuleHeader,
  body: ChunkReader,
): Promise<RestoredState> {
  const { vocabSize } = engine.config;
  const tokens = await readIds(body, header.tokens, vocabSize);
  const cached = await readIds(body, header.position, vocabSize);
  const stateBytes = new Uint8Array(header.stateBytes);
  await body.fill(stateBytes);
  const state = decodeState(stateBytes, { vocabSize, contextLength: engine.sizes.contextLength });
  const heads = new Uint8Array(engine.runtime.exports.imageHeads() * HEAD_BYTES);
  await body.fill(heads);
  const address = engine.openSession();
  try {
    adopt(engine, address, cached.length, new DataView(heads.buffer));
    for (let at = 0, head = 0; at < heads.byteLength; at += HEAD_BYTES, ++head) {
      await readPages(engine, address, head, cached.length, body);
    }
    await body.end();
  } catch (error) {
    engine.runtime.exports.sessionClose(address);
    throw error;
  }
  const session = TokenSession.restored(engine, platform, address, { tokens, cached, paused: state.pending?.paused });
  return { session, tokens, ...state };
}

async function readIds(body: ChunkReader, n: number, vocabSize: number): Promise<number[]> {
  const ids = new Uint32Array(n);
  await body.fill(new Uint8Array(ids.buffer));
  if (ids.some((id) => id >= vocabSize)) throw malformed("a token is outside the vocabulary");
  return Array.from(ids);
}

/** Takes all pages at once: another session may use the pool between two reads. @throws ThimbleError */
function adopt(engine: Engine, address: number, length: number, heads: DataView): void {
  const { runtime } = engine;
  const { exports } = runtime;
  engine.reserve([{ session: address, nTokens: length }]);
  runtime.check(exports.sessionAdopt(address, length), "restoring a session");
  for (let at = 0, head = 0; at < heads.byteLength; at += HEAD_BYTES, ++head) {
    const base = heads.getUint32(at, true);
    const squares = heads.getFloat64(at + 8, true);
    const closedSquares = heads.getFloat64(at + 16, true);
    if (heads.getUint32(at + 4, true) !== 0) throw malformed("a head has bits that mean nothing");
    const status = exports.headAdopt(address, head, base, squares, closedSquares);
    if (status === Status.BAD_ARGUMENT) throw malformed("a head cannot be as it says");
    runtime.check(status, "restoring a head");
  }
}

/** A head's closed pages, then the slots of its open one. */
async function readPages(
  { runtime, config }: Engine,
  address: number,
  head: number,
  length: number,
  body: ChunkReader,
): Promise<void> {
  const { exports } = runtime;
  const first = exports.headBase(address, head) / Size.PAGE_SLOTS;
  const closed = Math.floor(length / Size.PAGE_SLOTS);
  for (let index = first; index < closed; ++index) {
    const page = exports.headPage(address, head, index - first) >>> 0;
    const { broken, contents } = await readRecord(body, head, index, (exports.pageSize(page) - Size.PAGE_HEADER) / 4);
    runtime.words(page + Size.PAGE_HEADER, contents.length).set(contents);
    exports.setPageBroken(page, broken);
  }
  const slots = length % Size.PAGE_SLOTS;
  if (slots === 0) return;
  const dims = config.keyDim + config.valueDim;
  const { broken, contents } = await readRecord(body, head, closed, slots * dims);
  for (let slot = 0; slot < slots; ++slot) {
    runtime.words(exports.slotAddress(), dims).set(contents.subarray(slot * dims, (slot + 1) * dims));
    exports.slotWrite(address, head, slot);
  }
  exports.setPageBroken(exports.headPage(address, head, closed - first) >>> 0, broken);
}

async function readRecord(
  body: ChunkReader,
  head: number,
  index: number,
  words: number,
): Promise<{ broken: boolean; contents: Uint32Array }> {
  const record = new Uint32Array(2 + words);
  await body.fill(new Uint8Array(record.buffer));
  const contents = record.subarray(2);
  const broken = record[0]!;
  if (broken > 1 || crc32([head, index, broken], contents) !== record[1]) {
    throw malformed(`page ${index} of head ${head} is damaged`);
  }
  return { broken: broken === 1, contents };
}
