/**
 * A session made from a capsule, or from several that continue one another (docs/capsule.md). Nothing in them is trusted:
 * sizes are checked against the model before anything is allocated, every byte is checked before it is used, and whatever
 * fails leaves no session behind.
 *
 * Of several the newest is read first: it says how the session is laid out, and the older ones fill what it leaves out.
 * @module
 */
import { Size, Status } from "../../assembly/memory/status.ts";
import type { Engine } from "../engine.ts";
import type { Platform } from "../platform.ts";
import { TokenSession } from "../token-session.ts";
import type { CapsuleSource } from "./byte-reader.ts";
import type { ChunkReader } from "./chunks.ts";
import { type CapsuleModel, digestsOf } from "./digest.ts";
import {
  type CapsuleHeader,
  type CapsuleKind,
  describeCache,
  HEAD_BYTES,
  MAX_STATE_BYTES,
  malformed,
  mismatch,
  RECORD_BYTES,
} from "./format.ts";
import { KnownLinks } from "./known-links.ts";
import { type Link, LinkReader } from "./links.ts";
import { PageSums, type Sum } from "./page-sums.ts";
import { OPEN, type PageRecord, pageOf, sumOfPage, writeOpenPage } from "./records.ts";
import { type CapsuleKey, checkKey } from "./seal.ts";
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

/** A session that is being filled. */
interface Filling {
  readonly engine: Engine;
  readonly address: number;
  readonly length: number;
  readonly sums: PageSums;
}

/**
 * Reads capsules to their ends: one, or a full one and those that continue it in the order they were saved. A source may
 * itself hold several, the newest first. Sources are closed whatever happens.
 * @throws ThimbleError capsule_malformed, capsule_mismatch, capsule_key, context_length_exceeded, out_of_memory, over_budget,
 * source_unreadable, invalid_option, unsupported_runtime; the signal's reason when aborted
 */
export async function restoreCapsule(
  model: CapsuleModel,
  platform: Pick<Platform, "pause" | "now">,
  source: CapsuleSource | readonly CapsuleSource[],
  options: RestoreOptions = {},
  kind: CapsuleKind = "session",
): Promise<RestoredState> {
  const key = checkKey(options.key);
  options.signal?.throwIfAborted();
  const links = new LinkReader(Array.isArray(source) ? source : [source as CapsuleSource], options.signal);
  try {
    const newest = await links.next(key);
    await checkHeader(model, newest.header, kind);
    return await readSession(model.engine, platform, newest, () => links.next(key));
  } finally {
    await links.close();
  }
}

/** @throws ThimbleError capsule_mismatch, capsule_malformed, context_length_exceeded */
async function checkHeader(model: CapsuleModel, header: CapsuleHeader, kind: CapsuleKind): Promise<void> {
  const { sizes } = model.engine;
  if (header.kind !== kind) {
    const advice = kind === "pack" ? "a session; restore it" : "a prompt pack; open it as one (model.openPack)";
    throw mismatch("kind", `the capsule is ${advice}`);
  }
  const digests = await digestsOf(model);
  const differs = (a: Uint8Array, b: Uint8Array): boolean => a.some((byte, i) => byte !== b[i]);
  if (header.activations !== (model.activations === "f32" ? 1 : 0)) {
    throw mismatch("activations", "the capsule was made with the other kind of activations (int8 or f32)");
  }
  if (differs(header.model, digests.model)) {
    throw mismatch("model", "the capsule was made with another model; load that one, or make it again with this one");
  }
  if (differs(header.tokenizer, digests.tokenizer)) {
    throw mismatch("tokenizer", "the capsule was made with another tokenizer; load the model it was made with");
  }
  const [theirs, ours] = [describeCache(header.cache), describeCache(sizes.cache)];
  if (theirs !== ours) {
    const advice = "load it with these, or make the capsule again";
    throw mismatch("cache", `the capsule needs a model with { ${theirs} }, this one has { ${ours} }; ${advice}`);
  }
  if (header.hasPolicy !== (sizes.cache.policy !== undefined)) {
    const advice = header.hasPolicy ? "with a policy; load it with one" : "without a policy; load it without";
    throw mismatch("cache", `the capsule was made with a model that was loaded ${advice}, or make the capsule again`);
  }
  if (header.stateBytes > MAX_STATE_BYTES) throw malformed("its messages are too long");
  if (header.position > sizes.contextLength) throw tooLong(header.position, sizes.contextLength);
  // The last token of a full context has no place in the cache any more.
  if (header.tokens > sizes.contextLength + 1) throw tooLong(header.tokens, sizes.contextLength);
}

