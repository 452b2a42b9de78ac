/**
 * Ours against llama.cpp native on the same files, one thread each: prefill and decode in tokens a second, all sides of a
 * model interleaved. Two native builds: the prebuilt one of node-llama-cpp, and, where a Python is given, the one that
 * llama-cpp-python was compiled to there.
 *
 * The native caches are f16, their default; ours is f32 pages. Both keep a prompt in the cache over the rounds of a decode.
 * @module
 */
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { type Case, interleave, messageOf, type Plan, type Side, withSides } from "./lib/interleave.ts";
import { openLineSide, program } from "./lib/line-side.ts";
import { installPeers, NODE_LLAMA_CPP } from "./lib/peers-folder.ts";
import type { CaseResult, PartResult, SideInfo, Skipped } from "./lib/results.ts";
import { builtVariants, productWasm } from "./lib/variants.ts";

export interface NativeOptions {
  /** GGUF files by the name their cases go under. */
  readonly models: Readonly<Record<string, string>>;
  readonly peersDir: string;
  /** A Python that has llama_cpp; undefined: that peer is left out. */
  readonly python: string | undefined;
  /** The Node our side runs on. */
  readonly node: string;
  readonly prefill: readonly number[];
  readonly decode: readonly number[];
  /** Tokens that a decode is timed over. */
  readonly tokens: number;
  readonly plan: Plan;
}

const SCRIPT = fileURLToPath(new URL("../../bench/sides/llama-cpp.py", import.meta.url));

export async function versusNative(options: NativeOptions): Promise<PartResult> {
  const { models, peersDir, plan } = options;
  const { variants, skipped } = await builtVariants(productWasm);
  const all: { cases: CaseResult[]; skipped: Skipped[] } = { cases: [], skipped: [...skipped] };
  const infos: Record<string, SideInfo> = {};
  await installPeers(peersDir, NODE_LLAMA_CPP, plan.log).catch((error) => plan.log(messageOf(error)));
  for (const [type, model] of Object.entries(models)) {
    const openers: Record<string, () => Promise<Side>> = {};
    for (const variant of variants) {
      const command = { program: options.node, args: [program("sides/ours"), model, variant] };
      openers[variant] = () => openLineSide(variant, command);
    }
    const addon = { program: process.execPath, args: [program("sides/native"), model, peersDir] };
    openers["node-llama-cpp"] = () => openLineSide("node-llama-cpp", addon);
    openers["llama-cpp-python"] = async () => {
      if (options.python === undefined) throw new Error("no Python was given: --python");
      return openLineSide("llama-cpp-python", { program: options.python, args: [SCRIPT, model] });
    };
    const cases = casesOf(type, options);
    const measured = await withSides(openers, plan.log, (sides) => interleave(sides, cases, plan));
    all.cases.push(...measured.result.cases);
    const failures = [...measured.skipped, ...measured.result.skipped];
    all.skipped.push(...failures.map(({ side, reason }) => ({ side, reason: `${basename(model)}: ${reason}` })));
    for (const [side, { model: _, weightBytes: __, ...info }] of Object.entries(measured.sides)) infos[side] = info;
  }
  return { part: "native", sides: infos, ...all };
}

function casesOf(type: string, { prefill, decode, tokens }: NativeOptions): Case[] {
  const one = (op: string, label: string, context: number): Case => ({
    label: `${type} ${label}${context}`,
    unit: "tokens/s",
    request: { op, context, tokens },
  });
  return [
    ...prefill.map((context) => one("prefill", "prefill ", context)),
    ...[...decode].sort((a, b) => a - b).map((context) => one("decode", "decode @", context)),
  ];
}
