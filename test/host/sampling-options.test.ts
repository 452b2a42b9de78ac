import { suite } from "uvu";
import * as assert from "uvu/assert";
import { resolveSampling, type SamplingOptions } from "../../host/sampling-options.ts";
import { throwsCode } from "./draw.ts";

const test = suite("sampling options");

test("the documented defaults, and undefined means the default", () => {
  const { seed, ...rest } = resolveSampling({ topP: undefined }, 1000);
  assert.equal(rest, {
    vocabSize: 1000,
    temperature: 0.7,
    topK: 40,
    topP: 0.95,
    minP: 0.05,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    penaltyLastN: 64,
    logitBias: [],
    logprobs: undefined,
  });
  assert.ok(Number.isSafeInteger(seed) && seed >= 0);
  assert.is.not(seed, resolveSampling({}, 1000).seed);
  assert.is(resolveSampling({ topK: 1000 }, 1000).topK, 0);
  assert.is(resolveSampling({ seed: 2 ** 53 - 1 }, 1000).seed, 2 ** 53 - 1);
  const sorted = [
    [3, -Infinity],
    [9, 1],
  ];
  const unsorted = new Map([
    [9, 1],
    [3, -Infinity],
  ]);
  for (const logitBias of [{ 9: 1, 3: -Infinity }, unsorted]) {
    assert.equal(resolveSampling({ logitBias }, 10).logitBias, sorted);
  }
});

test("refuses what is out of range or of another type, and says what is allowed", () => {
  const refused: readonly [keyof SamplingOptions, readonly unknown[], RegExp][] = [
    [
      "temperature",
      [-1, 1e-4, 101, "1", Number.NaN, null],
      /temperature must be 0 for greedy, or a number in 0.001..100/,
    ],
    ["topK", [-1, 1.5, "40", Number.NaN, 2 ** 31], /topK must be an integer in 0\.\./],
    ["topP", [-0.1, 1.1, "1", Number.NaN], /topP must be a number in 0\.\.1/],
    ["minP", [-0.1, 1.1, true], /minP must be a number in 0\.\.1/],
    ["repetitionPenalty", [0, -1, 11, Number.NaN], /repetitionPenalty must be a number in 0\.1\.\.10/],
    ["presencePenalty", [-2.1, 2.1, "0"], /presencePenalty must be a number in -2\.\.2/],
    ["frequencyPenalty", [-2.1, 2.1, []], /frequencyPenalty must be a number in -2\.\.2/],
    ["penaltyLastN", [-2, 0.5, "64"], /penaltyLastN must be an integer in -1\.\./],
    ["seed", [-1, 0.5, 2 ** 53, "1", 1n], /seed must be an integer in 0\.\./],
    ["logprobs", [-1, 21, 1.5, true], /logprobs must be an integer in 0\.\.20/],
    ["logitBias", [{ 10: 1 }, { x: 1 }, { "01": 1 }, new Map([[-1, 1]])], /keyed by token ids in 0\.\.9/],
    [
      "logitBias",
      [{ 1: 101 }, { 1: Infinity }, { 1: Number.NaN }, { 1: "1" }],
      /-Infinity, or a number in -100\.\.100/,
    ],
    ["logitBias", [[1], 3, null], /a Map or a record/],
  ];
  for (const [name, values, text] of refused) {
    for (const value of values) {
      throwsCode("invalid_option", text, () => resolveSampling({ [name]: value } as SamplingOptions, 10));
    }
  }
  throwsCode("invalid_option", /vocabSize/, () => resolveSampling({}, 0));
});

test.run();
