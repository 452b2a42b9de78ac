/**
 * What a policy has observed of a session that streams, as it stands in a capsule behind the heads: position, then the region
 * of assembly/cache/observation.ts as it lies in memory.
 *
 *   | u32 first position that counts | sums over queries | what slots were given | queries of the newest rows |
 * @module
 */
import type { Engine } from "../engine.ts";
import { describePolicy } from "../policy.ts";
import { NEVER } from "../prompt-end.ts";
import type { ChunkReader } from "./chunks.ts";
import { malformed, mismatch } from "./format.ts";

/** Bytes of it in the capsule of a session; 0: nothing counts from turn to turn. */
export function observedBytes({ runtime, sizes }: Engine, session: number): number {
  const { exports } = runtime;
  const counts = exports.isRelative(session) && exports.observedStart(session) >>> 0 !== NEVER;
  return sizes.cache.policy !== undefined && counts ? 4 + exports.observationImageBytes() : 0;
}

/** The region, good until the session goes on. */
export function* observedParts({ runtime }: Engine, session: number): Generator<Uint8Array, void> {
  const { exports } = runtime;
  yield new Uint8Array(Uint32Array.of(exports.observedStart(session)).buffer);
  yield runtime.bytes(exports.observationImage(session) >>> 0, exports.observationImageBytes());
}

/**
 * Reads it into a session of `length` tokens.
 * @param policy the one it was observed for
 * @throws ThimbleError capsule_malformed, capsule_mismatch
 */
export async function readObserved(
  engine: Engine,
  session: number,
  length: number,
  body: ChunkReader,
  bytes: number,
  policy: string | undefined,
): Promise<void> {
  if (bytes === 0) return;
  const { runtime, sizes } = engine;
  const { exports } = runtime;
  const ours = sizes.cache.policy && describePolicy(sizes.cache.policy);
  if (policy !== ours) {
    const advice = `load the model with policy ${JSON.stringify(policy)}`;
    throw mismatch("policy", `the session was thinned by another policy than ${ours}; ${advice}`);
  }
  if (bytes !== 4 + exports.observationImageBytes()) throw malformed("what its policy has observed has another size");
  const from = new Uint32Array(1);
  await body.fill(new Uint8Array(from.buffer));
  if (from[0]! > length) throw malformed("its policy looks at tokens that are not there");
  for (let at = 4; at < bytes; ) {
    const part = await body.some(bytes - at);
    runtime.bytes((exports.observationImage(session) >>> 0) + at - 4, part.byteLength).set(part);
    at += part.byteLength;
  }
  exports.observedUntil(session, from[0]!);
}
