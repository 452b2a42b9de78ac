/**
 * What docs/runtimes.md says of a host, measured by the suite in a fresh process or page, before all else: the time to a
 * first token, tokens a second, bytes, and a digest of logits that is the same everywhere.
 * @module
 */
import type { LoadOptions, Model, ModelSource } from "../../host/index.ts";
import { sha256 } from "./digest.ts";

/** A row of the table. */
export interface Measured {
  readonly host: string;
  /** The host's own, and its engine's. */
  readonly version: string;
  readonly variant: string;
  /** That computed where two were asked for. */
  readonly threads: number;
  /** From the call of `loadModel` to the first piece of text. */
  readonly coldMs: number;
  /** While writing 128 tokens. */
  readonly tokensPerSecond: number;
  /** Of WebAssembly memory. */
  readonly peakBytes: number;
  /** Of the logits of all tokens of `PROMPTS`, one session each. */
  readonly digest: string;
  /** What the host could not run, in words. */
  readonly notes: readonly string[];
}

export const PROMPTS: readonly string[] = [
  "Tell me a short story about a fox.",
  "Why is the sky blue?",
  "Zähle bis fünf: 一 two три 4 🦊",
];

type Loader = (source: string | ModelSource, options?: LoadOptions) => Promise<Model>;

export interface Measurable {
  readonly name: string;
  readonly loadModel: Loader;
  readonly location: string;
  readonly threads: boolean;
}

/** @param version as `Measured.version` */
export async function measure({ name, loadModel, location, threads }: Measurable, version: string): Promise<Measured> {
  const start = performance.now();
  await using model = await loadModel(location, { chunk: 64, maxOutputs: 64, contextLength: 1024 });
  await using session = model.session();
  let coldMs = 0;
  const options = { temperature: 0, ignoreEos: true, maxTokens: 128 };
  const generation = session.generate(PROMPTS[0]!, options);
  for await (const _piece of generation) coldMs ||= performance.now() - start;
  const { timings } = await generation.result;
  const digest = await promptDigest(model);
  const { variant, peakBytes } = model.stats;
  await using shared = await loadModel(location, { chunk: 64, maxOutputs: 64, contextLength: 1024, threads: 2 });
  const used = shared.stats.threads;
  if ((await promptDigest(shared)) !== digest) throw new Error(`the digest of ${used} threads is another one`);
  const notes = [
    ...(variant === "simd" ? ["no relaxed SIMD"] : []),
    ...(threads ? [] : ["no threads"]),
    ...(timings.decodeMs > 0 ? [] : ["the clock stands still"]),
  ];
  const tokensPerSecond = timings.decodePerSecond;
  return { host: name, version, variant, threads: used, coldMs, tokensPerSecond, peakBytes, digest, notes };
}

async function promptDigest(model: Model): Promise<string> {
  const { engine, config } = model;
  const digests: string[] = [];
  for (const prompt of PROMPTS) {
    const ids = model.encodeChat([{ role: "user", content: prompt }]);
    const logits = new Float32Array(ids.length * config.vocabSize);
    const session = engine.openSession();
    try {
      for (let at = 0; at < ids.length; at += 64) {
        const rows = ids.slice(at, at + 64);
        model.forward(rows.map((input, i) => ({ session, input, position: at + i, logits: true })));
        for (let i = 0; i < rows.length; ++i) logits.set(engine.logits(i), (at + i) * config.vocabSize);
      }
    } finally {
      engine.runtime.exports.sessionClose(session);
    }
    digests.push(await sha256(logits));
  }
  return sha256(new TextEncoder().encode(digests.join("\n")));
}