async function readSession(
  engine: Engine,
  platform: Pick<Platform, "pause" | "now">,
  newest: Link,
  next: () => Promise<Link>,
): Promise<RestoredState> {
  const { vocabSize } = engine.config;
  const { header, body } = newest;
  const tokens = await readIds(body, header.tokens, vocabSize);
  const cached = await readIds(body, header.position, vocabSize);
  const stateBytes = new Uint8Array(header.stateBytes);
  await body.fill(stateBytes);
  const state = decodeState(stateBytes, { vocabSize, contextLength: engine.sizes.contextLength });
  const heads = new Uint8Array(engine.runtime.exports.imageHeads() * HEAD_BYTES);
  await body.fill(heads);
  const length = cached.length;
  const address = engine.openSession();
  try {
    adopt(engine, address, length, new DataView(heads.buffer));
    const filling = { engine, address, length, sums: PageSums.of(engine, address, length) };
    await readRecords(filling, newest, true);
    await newest.end();
    for (let link = newest; link.header.links > 1; ) {
      link = await next();
      const { position, tokens, stateBytes } = link.header;
      await link.body.skip(4 * (position + tokens) + stateBytes + heads.byteLength);
      await readRecords(filling, link, false);
      await link.end();
    }
    if (filling.sums.missing > 0) throw malformed("it lacks pages");
    const known = new KnownLinks();
    known.add({ id: await newest.id(), links: header.links, isOwn: header.kind === "session", sums: filling.sums });
    const restored = { tokens, cached, paused: state.pending?.paused, known };
    return { session: TokenSession.restored(engine, platform, address, restored), tokens, ...state };
  } catch (error) {
    engine.runtime.exports.sessionClose(address);
    throw error;
  }
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

/** Takes from a capsule the pages that the session still lacks. The newest has no others. */
async function readRecords(filling: Filling, { body }: Link, isNewest: boolean): Promise<void> {
  const { engine, sums } = filling;
  const start = new Uint32Array(RECORD_BYTES / 4);
  const startBytes = new Uint8Array(start.buffer);
  const { keyDim, valueDim } = engine.config;
  const most = Size.PAGE_SLOTS * (keyDim + valueDim) * 4;
  let before = -1;
  while (!(await body.isEnd())) {
    await body.fill(startBytes);
    const [head, index, words, forms, broken, zero, low, high] = start as unknown as number[];
    const order = head! * 2 ** 32 + index!;
    if (order <= before || head! >= sums.heads || words! > most || broken! > 1 || zero !== 0) {
      throw malformed("a page has bits that mean nothing");
    }
    before = order;
    const record = { head: head!, index: index!, words: words!, forms: forms!, broken: broken! };
    if (sums.isMissing(record.head, record.index)) await readPage(filling, body, record, [low!, high!]);
    else if (isNewest) throw malformed("it has pages that are not the session's");
    else await body.skip(record.words * 4);
  }
}

async function readPage(filling: Filling, body: ChunkReader, record: PageRecord, sum: Sum): Promise<void> {
  const { engine, address, length, sums } = filling;
  const { runtime } = engine;
  const { head, index, words, forms, broken } = record;
  const place = pageOf(engine, address, length, head, sums.first(head), index);
  if (words !== place.words || forms !== place.forms) throw malformed(`page ${index} of head ${head} has another form`);
  const placed = { ...place, broken };
  let found: Sum;
  if (forms >= OPEN) {
    const contents = new Uint32Array(words);
    await body.fill(new Uint8Array(contents.buffer));
    found = writeOpenPage(engine, address, placed, contents);
  } else {
    for (let at = 0; at < words * 4; ) {
      const now = body.now(words * 4 - at);
      const part = now.byteLength > 0 ? now : await body.some(words * 4 - at);
      runtime.bytes(place.page + Size.PAGE_HEADER + at, part.byteLength).set(part);
      at += part.byteLength;
    }
    found = sumOfPage(engine, placed);
  }
  if (found[0] !== sum[0] || found[1] !== sum[1]) throw malformed(`page ${index} of head ${head} is damaged`);
  runtime.exports.setPageBroken(place.page, broken === 1);
  sums.set(head, index, found);
}
