/**
 * Items of the reference folder: documents and retrieval prompts as ids of SmolLM2's vocabulary. Their texts are third-party
 * and stay where they are; figures made from them may be kept.
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Item, nllStops, recallStops } from "./items.ts";

/** Ids are below it. */
export const REFERENCE_VOCABULARY = 49_152;
const LENGTHS = [2048, 4096, 7168];
/** A space and five digits, at the end of an answer whose beginning is given. */
const VALUE_TOKENS = 6;

interface Sample {
  readonly form: string;
  readonly tokens: number;
  readonly sample: number;
  readonly pre: readonly number[];
  readonly post: readonly number[];
  readonly ans: readonly number[];
}

export async function referenceItems(folder: string): Promise<Item[]> {
  const { shape } = JSON.parse(await readFile(join(folder, "docs/docs.json"), "utf8")) as { shape: [number, number] };
  const bytes = await readFile(join(folder, "docs/docs.u16"));
  const documents = Array.from({ length: shape[0] }, (_, i): Item => {
    const ids = Array.from({ length: shape[1] }, (_, t) => bytes.readUInt16LE(2 * (i * shape[1] + t)));
    return { name: `${i}`, ids, stops: nllStops("reference", ids, LENGTHS) };
  });
  const { samples } = JSON.parse(await readFile(join(folder, "docs/retrieval.json"), "utf8")) as {
    samples: readonly Sample[];
  };
  const prompts = samples.map(({ form, tokens, sample, pre, post, ans }): Item => {
    const ids = [...pre, ...post];
    const of = `recall/reference_${form}/${tokens}`;
    return { name: `${sample}`, ids, stops: recallStops(of, ids, pre.length, ans, VALUE_TOKENS) };
  });
  return [...documents, ...prompts];
}

/** Our names of policies by those in the reference's tables. */
const POLICIES: Readonly<Record<string, string>> = {
  streaming_s4: "streaming",
  knorm: "key-norm",
  keydiff: "key-diff",
  snapkv_w64k5: "snapkv",
  pyramidkv: "pyramidkv",
  ada_snapkv: "adakv",
  chunkkv_snapkv20: "chunkkv",
  tova: "tova",
  lagkv_s4l128: "lagkv",
  expected_f512: "expected-attention",
  ada_expected: "adakv-expected:epsilon=0", // dealt by the scores of expected_f512, as they are
  observed: "observed-attention",
  h2o_half_recent: "h2o",
  critical_snapkv: "criticalkv",
  criticalada_snapkv: "criticaladakv",
  kvzip: "kvzip",
  kvzip_layerwise: "kvzip-layerwise",
  noncausal256: "non-causal-attention",
  compactor: "compactor",
  "knorm+s4r64": "key-norm+s4r64",
  "keydiff+s4r64": "key-diff+s4r64",
  "tova+s4r64": "tova+s4r64",
  qfilter_svd: "q-filter",
  "qfilter_svd+s4r64": "q-filter+s4r64",
  // The share of the heads that stream says what goes, whatever the ratio.
  "duo_h0.25": "duo-attention:heads=0.25@0.5",
  "duo_h0.5": "duo-attention:heads=0.5@0.5",
  "duo_h0.75": "duo-attention:heads=0.75@0.5",
};

/** simlayer_tTHRESHOLD_rRECENT: lazy layers keep the 4 first tokens and all but one of the newest RECENT. */
function simLayerName(name: string, tokens: number): string | undefined {
  const [, threshold, recent] = /^simlayer_t([\d.]+)_r(\d+)$/.exec(name) ?? [];
  if (recent === undefined) return undefined;
  return `simlayerkv:threshold=${threshold}@${simLayerRatio(Number(recent), tokens)}`;
}

/** The share that goes where RECENT + 3 tokens stay, as the command line takes it. */
export function simLayerRatio(recent: number, tokens: number): number {
  return Number((1 - (recent + 3.5) / tokens).toFixed(5));
}

/** The reference's own figures, for the variants that we have too, in our names. */
export interface Reference {
  /** Nats by tokens, variant and document. */
  readonly nll: Record<string, Record<string, Record<string, number>>>;
  /** Share found by "TOKENS/MODE" and variant: mean and standard error over other samples of the same form. */
  readonly recall: Record<string, Record<string, readonly [mean: number, error: number]>>;
}

/** From quality_raw.json, and from the tables of quality.md, since only those have retrieval. */
export async function readReference(folder: string): Promise<Reference> {
  const raw = JSON.parse(await readFile(join(folder, "quality_raw.json"), "utf8")) as Pick<Reference, "nll">;
  const nll = Object.entries(raw.nll).map(([tokens, variants]) => [tokens, renamed(variants, Number(tokens))]);
  return { nll: Object.fromEntries(nll), recall: recallOf(await readFile(join(folder, "quality.md"), "utf8")) };
}

function renamed<T>(variants: Readonly<Record<string, T>>, tokens: number): Record<string, T> {
  const ours = Object.entries(variants).flatMap(([name, value]) => {
    const ourName = ourVariant(name, tokens);
    return ourName === undefined ? [] : [[ourName, value] as const];
  });
  return Object.fromEntries(ours);
}

function ourVariant(name: string, tokens: number): string | undefined {
  if (name === "full") return name;
  const [policy = "", ratio] = name.split("@");
  const ours = POLICIES[policy] ?? simLayerName(name, tokens);
  return ours === undefined || ours.includes("@") ? ours : `${ours}@${ratio}`;
}

/** "## Retrieval, ... mode A", then a table with a length a column and "0.79±0.11 (-0.36)" in its cells. */
function recallOf(text: string): Reference["recall"] {
  const recall: Record<string, Record<string, readonly [number, number]>> = {};
  for (const section of text.split(/^## /m)) {
    const mode = /^Retrieval, .*? mode ([AB]):/.exec(section)?.[1];
    if (mode === undefined) continue;
    const [head = [], , ...rows] = section
      .split("\n")
      .filter((line) => line.startsWith("|"))
      .map((line) => line.split("|").map((cell) => cell.trim()));
    for (const [i, tokens] of head.entries()) {
      if (!/^\d+$/.test(tokens)) continue;
      const cells = rows.flatMap((row): [string, readonly [number, number]][] => {
        const [, mean, error] = /^([\d.]+)±([\d.]+)/.exec(row[i] ?? "") ?? [];
        return mean === undefined ? [] : [[row[1] ?? "", [Number(mean), Number(error)]]];
      });
      recall[`${tokens}/${mode}`] = renamed(Object.fromEntries(cells), Number(tokens));
    }
  }
  return recall;
}
