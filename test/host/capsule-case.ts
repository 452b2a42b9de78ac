/** What the tests of capsules share: sessions grown to a length, bytes of capsules, logits of what follows. */
import * as assert from "uvu/assert";
import { ByteReader } from "../../host/capsule/byte-reader.ts";
import { ChunkReader, sealChunks } from "../../host/capsule/chunks.ts";
import type { CapsuleModel } from "../../host/capsule/digest.ts";
import { HEADER_BYTES, PLAIN_HEADER_BYTES } from "../../host/capsule/format.ts";
import { type RestoreOptions, restoreCapsule } from "../../host/capsule/restore.ts";
import { type SaveOptions, saveCapsule } from "../../host/capsule/save.ts";
import { createOpener, createSealer } from "../../host/capsule/seal.ts";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";
import type { Model } from "../../host/model.ts";
import { SessionCache } from "../../host/session-cache.ts";
import { TokenSession } from "../../host/token-session.ts";
import { platform, randomIds } from "../model/load.ts";

/** A session and where it lies. */
export interface Placed {
  readonly session: TokenSession;
  readonly address: number;
}

export const subject = ({ engine, header, stats }: Model): CapsuleModel => ({
  engine,
  header,
  activations: stats.activations,
});

/** A session whose cache holds n tokens. */
export async function grown(model: Model, n: number, seed = 3): Promise<Placed> {
  const address = model.engine.openSession();
  const session = new TokenSession(model.engine, platform, {}, new SessionCache(model.engine, {}, address));
  const vocabulary = { size: model.config.vocabSize, eosIds: [] };
  if (n > 0) for await (const _ of session.generate(randomIds(n, vocabulary.size, seed), vocabulary, { maxTokens: 0 }));
  return { session, address };
}

export async function bytesOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return new Uint8Array(await new Blob(pieces as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

export function save(model: Model, { session }: Placed, options?: SaveOptions): Promise<Uint8Array<ArrayBuffer>> {
  return bytesOf(saveCapsule(subject(model), session, { messages: [], pending: undefined }, options));
}

export async function restore(model: Model, bytes: Uint8Array, options?: RestoreOptions): Promise<Placed> {
  const { session } = await restoreCapsule(subject(model), platform, bytes, options);
  const held = session.hold();
  held.release();
  return { session, address: held.address };
}

/** Logits of n more tokens, one forward call each or `chunk` at a time. */
export function following(model: Model, { address }: Placed, n: number, chunk = 1): Float32Array {
  const { engine, config } = model;
  const out = new Float32Array(n * config.vocabSize);
  const ids = randomIds(n, config.vocabSize, 77);
  const start = engine.runtime.exports.sessionLength(address);
  for (let at = 0; at < n; at += chunk) {
    const rows = ids.slice(at, at + chunk);
    model.forward(rows.map((input, i) => ({ session: address, input, position: start + at + i, logits: true })));
    rows.forEach((_, i) => {
      out.set(engine.logits(i), (at + i) * config.vocabSize);
    });
  }
  return out;
}

/** Pages of the pool in use. */
export function used({ engine }: Model): number {
  const { exports } = engine.runtime;
  return exports.poolPages() - exports.poolFreePages();
}

export async function code(run: () => Promise<unknown>): Promise<ThimbleErrorCode | "none"> {
  try {
    await run();
  } catch (error) {
    assert.instance(error, ThimbleError, String(error));
    return (error as ThimbleError).code;
  }
  return "none";
}

/** A capsule whose body or header was changed, with tags as if it had been saved so; `change` may give another body. */
export async function forged(
  capsule: Uint8Array<ArrayBuffer>,
  change: (body: Uint8Array<ArrayBuffer>, header: Uint8Array<ArrayBuffer>) => unknown,
  key?: Uint8Array,
): Promise<Uint8Array<ArrayBuffer>> {
  const header = capsule.slice(0, HEADER_BYTES);
  const reader = new ByteReader(capsule.subarray(HEADER_BYTES), undefined);
  const chunks = new ChunkReader(reader, await createOpener(header, key !== undefined, key));
  const frame = (1 << 18) + 4 + (key === undefined ? 32 : 16);
  const length = capsule.byteLength - HEADER_BYTES;
  const body = new Uint8Array(length - Math.ceil(length / frame) * (frame - (1 << 18)));
  await chunks.fill(body);
  const changed = change(body, header);
  header.fill(0, PLAIN_HEADER_BYTES); // the wrapped key comes anew
  const sealed = sealChunks(
    [changed instanceof Uint8Array ? changed : body],
    await createSealer(header, key),
    () => {},
  );
  const pieces: Uint8Array[] = [header];
  for await (const piece of sealed) pieces.push(piece);
  return new Uint8Array(await new Blob(pieces as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}
