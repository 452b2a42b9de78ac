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
import type { ThimbleError } from "../errors.ts";
import { wideDigest } from "../kv-format.ts";
import type { Platform } from "../platform.ts";
import { MAX_POSITION, TokenSession } from "../token-session.ts";
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
import { readObserved } from "./observed.ts";
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
  if (header.hasPolicy !== (sizes.cache.policy !== undefined)) {
    const advice = header.hasPolicy ? "with a policy; load it with one" : "without a policy; load it without";
    throw mismatch("cache", `the capsule was made with a model that was loaded ${advice}, or make the capsule again`);
  }
  const [theirs, ours] = [describeCache(header.cache), describeCache({ ...sizes.cache, wideHeads: [] })];
  if (theirs !== ours) {
    const advice = "load it with these, or make the capsule again";
    throw mismatch("cache", `the capsule needs a model with { ${theirs} }, this one has { ${ours} }; ${advice}`);
  }
  if (header.wideHeads !== wideDigest(sizes.cache.wideHeads)) {
    const message = "the capsule was made with other heads of kvFormat at 8 bits; load the model with the same ones";
    throw mismatch("cache", `${message}, or make the capsule again`);
  }
  if (header.stateBytes > MAX_STATE_BYTES) throw malformed("its messages are too long");
  // The last token of a full context has no place in the cache any more.
  const most = Math.max(header.position, header.tokens - 1);
  if (most > (header.isRelative || header.hasPolicy ? MAX_POSITION : sizes.contextLength)) {
    throw tooLong(most, sizes.contextLength);
  }
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
  const isEndless = header.isRelative || header.hasPolicy;
  const contextLength = isEndless ? MAX_POSITION : engine.sizes.contextLength;
  const state = decodeState(stateBytes, { vocabSize, contextLength });
  if (state.recalls?.asked.some(({ end }) => end > tokens.length)) throw malformed("it recalls what was never said");
  const heads = new Uint8Array(engine.runtime.exports.imageHeads() * HEAD_BYTES);
  await body.fill(heads);
  const length = cached.length;
  const address = engine.openSession();
  try {
    adopt(engine, address, header, new DataView(heads.buffer));
    await readObserved(engine, address, length, body, header.observedBytes, state.forgetting?.policy);
    const filling = { engine, address, length, sums: PageSums.of(engine, address) };
    await readRecords(filling, newest, true);
    await newest.end();
    for (let link = newest; link.header.links > 1; ) {
      link = await next();
      const { position, tokens, stateBytes, observedBytes } = link.header;
      await link.body.skip(4 * (position + tokens) + stateBytes + heads.byteLength + observedBytes);
      await readRecords(filling, link, false);
      await link.end();
    }
    if (filling.sums.missing > 0) throw malformed("it lacks pages");
    checkPositions(engine, address, length);
    const known = new KnownLinks();
    known.add({ id: await newest.id(), links: header.links, isOwn: header.kind === "session", sums: filling.sums });
    const { pending, forgetting } = state;
    const restored = { tokens, cached, paused: pending?.paused, known, forgetting };
    return { session: sessionOf(engine, platform, address, restored), tokens, ...state };
  } catch (error) {
    engine.runtime.exports.sessionClose(address);
    throw error;
  }
}

/** What the capsule says of forgetting must be possible with this model. @throws ThimbleError capsule_malformed */
function sessionOf(...taken: Parameters<typeof TokenSession.restored>): TokenSession {
  try {
    return TokenSession.restored(...taken);
  } catch (error) {
    if ((error as ThimbleError).code !== "invalid_option") throw error;
    throw malformed(`what it may forget cannot be: ${(error as ThimbleError).message}`);
  }
}

async function readIds(body: ChunkReader, n: number, vocabSize: number): Promise<number[]> {
  const ids = new Uint32Array(n);
  await body.fill(new Uint8Array(ids.buffer));
  if (ids.some((id) => id >= vocabSize)) throw malformed("a token is outside the vocabulary");
  return Array.from(ids);
}

