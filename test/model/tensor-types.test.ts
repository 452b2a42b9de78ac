/**
 * Whole models in every tensor type beyond the first ones (test/golden/make_quantized_models.py: llama.cpp's quantizer on
 * random weights): mean NLL within 0.1% of the dequantized weights with unquantized activations, the same bits one by one
 * and in chunks.
 */
import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { perplexity } from "../../host/perplexity.ts";
import { allLogits, load, randomIds, sameBits } from "./load.ts";

const FOLDER = process.env.THIMBLE_QUANTIZED ?? "test/golden/quantized";

for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".gguf"))) {
  test(`${file}: as good as its dequantized weights, and the same bits in chunks`, async () => {
    const model = await load(`${FOLDER}/${file}`, { maxOutputs: 64 });
    const exact = await load(`${FOLDER}/${file}`, { maxOutputs: 64, activations: "f32" });
    const ids = randomIds(250, model.config.vocabSize, 77);
    const [ours, reference] = [await perplexity(model, ids), await perplexity(exact, ids)];
    const error = Math.abs(ours.meanNll / reference.meanNll - 1);
    if (process.env.THIMBLE_REPORT) console.log(file, reference.meanNll, `${(error * 100).toFixed(4)}%`);
    assert.ok(error <= 0.001, `mean NLL ${ours.meanNll}, dequantized ${reference.meanNll}`);
    const few = ids.slice(0, 40);
    assert.ok(sameBits(allLogits(model, few, 1), allLogits(model, few, 64)));
  });
}

test.run();
