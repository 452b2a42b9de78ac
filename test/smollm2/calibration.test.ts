/**
 * Q-filters of SmolLM2-135M from the reference's calibration text (THIMBLE_REFERENCE, docs/calibration.u16, six documents of
 * 2,048 tokens) against those that the reference computed in f32 with an SVD (calib/qfilter.f32).
 */
import { existsSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { CALIBRATION, calibrate } from "../../host/calibration.ts";
import { readFilters } from "../../host/filters.ts";
import { load } from "../model/load.ts";
import { modelPath, notRun, referencePath } from "./reference.ts";

const TOKENS = 2048;
const text = `${referencePath}/docs/calibration.u16`;

if (modelPath === undefined) notRun("calibration", "THIMBLE_SMOLLM2");
else if (referencePath === undefined || !existsSync(text)) notRun("calibration", "THIMBLE_REFERENCE");
else {
  const path: string = modelPath;
  const read = (name: string): ArrayBuffer => {
    const bytes = readFileSync(name);
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  };

  test("the filters of the calibration text are those of the reference", async () => {
    await using model = await load(path, { ...CALIBRATION, contextLength: TOKENS });
    const ids = Array.from(new Uint16Array(read(text)));
    const documents = Array.from({ length: ids.length / TOKENS }, (_, i) => ids.slice(i * TOKENS, (i + 1) * TOKENS));
    const { values } = await readFilters(await calibrate(model, documents), model.config);
    const expected = new Float32Array(read(`${referencePath}/calib/qfilter.f32`));
    const { keyDim } = model.config;
    assert.is(values.length, expected.length);
    const cosines = Array.from({ length: values.length / keyDim }, (_, head) => {
      const [a, b] = [values, expected].map((all) => all.subarray(head * keyDim, (head + 1) * keyDim));
      const product = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, d) => sum + value * y[d]!, 0);
      return product(a!, b!) / Math.sqrt(product(a!, a!) * product(b!, b!));
    });
    const least = Math.min(...cosines);
    console.log(`cosine of ${cosines.length} filters: the least ${least.toFixed(5)}`);
    assert.ok(least >= 0.999, `${least}`);
  });
}

test.run();
