/**
 * Scores of heads found by our calibration against those that kvpress's formula gives on the same six texts of 2,048 tokens
 * (THIMBLE_REFERENCE, quality_raw.json): the same values up to the arithmetic, and nearly the same half of the heads streams.
 * 12,288 tokens take some minutes.
 */
import { existsSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CALIBRATION, calibrateHeads } from "../../host/calibrate-heads.ts";
import { load } from "../model/load.ts";
import { modelPath, notRun, referencePath } from "./reference.ts";

const TOKENS = 2048;

if (modelPath === undefined) notRun("scores of heads", "THIMBLE_SMOLLM2");
else if (referencePath === undefined || !existsSync(`${referencePath}/quality_raw.json`)) {
  notRun("scores of heads", "THIMBLE_REFERENCE");
} else {
  const path: string = modelPath;
  const folder: string = referencePath;

  test("duo-attention: scores of 90 heads, int8 arithmetic", async () => {
    await using model = await load(path, { ...CALIBRATION, contextLength: TOKENS });
    const bytes = readFileSync(`${folder}/docs/calibration.u16`);
    const ids = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const texts = Array.from({ length: 6 }, (_, i) => Array.from(ids.subarray(i * TOKENS, (i + 1) * TOKENS)));
    const ours = (await calibrateHeads(model, "duo", texts)).scores.flat();
    const reference = JSON.parse(readFileSync(`${folder}/quality_raw.json`, "utf8"));
    const theirs: readonly number[] = reference.calib.duo_scores.flat();
    const worst = Math.max(...ours.map((x, head) => Math.abs(x - theirs[head]!)));
    const lower = (scores: readonly number[]) =>
      new Set([...scores.keys()].sort((a, b) => scores[a]! - scores[b]!).slice(0, 45));
    const [mine, other] = [lower(ours), lower(theirs)];
    const both = [...mine].filter((head) => other.has(head)).length;
    console.log(`largest difference ${worst.toFixed(4)}; ${both} of 45 heads stream in both`);
    assert.ok(worst <= 0.02 && both >= 43, `${worst}, ${both}`);
  });
}

test.run();