/** Takes all pages at once: another session may use the pool between two reads. @throws ThimbleError */
function adopt(engine: Engine, address: number, { position, isRelative }: CapsuleHeader, heads: DataView): void {
  const { runtime } = engine;
  const { exports } = runtime;
  const slots = Array.from({ length: heads.byteLength / HEAD_BYTES }, (_, head) =>
    heads.getUint32(head * HEAD_BYTES + 4, true),
  );
  const most = Math.max(...slots);
  const { contextLength } = engine.sizes;
  if (most !== position && most > contextLength) throw tooLong(most, contextLength);
  // Heads without a window are in step with one another: their open pages hold the same tokens.
  const { layers, nKvHeads } = engine.config;
  const whole = slots.filter((_, head) => layers[Math.floor(head / nKvHeads)]!.window === 0);
  if (whole.some((n) => n % Size.PAGE_SLOTS !== whole[0]! % Size.PAGE_SLOTS))
    throw malformed("its heads are out of step");
  engine.reserve([{ session: address, nTokens: most }]);
  runtime.check(exports.sessionAdopt(address, position, isRelative), "restoring a session");
  for (let at = 0, head = 0; at < heads.byteLength; at += HEAD_BYTES, ++head) {
    const base = heads.getUint32(at, true);
    const squares = heads.getFloat64(at + 8, true);
    const closedSquares = heads.getFloat64(at + 16, true);
    const status = exports.headAdopt(address, head, base, slots[head]!, squares, closedSquares);
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
    const [head, index, words, forms, broken, position, low, high] = start as unknown as number[];
    const order = head! * 2 ** 32 + index!;
    if (order <= before || head! >= sums.heads || words! > most || broken! > 1) {
      throw malformed("a page has bits that mean nothing");
    }
    before = order;
    const record = { head: head!, index: index!, words: words!, forms: forms!, broken: broken!, position: position! };
    if (sums.isMissing(record.head, record.index)) await readPage(filling, body, record, [low!, high!]);
    else if (isNewest) throw malformed("it has pages that are not the session's");
    else await body.skip(record.words * 4);
  }
}

/** Positions go up from slot to slot, from each head's first to the session's last. @throws ThimbleError capsule_malformed */
function checkPositions({ runtime: { exports }, sizes }: Engine, session: number, length: number): void {
  for (let head = 0; head < exports.imageHeads(); ++head) {
    const slots = exports.headSlots(session, head);
    const base = exports.headBase(session, head);
    const hasForgotten = base + slots !== length || sizes.cache.policy !== undefined; // empty slots may make up for it
    let last = base - 1;
    for (let slot = 0; slot < slots; ++slot) {
      const position = exports.slotPosition(session, head, slot);
      if (position === -1) continue;
      if (position <= last || position >= length || (!hasForgotten && position !== last + 1)) {
        throw malformed(`the positions of head ${head} are out of order`);
      }
      last = position;
    }
    if (slots % Size.PAGE_SLOTS !== 0 && last !== length - 1) throw malformed(`head ${head} lacks the newest token`);
  }
}

async function readPage(filling: Filling, body: ChunkReader, record: PageRecord, sum: Sum): Promise<void> {
  const { engine, address, sums } = filling;
  const { runtime } = engine;
  const { head, index, words, forms, broken, position } = record;
  const place = pageOf(engine, address, head, sums.first(head), index);
  const isClosed = forms < OPEN;
  // Bytes 2 and 3 of a closed page: empty slots, and 1 where each slot has its position, which pages of a policy can.
  const [empty, positions] = isClosed ? [(forms >>> 16) & 255, (forms >>> 24) & 255] : [0, 0];
  const mayHave = engine.sizes.cache.policy === undefined ? 0 : 1;
  const isForm = (isClosed ? forms & 0xffff : forms) === place.forms && empty < Size.PAGE_SLOTS && positions <= mayHave;
  if (
    words !== place.words ||
    !isForm ||
    (empty > 0 && positions === 0) ||
    (!isClosed && position !== place.position)
  ) {
    throw malformed(`page ${index} of head ${head} has another form`);
  }
  if (isClosed) runtime.exports.setPageSlots(place.page, empty | (positions << 8), position);
  const placed = { ...place, forms, broken, position };
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
  runtime.exports.pageRestored(place.page, broken === 1);
  sums.set(head, index, found);
}
