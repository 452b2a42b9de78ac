/**
 * A session written down as a capsule (docs/capsule.md), as a stream that is made while it is read: what is in hand is one
 * page and one chunk.
 * @module
 */
import { Size } from "../../assembly/memory/status.ts";
import type { Engine } from "../engine.ts";
import { ThimbleError } from "../errors.ts";
import type { HeldSession, TokenSession } from "../token-session.ts";
import { sealChunks } from "./chunks.ts";
import { crc32 } from "./crc32.ts";
import { type CapsuleModel, digestsOf } from "./digest.ts";
import { encodeHeader, HEAD_BYTES } from "./format.ts";
import { type CapsuleKey, checkKey, createSealer } from "./seal.ts";
import { type ConversationState, encodeState } from "./state.ts";

export interface SaveOptions {
  /** Encrypts the capsule: an AES-GCM CryptoKey, or 32 bytes. Default: not encrypted, only protected against damage. */
  readonly key?: CapsuleKey | undefined;
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
): ReadableStream<Uint8Array> {
  const key = checkKey(options.key);
  const state = encodeState(conversation);
  const held = session.hold();
  const chunks = write(model, held, state, key);
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

async function* write(
  model: CapsuleModel,
  held: HeldSession,
  state: Uint8Array,
  key: CapsuleKey | undefined,
): AsyncGenerator<Uint8Array, void> {
  const { cached, tokens } = held;
  const header = encodeHeader({
    isEncrypted: key !== undefined,
    cache: model.engine.sizes.cache,
    activations: model.activations === "f32" ? 1 : 0,
    position: cached.length,
    tokens: tokens.length,
    stateBytes: state.byteLength,
    ...(await digestsOf(model)),
  });
  const sealer = await createSealer(header, key);
  yield header;
  yield* sealChunks(body(model.engine, held, state), sealer, held.release);
}

/** The body in pieces, each good until the next one is asked for. */
function* body(engine: Engine, held: HeldSession, state: Uint8Array): Generator<Uint8Array, void> {
  const { exports } = engine.runtime;
  held.check();
  if (exports.sessionLength(held.address) !== held.cached.length) {
    throw new ThimbleError("internal", "the session's tokens are not those of its cache");
  }
  yield new Uint8Array(Uint32Array.from(held.tokens).buffer);
  yield new Uint8Array(Uint32Array.from(held.cached).buffer);
  yield state;
  held.check();
  const nHeads = exports.imageHeads();
  yield headRecords(engine, held.address, nHeads);
  for (let head = 0; head < nHeads; ++head) yield* pages(engine, held, head);
}

function headRecords({ runtime: { exports } }: Engine, session: number, nHeads: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(nHeads * HEAD_BYTES));
  for (let head = 0; head < nHeads; ++head) {
    const at = head * HEAD_BYTES;
    view.setUint32(at, exports.headBase(session, head), true);
    view.setFloat64(at + 8, exports.headSquares(session, head, false), true);
    view.setFloat64(at + 16, exports.headSquares(session, head, true), true);
  }
  return new Uint8Array(view.buffer);
}

/** A head's closed pages, then the slots of its open one. */
function* pages({ runtime, config }: Engine, held: HeldSession, head: number): Generator<Uint8Array, void> {
  const { exports } = runtime;
  const { address, cached } = held;
  const first = exports.headBase(address, head) / Size.PAGE_SLOTS;
  const closed = Math.floor(cached.length / Size.PAGE_SLOTS);
  for (let index = first; index < closed; ++index) {
    held.check();
    const page = exports.headPage(address, head, index - first) >>> 0;
    const contents = runtime.words(page + Size.PAGE_HEADER, (exports.pageSize(page) - Size.PAGE_HEADER) / 4);
    yield pageRecord(head, index, Number(exports.pageBroken(page)), contents);
  }
  const slots = cached.length % Size.PAGE_SLOTS;
  if (slots === 0) return;
  held.check();
  const dims = config.keyDim + config.valueDim;
  const contents = new Uint32Array(slots * dims);
  for (let slot = 0; slot < slots; ++slot) {
    contents.set(runtime.words(exports.slotRead(address, head, slot), dims), slot * dims);
  }
  const page = exports.headPage(address, head, closed - first) >>> 0;
  yield pageRecord(head, closed, Number(exports.pageBroken(page)), contents);
}

/** | u32 1 where a value was not finite | u32 CRC-32 of head, index, the u32 before and the contents | contents | */
function pageRecord(head: number, index: number, broken: number, contents: Uint32Array): Uint8Array {
  const record = new Uint32Array(2 + contents.length);
  record[0] = broken;
  record.set(contents, 2);
  record[1] = crc32([head, index, broken], record.subarray(2));
  return new Uint8Array(record.buffer);
}
