/**
 * A session written down as a capsule (docs/capsule.md), as a stream that is made while it is read: what is in hand is one
 * page and one chunk. A capsule that continues another one has the pages whose checksums are not those of that one.
 * @module
 */
import { Size } from "../../assembly/memory/status.ts";
import type { Engine } from "../engine.ts";
import { ThimbleError } from "../errors.ts";
import { wideDigest } from "../kv-format.ts";
import { wrongOption } from "../options.ts";
import type { HeldSession, TokenSession } from "../token-session.ts";
import { sealChunks } from "./chunks.ts";
import { type CapsuleModel, digestsOf } from "./digest.ts";
import { type CapsuleKind, encodeHeader, HASH_BYTES, HEAD_BYTES, MAX_LINKS, RECORD_BYTES } from "./format.ts";
import type { KnownLink } from "./known-links.ts";
import { observedBytes, observedParts } from "./observed.ts";
import { PageSums, type Sum } from "./page-sums.ts";
import { OPEN, type PageRecord, pageOf, readOpenPage, sumOfPage } from "./records.ts";
import { type CapsuleKey, checkKey, createSealer } from "./seal.ts";
import { type ConversationState, encodeState } from "./state.ts";

export interface SaveOptions {
  /** Encrypts the capsule: an AES-GCM CryptoKey, or 32 bytes. Default: not encrypted, only protected against damage. */
  readonly key?: CapsuleKey | undefined;
  /**
   * Writes what has changed since this capsule only: the `id` of `session.saved`, of the pack that the session began with,
   * or of the save before the last. Undefined: the whole session.
   */
  readonly since?: string | undefined;
}

/** What is written, beside the session. */
interface Writing {
  readonly model: CapsuleModel;
  readonly held: HeldSession;
  readonly kind: CapsuleKind;
  readonly state: Uint8Array;
  readonly key: CapsuleKey | undefined;
  readonly base: KnownLink | undefined;
}

/**
 * The session as it is now. Until the stream has been read or cancelled no turn begins in it (`busy`); closing it ends
 * the stream with an error.
 * @throws ThimbleError closed, busy, invalid_option; while reading: closed, capsule_key, unsupported_runtime
 */
export function saveCapsule(
  model: CapsuleModel,
  session: TokenSession,
  conversation: ConversationState,
  options: SaveOptions = {},
  kind: CapsuleKind = "session",
): ReadableStream<Uint8Array> {
  const key = checkKey(options.key);
  const base = baseOf(session, options.since);
  const state = encodeState(conversation);
  const held = session.hold();
  const chunks = write({ model, held, kind, state, key, base });
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await chunks.next();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          held.release();
          throw error;
        }
      },
      async cancel() {
        held.release();
        await chunks.return();
      },
    },
    { highWaterMark: 0 },
  );
}

/** @throws ThimbleError invalid_option */
function baseOf(session: TokenSession, since: string | undefined): KnownLink | undefined {
  if (since === undefined) return undefined;
  const base = session.known.find(since);
  if (base !== undefined && base.links < MAX_LINKS) return base;
  const message =
    "since is no capsule that this session was last saved as or made from; leave it out to save all of it";
  throw wrongOption("since", message);
}

async function* write(writing: Writing): AsyncGenerator<Uint8Array, void> {
  const { model, held, kind, state, key, base } = writing;
  const { cached, tokens } = held;
  const links = base === undefined ? 1 : base.links + 1;
  const header = encodeHeader({
    isEncrypted: key !== undefined,
    cache: model.engine.sizes.cache,
    activations: model.activations === "f32" ? 1 : 0,
    position: cached.length,
    tokens: tokens.length,
    stateBytes: state.byteLength,
    observedBytes: observedBytes(model.engine, held.address),
    kind,
    isRelative: Boolean(model.engine.runtime.exports.isRelative(held.address)),
    hasPolicy: model.engine.sizes.cache.policy !== undefined,
    wideHeads: wideDigest(model.engine.sizes.cache.wideHeads),
    links,
    ...(await digestsOf(model)),
    base: base?.id ?? new Uint8Array(HASH_BYTES),
  });
  const sealer = await createSealer(header, key);
  yield header;
  held.check();
  const sums = PageSums.of(model.engine, held.address);
  yield* sealChunks(body(writing, sums), sealer, held.release);
  held.known.add({ id: await sealer.id(), links, isOwn: kind === "session", sums });
}

/** The body in pieces, each good until the next one is asked for. */
function* body({ model: { engine }, held, state, base }: Writing, sums: PageSums): Generator<Uint8Array, void> {
  const { exports } = engine.runtime;
  held.check();
  if (exports.sessionLength(held.address) !== held.cached.length) {
    throw new ThimbleError("internal", "the session's tokens are not those of its cache");
  }
  yield new Uint8Array(Uint32Array.from(held.tokens).buffer);
  yield new Uint8Array(Uint32Array.from(held.cached).buffer);
  yield state;
  held.check();
  yield headEntries(engine, held.address, sums.heads);
  if (observedBytes(engine, held.address) > 0) yield* observedParts(engine, held.address);
  yield* records(engine, held, sums, base?.sums);
}

function headEntries({ runtime: { exports } }: Engine, session: number, nHeads: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(nHeads * HEAD_BYTES));
  for (let head = 0; head < nHeads; ++head) {
    const at = head * HEAD_BYTES;
    const base = exports.headBase(session, head);
    view.setUint32(at, base, true);
    view.setUint32(at + 4, base + exports.headSlots(session, head), true);
    view.setFloat64(at + 8, exports.headSquares(session, head, false), true);
    view.setFloat64(at + 16, exports.headSquares(session, head, true), true);
  }
  return new Uint8Array(view.buffer);
}

/** Records of all pages, head by head, less those that `base` has. */
function* records(
  engine: Engine,
  { address, check }: HeldSession,
  sums: PageSums,
  base: PageSums | undefined,
): Generator<Uint8Array, void> {
  let bytes = new Uint8Array(0);
  for (let head = 0; head < sums.heads; ++head) {
    const first = sums.first(head);
    for (let index = first; index < sums.end(head); ++index) {
      check();
      const record = pageOf(engine, address, head, first, index);
      const needed = RECORD_BYTES + record.words * 4;
      if (bytes.byteLength < needed) bytes = new Uint8Array(needed);
      const contents = new Uint32Array(bytes.buffer, RECORD_BYTES, record.words);
      const isOpen = record.forms >= OPEN;
      const sum = isOpen ? readOpenPage(engine, address, record, contents) : sumOfPage(engine, record);
      sums.set(head, index, sum);
      if (base?.has(head, index, sum)) continue;
      if (!isOpen) contents.set(engine.runtime.words(record.page + Size.PAGE_HEADER, record.words));
      putRecord(bytes, record, sum);
      yield bytes.subarray(0, needed);
    }
  }
}

function putRecord(bytes: Uint8Array<ArrayBuffer>, record: PageRecord, [low, high]: Sum): void {
  const { head, index, words, forms, broken, position } = record;
  new Uint32Array(bytes.buffer, 0, RECORD_BYTES / 4).set([head, index, words, forms, broken, position, low, high]);
}
