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
  "knorm+s4r64": "key-norm+s4r64",
  "keydiff+s4r64": "key-diff+s4r64",
  "tova+s4r64": "tova+s4r64",
};

/** NLL by tokens, variant and document, for the variants that we have too: `quality_raw.json` in our names. */
export type ReferenceNll = Record<string, Record<string, Record<string, number>>>;

export async function referenceNll(folder: string): Promise<ReferenceNll> {
  const { nll } = JSON.parse(await readFile(join(folder, "quality_raw.json"), "utf8")) as { nll: ReferenceNll };
  return Object.fromEntries(
    Object.entries(nll).map(([tokens, variants]) => {
      const ours = Object.entries(variants).flatMap(([name, documents]) => {
        const [policy = "", ratio] = name.split("@");
        const ourName = name === "full" ? "full" : POLICIES[policy] && `${POLICIES[policy]}@${ratio}`;
        return ourName === undefined ? [] : [[ourName, documents] as const];
      });
      return [tokens, Object.fromEntries(ours)];
    }),
  );
}
