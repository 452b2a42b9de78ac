/**
 * What the form of the cache does to decoding behind a long context: ours with f32, q8 and q4 pages against llama.cpp native
 * (node-llama-cpp) with its f16 and its q8_0 cache, one thread each, all sides interleaved.
 * @module
 */
import { interleave, type Plan, type Side, withSides } from "./lib/interleave.ts";
import { openLineSide, program } from "./lib/line-side.ts";
import { installPeers, NODE_LLAMA_CPP } from "./lib/peers-folder.ts";
import type { PartResult } from "./lib/results.ts";

export interface CacheOptions {
  /** GGUF file of Q4_0 weights. */
  readonly model: string;
  readonly peersDir: string;
  /** The Node our side runs on. */
  readonly node: string;
  readonly decode: readonly number[];
  /** Tokens that a decode is timed over. */
  readonly tokens: number;
  readonly plan: Plan;
}

const FORMS = ["f32:f32", "q8:q8", "q4:q4"];

export async function versusCaches({ model, peersDir, node, decode, tokens, plan }: CacheOptions): Promise<PartResult> {
  await installPeers(peersDir, NODE_LLAMA_CPP, plan.log);
  const openers: Record<string, () => Promise<Side>> = {};
  for (const forms of FORMS) {
    const name = `relaxed, ${forms.split(":")[0]} pages`;
    openers[name] = () =>
      openLineSide(name, { program: node, args: [program("sides/ours"), model, "relaxed", "1", forms] });
  }
  for (const type of ["F16", "Q8_0"]) {
    const name = `native, ${type.toLowerCase()} cache`;
    openers[name] = () =>
      openLineSide(name, { program: process.execPath, args: [program("sides/native"), model, peersDir, type] });
  }
  const cases = decode.map((context) => ({
    label: `decode @${context}`,
    unit: "tokens/s",
    request: { op: "decode", context, tokens },
  }));
  const { result, sides, skipped } = await withSides(openers, plan.log, (open) => interleave(open, cases, plan));
  return { part: "caches", sides, skipped: [...skipped, ...result.skipped], cases: result.cases };
}
