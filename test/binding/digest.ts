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

/** By the form of keys and values; f32 has not changed since the first version of the contract. */
export const LOGITS_DIGESTS = {
  f32: "0c488364678f88e06fea364afcfdede2ae1484e1316eb52ec7ba500bb5aafda7",
  q8: "07c729a5d8c8c65b926ec539bbe8318834b8fb377dbe258e753ada437d44dcea",
  q4: "53534d66ec991baa8ec86bfb550868661903c0077a15249669709c2d480b4b45",
  q3: "ccbacf5a225621bad7d18307858423ca3224105555570f3556afbb8c86af47fc",
} as const;
/** Of the default form. */
export const LOGITS_DIGEST = LOGITS_DIGESTS.q8;

/** `GREEDY` and `SAMPLED` in conformance.ts say of what. */
export const GREEDY_TEXT =
  "The fox was a small fox with a bushy tail. He was always looking for a new home, but he had a bad habit of eating only what he could fit in his mouth. He was always";
export const SAMPLED_TEXT =
  "The sky blue is a beautiful sight. It is a blue color that comes in the night. The sky is blue because it is a blue color. It is also a color that helps people to see";

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
