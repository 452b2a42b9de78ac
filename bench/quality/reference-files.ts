/**
 * The reference's own calibrations as files that a load takes: its Q-filters and the scores of its heads, so that policies that
 * choose by them are compared on the same ground. For the weights as a default load has them.
 * @module
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { digestsOf } from "../../host/capsule/digest.ts";
import { writeFilters } from "../../host/filters.ts";
import { type HeadScores, modelDigest } from "../../host/head-scores.ts";
import type { Model } from "../../host/model.ts";

/** Tokens that the reference was calibrated on: 6 texts of 2,048. */
const TOKENS = 6 * 2048;

/** calib/qfilter.f32 [layers][KV heads][key dim], and calib.duo_scores [layer][KV head] of quality_raw.json. */
export async function referenceFiles(
  folder: string,
  { engine, header, config, stats }: Model,
): Promise<{ readonly filters: Uint8Array; readonly headScores: string }> {
  const calibrated = { engine, header, activations: stats.activations };
  const bytes = await readFile(join(folder, "calib/qfilter.f32"));
  const values = new Float32Array(new Uint8Array(bytes).buffer);
  const filters = await writeFilters({ model: (await digestsOf(calibrated)).model, values }, config);
  const { calib } = JSON.parse(await readFile(join(folder, "quality_raw.json"), "utf8")) as {
    readonly calib: { readonly duo_scores: HeadScores["scores"] };
  };
  const scores: HeadScores = {
    thimble: "head-scores",
    version: 1,
    kind: "duo",
    model: await modelDigest(calibrated),
    tokens: TOKENS,
    scores: calib.duo_scores,
  };
  return { filters, headScores: JSON.stringify(scores) };
}
