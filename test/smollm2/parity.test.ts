/**
 * SmolLM2-135M-Instruct Q4_1 against fp32 transformers on the same weights, fed the reference's own ids: argmax equal where
 * the reference's lead over the second exceeds 1.0, at most 5% of the steps with leads of 0.3 to 1.0 differ, rms difference
 * of the last logits at most 0.45, mean NLL of 2,000 tokens within 0.5%. Our own free-running text is printed, not judged.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { perplexity } from "../../host/perplexity.ts";
import { allLogits, argmax, load } from "../model/load.ts";
import { modelPath, notRun, readGolden, referencePath } from "./reference.ts";

if (modelPath === undefined) notRun("SmolLM2 parity", "THIMBLE_SMOLLM2");
else {
  const path: string = modelPath;
  const golden = readGolden();

  test("last logits, forced greedy steps", async () => {
    const model = await load(path, { chunk: 64, maxOutputs: 64 });
    const { vocabSize } = model.config;
    let uncertain = 0;
    let differing = 0;
    for (const prompt of golden.prompts) {
      const logits = allLogits(model, [...prompt.ids, ...prompt.greedy64], 64);
      const at = (position: number): Float32Array => logits.subarray(position * vocabSize, (position + 1) * vocabSize);
      const last = at(prompt.ids.length - 1);
      const reference = golden.lastLogits(prompt);
      const rms = Math.sqrt(reference.reduce((sum, value, i) => sum + (value - last[i]!) ** 2, 0) / vocabSize);
      let equal = 0;
      prompt.greedy64.forEach((id, step) => {
        const gap = prompt.greedy64_top1_minus_top2[step]!;
        const isEqual = argmax(at(prompt.ids.length - 1 + step)) === id;
        if (isEqual) equal += 1;
        if (gap > 1) assert.ok(isEqual, `${prompt.name}: step ${step} with a lead of ${gap} differs`);
        else if (gap >= 0.3) {
          uncertain += 1;
          if (!isEqual) differing += 1;
        }
      });
      console.log(`${prompt.name}: rms of last logits ${rms.toFixed(3)}, ${equal} of 64 forced steps equal`);
      assert.ok(rms <= 0.45, `${prompt.name}: rms ${rms}`);
    }
    console.log(`leads of 0.3 to 1.0: ${differing} of ${uncertain} differ`);
    assert.ok(differing <= 0.05 * uncertain, `${differing} of ${uncertain} differ`);
  });

  test("free-running greedy text, reported", async () => {
    const model = await load(path);
    for (const prompt of golden.prompts) {
      const session = model.session();
      const options = { temperature: 0, maxTokens: 64, ignoreEos: true, special: true };
      const { completionIds, text } = await session.complete({ ids: prompt.ids }, options);
      const agree = completionIds.findIndex((id, i) => id !== prompt.greedy64[i]);
      console.log(
        `${prompt.name}: first ${agree < 0 ? 64 : agree} of 64 ids as the reference; ours: ${JSON.stringify(text)}`,
      );
      assert.is(completionIds.length, 64);
      session.close();
    }
  });

  if (golden.nll === undefined) notRun("SmolLM2 NLL of 2,000 tokens", "THIMBLE_REFERENCE");
  else {
    const { ids, mean_nll } = golden.nll;
    test("mean NLL of 2,000 tokens", async () => {
      const model = await load(path, { chunk: 64, maxOutputs: 64 });
      const { meanNll } = await perplexity(model, ids);
      const error = (meanNll / mean_nll - 1) * 100;
      console.log(`mean NLL ${meanNll.toFixed(5)}, fp32 reference ${mean_nll.toFixed(5)}: ${error.toFixed(3)}%`);
      assert.ok(Math.abs(error) <= 0.5);
    });

    test("mean NLL with unquantized activations", async () => {
      const model = await load(path, { chunk: 64, maxOutputs: 64, activations: "f32" });
      const { meanNll } = await perplexity(model, ids);
      const error = (meanNll / mean_nll - 1) * 100;
      console.log(`f32 activations: mean NLL ${meanNll.toFixed(6)}: ${error.toFixed(5)}%`);
      assert.ok(Math.abs(error) <= 0.01);
    });
  }

  if (referencePath === undefined) notRun("SmolLM2 prompt english200", "THIMBLE_REFERENCE");
  test.run();
}
