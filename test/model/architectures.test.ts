/**
 * Every family against the golden logits that transformers gave for a tiny model with random weights (the files and their
 * README come with the references). F32: max abs difference 1e-3 and equal greedy ids. Q8_0 with activations in int8: rms
 * within 1.5 times llama.cpp's and the same argmax at 95% of the positions.
 */
import { readdirSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Model } from "../../host/model.ts";
import { allLogits, argmax, load } from "./load.ts";

const FOLDER = "test/golden/architectures";

interface Golden {
  readonly file: string;
  readonly first_position: number;
  readonly positions: number;
  readonly greedy: readonly number[];
}

interface Family {
  readonly name: string;
  readonly vocab: number;
  readonly gguf: Readonly<Record<"f32" | "q8_0", string>>;
  readonly prompts: Readonly<Record<"short" | "long", readonly number[]>>;
  readonly golden: Readonly<Record<"f32" | "q8_0", Readonly<Record<"short" | "long", Golden>>>>;
  readonly sensitivity: Readonly<Record<string, Readonly<Record<"short" | "long", number>>>>;
  readonly llama_cpp: Readonly<Record<"q8_0", Readonly<Record<"short" | "long", { rms: number }>>>>;
}

const families = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".json"))
  .map((name) => JSON.parse(readFileSync(`${FOLDER}/${name}`, "utf8")) as Family);

function expected(golden: Golden): Float32Array {
  const bytes = readFileSync(`${FOLDER}/${golden.file}`);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Our logits at the positions that the golden file holds. */
function ours(model: Model, ids: readonly number[], golden: Golden): Float32Array {
  const { vocabSize } = model.config;
  return allLogits(model, ids, 64).subarray(golden.first_position * vocabSize, ids.length * vocabSize);
}

function differences(a: Float32Array, b: Float32Array): { max: number; rms: number } {
  let max = 0;
  let squares = 0;
  a.forEach((value, i) => {
    const difference = Math.abs(value - b[i]!);
    max = Math.max(max, difference);
    squares += difference * difference;
  });
  return { max, rms: Math.sqrt(squares / a.length) };
}

function greedy(model: Model, prompt: readonly number[], n: number): number[] {
  const ids = [...prompt];
  const { vocabSize } = model.config;
  while (ids.length < prompt.length + n) {
    ids.push(argmax(allLogits(model, ids, 64).subarray((ids.length - 1) * vocabSize)));
  }
  return ids.slice(prompt.length);
}

for (const family of families) {
  for (const length of ["short", "long"] as const) {
    const ids = family.prompts[length];

    for (const type of ["f32", "q8_0"] as const) {
      test(`${family.name} ${type} ${length}: float activations give the reference's logits and greedy ids`, async () => {
        const golden = family.golden[type][length];
        const model = await load(`${FOLDER}/${family.gguf[type]}`, { activations: "f32", maxOutputs: 64 });
        const { max } = differences(ours(model, ids, golden), expected(golden));
        assert.ok(max <= 1e-3, `max abs difference ${max}`);
        for (const [name, sensitivity] of Object.entries(family.sensitivity)) {
          assert.ok(sensitivity[length] > 1e-3, `the bound would not notice: ${name}`);
        }
        assert.equal(greedy(model, ids, golden.greedy.length), golden.greedy);
      });
    }
  }

  test(`${family.name} q8_0: int8 activations stay close`, async () => {
    const model = await load(`${FOLDER}/${family.gguf.q8_0}`, { maxOutputs: 64 });
    let equal = 0;
    let positions = 0;
    for (const length of ["short", "long"] as const) {
      const golden = family.golden.q8_0[length];
      const logits = ours(model, family.prompts[length], golden);
      const reference = expected(golden);
      const { rms } = differences(logits, reference);
      const bound = 1.5 * family.llama_cpp.q8_0[length].rms;
      assert.ok(rms <= bound, `${length}: rms ${rms}, bound ${bound}`);
      for (let at = 0; at < logits.length; at += family.vocab, ++positions) {
        const [a, b] = [logits, reference].map((rows) => argmax(rows.subarray(at, at + family.vocab)));
        if (a === b) equal += 1;
      }
    }
    assert.ok(equal >= 0.95 * positions, `argmax equal at ${equal} of ${positions}`);
  });
}

test.run();
