/**
 * What every host must compute, to the last bit: pinned values, and the digest of logits they are compared with.
 *
 * The digest is the SHA-256 of the raw f32 bits (little endian, as they lie in WebAssembly memory) of all logits
 * [160, vocabSize] of the sequence of `pinnedIds` on models/thimble-15m.Q4_0.gguf, activations "int8".
 * A change of the arithmetic changes these values: run `npm run test:hosts` and take them from the failures, after
 * the tests against the oracle pass and every host prints the same.
 * @module
 */
import type { Model } from "../../host/index.ts";

/** By the form of keys and values; the first has not changed since the first release. */
export const LOGITS_DIGESTS = {
  f32: "0c488364678f88e06fea364afcfdede2ae1484e1316eb52ec7ba500bb5aafda7",
  q8: "34136a92f50525e43cfc21ea36be7dc035f44ee95635ee4bcfba9df285d77123",
  q4: "6779754e971247dcdf4ac9783772003fc4760ec87608da9cedfaf6053c6876ed",
  q3: "fe5978f47f611f49c891fd2fb50554c02f29e5d9bb79cbf74b6f41ad210b8eba",
} as const;
/** Of the default form. */
export const LOGITS_DIGEST = LOGITS_DIGESTS.q8;

/** `GREEDY` and `SAMPLED` in conformance.ts say of what. */
export const GREEDY_TEXT =
  "The fox was a small fox with a bushy tail. He was always looking for a new place to live. One day, he found a small fox in a small forest. He was very happy.";
export const SAMPLED_TEXT =
  "The sky blue is a beautiful sight. It is a color that only a few people could see, but it is also a very special color. It is made of a special material, and it is";

/** 64 + 64 + 16 rows of prefill, then 16 tokens one by one: 160 in all. */
export const PIECES: readonly number[] = [64, 64, 16, ...Array<number>(16).fill(1)];

/** Ids without meaning: the top 13 bits of x = 1664525 x + 1013904223 mod 2^32 from x = 1 on, modulo the vocabulary. */
export function pinnedIds(vocabSize: number): number[] {
  let x = 1;
  return Array.from({ length: 160 }, () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return (x >>> 19) % vocabSize;
  });
}

/** The digest of the logits of every row, the sequence given in pieces of these many rows. */
export async function logitsDigest(model: Model, pieces: readonly number[]): Promise<string> {
  const { engine, platform, config } = model;
  const ids = pinnedIds(config.vocabSize);
  const logits = new Float32Array(ids.length * config.vocabSize);
  const session = engine.openSession();
  let at = 0;
  try {
    for (const n of pieces) {
      const rows = ids.slice(at, at + n);
      model.forward(rows.map((input, i) => ({ session, input, position: at + i, logits: true })));
      for (let i = 0; i < rows.length; ++i) logits.set(engine.logits(i), (at + i) * config.vocabSize);
      at += rows.length;
      await platform.pause();
    }
  } finally {
    engine.runtime.exports.sessionClose(session);
  }
  if (at !== ids.length) throw new Error(`the pieces cover ${at} tokens of ${ids.length}`);
  if (!logits.every(Number.isFinite)) throw new Error("a logit is not finite");
  return sha256(logits);
}

export async function sha256(data: BufferSource): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
