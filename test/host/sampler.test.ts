import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createRandom } from "../../host/random.ts";
import { createSampler } from "../../host/sampler.ts";
import { resolveSampling, type SamplingOptions } from "../../host/sampling-options.ts";
import { logSoftmaxRef, mockKernels } from "../oracle/sampling.ts";
import { ALMOST_ONE, choose, GREEDY, maskOf, PLAIN, type Setting, throwsCode } from "./draw.ts";

/** Probabilities 1/2, 1/4, 1/8, 1/8. */
const HALVES = [0.5, 0.25, 0.125, 0.125].map(Math.log);

/** The tokens that some random number chooses, ascending. */
function reachable(logits: readonly number[], options: SamplingOptions, at?: Setting): number[] {
  const numbers = [...Array.from({ length: 400 }, (_, i) => i / 400), ALMOST_ONE];
  return [...new Set(choose(numbers, logits, options, at))].sort((a, b) => a - b);
}

const greedy = (logits: readonly number[], options: SamplingOptions, history: readonly number[] = []) =>
  choose([0], logits, { ...GREEDY, ...options }, { history })[0];

const test = suite("sampler");

test("greedy: the highest logit, the lowest id of equals, no random number taken", () => {
  assert.is(greedy([1, 3, 2], {}), 1);
  assert.is(greedy([1, 3, 3, 3], {}), 1);
  assert.is(greedy([-Infinity, -5, -5], {}), 1);
  assert.is(greedy([-0, 0], {}), 0);
  const sampler = createSampler(resolveSampling(GREEDY, 2), mockKernels(2));
  const before = sampler.random.state();
  sampler.sample(Float32Array.of(1, 2), []);
  assert.equal(sampler.random.state(), before);
});

test("one random number a token, whatever the candidates", () => {
  for (const options of [PLAIN, { ...PLAIN, topK: 1 }, { ...PLAIN, topP: 0 }, { ...PLAIN, minP: 1 }]) {
    const sampler = createSampler(resolveSampling(options, 3), mockKernels(3));
    const twin = createRandom(1);
    sampler.sample(Float32Array.of(5, 2, 1), []);
    twin.next();
    assert.equal(sampler.random.state(), twin.state());
  }
});

test("temperature flattens or sharpens, and comes last", () => {
  const drawn = (temperature: number) => choose([0.55], HALVES, { ...PLAIN, temperature })[0];
  assert.equal([drawn(0.5), drawn(1), drawn(3)], [0, 1, 1]); // the first token's share: 0.73, 0.5, 0.33
  assert.is(choose([0.99], [0, 1], { ...PLAIN, temperature: 0.01 })[0], 1);
  assert.equal(reachable(HALVES, { ...PLAIN, topP: 0.7, temperature: 50 }), [0, 1]);
  assert.equal(reachable(HALVES, { ...PLAIN, minP: 0.3, temperature: 50 }), [0, 1]);
});

test("topK keeps the k best, the lower ids of equals", () => {
  assert.equal(reachable(HALVES, PLAIN), [0, 1, 2, 3]);
  assert.equal(reachable(HALVES, { ...PLAIN, topK: 2 }), [0, 1]);
  assert.equal(reachable([1, 0, 2, 1, 1], { ...PLAIN, topK: 3 }), [0, 2, 3]);
  assert.equal(reachable([0, 0, 0, 0, 0, 0], { ...PLAIN, topK: 4 }), [0, 1, 2, 3]);
});

test("topP keeps the shortest run that reaches p, of what topK left", () => {
  assert.equal(reachable(HALVES, { ...PLAIN, topP: 0.7 }), [0, 1]);
  assert.equal(reachable(HALVES, { ...PLAIN, topP: 0.8 }), [0, 1, 2]);
  assert.equal(reachable(HALVES, { ...PLAIN, topP: 0 }), [0]);
  assert.equal(reachable(HALVES, { ...PLAIN, topP: 0.6 }), [0, 1]);
  assert.equal(reachable(HALVES, { ...PLAIN, topP: 0.6, topK: 2 }), [0]); // 2/3 of what is left
  assert.equal(reachable(HALVES, { ...PLAIN, topP: 0, topK: 2 }), [0]);
  // Exactly p is enough.
  assert.equal(reachable([1, 1, 1, 1], { ...PLAIN, topP: 0.5 }), [0, 1]);
  assert.equal(reachable([1, 1, 1, 1, 1], { ...PLAIN, topP: 0.5, topK: 4 }), [0, 1]);
});

test("minP keeps what is probable enough relative to the best", () => {
  assert.equal(reachable(HALVES, { ...PLAIN, minP: 0.3 }), [0, 1]);
  assert.equal(reachable(HALVES, { ...PLAIN, minP: 0.2 }), [0, 1, 2, 3]);
  assert.equal(reachable([1, 2, 2], { ...PLAIN, minP: 1 }), [1, 2]);
  assert.equal(reachable([1, 2, 2], { ...PLAIN, minP: 1, topK: 2 }), [1, 2]);
  assert.equal(reachable([1, 2, 2, 0], { ...PLAIN, minP: 1, topP: 0.9 }), [1, 2]);
  assert.equal(reachable(HALVES, { ...PLAIN, minP: 0.3, topK: 3 }), [0, 1]);
  assert.equal(reachable(HALVES, { ...PLAIN, minP: 0.3, topP: 0.9 }), [0, 1]);
});

test("repetitionPenalty divides positive logits and multiplies the others", () => {
  assert.equal([greedy([2, 1.5], {}, [0]), greedy([2, 1.5], { repetitionPenalty: 2 }, [0])], [0, 1]);
  assert.equal([greedy([-1, -1.5], {}, [0]), greedy([-1, -1.5], { repetitionPenalty: 2 }, [0])], [0, 1]);
  assert.is(greedy([2, 1.5], { repetitionPenalty: 2 }, [1]), 0);
  assert.is(greedy([4, 1.5], { repetitionPenalty: 2 }, [0, 0, 0]), 0, "once, however often the token occurred");
});

test("presencePenalty counts once, frequencyPenalty each time", () => {
  assert.is(greedy([1, 0.5], { presencePenalty: 0.6 }, [0]), 1);
  assert.is(greedy([1, 0.5], { presencePenalty: 0.4 }, [0, 0, 0]), 0);
  assert.is(greedy([1, 0.5], { frequencyPenalty: 0.2 }, [0, 0]), 0);
  assert.is(greedy([1, 0.5], { frequencyPenalty: 0.2 }, [0, 0, 0]), 1);
});

test("penaltyLastN bounds what is recent; other ids in the history are harmless", () => {
  const penalised = (penaltyLastN: number | undefined, history: readonly number[]) =>
    greedy([2, 1.5, 0], { repetitionPenalty: 2, penaltyLastN }, history) === 1;
  const far = [0, ...new Array<number>(64).fill(2)];
  assert.equal(
    [penalised(undefined, far), penalised(-1, far), penalised(65, far), penalised(0, far)],
    [false, true, true, false],
  );
  assert.ok(penalised(undefined, far.slice(0, 64)));
  assert.equal([penalised(1, [0, 2]), penalised(2, [0, 2]), penalised(99, [0])], [false, true, true]);
  assert.ok(penalised(-1, [-1, 3, 1e9, 0]));
});

test("penalties are counted anew for each token: a sampler has no memory of another history", () => {
  const sampler = createSampler(resolveSampling({ ...GREEDY, frequencyPenalty: 1 }, 2), mockKernels(2));
  const histories = [[0, 0], [], [0], [1]];
  assert.equal(
    histories.map((history) => sampler.sample(Float32Array.of(1, 0.5), history).id),
    [1, 0, 1, 0],
  );
});

test("logitBias comes first: a Map or a record, -Infinity bans", () => {
  assert.is(greedy([1, 0], { logitBias: { 1: 1.5 } }), 1);
  assert.is(greedy([1, 0], { logitBias: new Map([[0, -1.5]]) }), 1);
  assert.equal(reachable(HALVES, { ...PLAIN, logitBias: { 0: -Infinity, 2: -Infinity } }), [1, 3]);
  // -1 + 2 is positive when the penalty halves it; the other way round it would be 0.
  assert.is(greedy([-1, 0.25], { logitBias: { 0: 2 }, repetitionPenalty: 2 }, [0]), 0);
});

test("the mask decides which tokens exist, at every word border and for every path", () => {
  const logits = Array.from({ length: 100 }, (_, id) => -id / 50);
  for (const allowed of [[0], [31, 32], [63, 64, 99], [5, 95, 96], Array.from({ length: 99 }, (_, id) => id)]) {
    const mask = maskOf(logits.map((_, id) => allowed.includes(id)));
    mask[3]! |= 0xfffffff0; // bits past the vocabulary mean nothing
    for (const options of [PLAIN, { ...PLAIN, topK: 99 }, { ...PLAIN, topP: 0.9999 }, { ...PLAIN, minP: 0.0001 }]) {
      assert.equal(reachable(logits, options, { mask }), allowed);
    }
    assert.equal(choose([0], logits, GREEDY, { mask }), [allowed[0]]);
  }
  throwsCode("invalid_option", /needs 4 words/, () => choose([0], logits, PLAIN, { mask: new Uint32Array(3) }));
});

test("no token left: a typed error that says why", () => {
  for (const options of [GREEDY, PLAIN, { ...PLAIN, topK: 2 }, { ...PLAIN, topP: 0.5 }, { ...PLAIN, minP: 0.5 }]) {
    throwsCode("invalid_option", /mask and the logit bias/, () =>
      choose([0], [1, 2, 3], options, { mask: maskOf([false]) }),
    );
    const all = { 0: -Infinity, 1: -Infinity };
    throwsCode("invalid_option", /mask and the logit bias/, () => choose([0], [1, 2], { ...options, logitBias: all }));
    throwsCode("internal", /every logit/, () => choose([0], [-Infinity, -Infinity], options));
  }
});

test("-Infinity is never chosen, by any path, at either end of the random range", () => {
  const logits = [-Infinity, -Infinity, 3, -Infinity, -80, -Infinity];
  for (const options of [PLAIN, { ...PLAIN, topK: 5 }, { ...PLAIN, topP: 0.999999 }, { ...PLAIN, minP: 1e-30 }]) {
    for (const temperature of [1, 100]) {
      assert.equal(choose([0], logits, { ...options, temperature }), [2]);
      assert.ok([2, 4].includes(choose([ALMOST_ONE], logits, { ...options, temperature })[0]!));
    }
  }
});

test("NaN and Infinity are a defect, not a choice", () => {
  for (const wrong of [Number.NaN, Infinity]) {
    for (const options of [GREEDY, PLAIN, { ...PLAIN, topK: 1 }, { ...GREEDY, logprobs: 0 }]) {
      throwsCode("internal", /token 1/, () => choose([0], [5, wrong, 7], options));
    }
  }
  throwsCode("internal", /2 logits/, () =>
    createSampler(resolveSampling(PLAIN, 3), mockKernels(3)).sample(new Float32Array(2), []),
  );
});

test("a vocabulary of one token", () => {
  for (const options of [{}, GREEDY, PLAIN, { ...PLAIN, topP: 0.1 }, { ...PLAIN, minP: 1 }, { topK: 1 }]) {
    assert.equal(choose([0, 0.5, ALMOST_ONE], [-3], options), [0, 0, 0]);
  }
});

test("the same seed gives the same tokens, another seed others, a restored state the same again", () => {
  const run = (seed: number) => {
    const sampler = createSampler(resolveSampling({ ...PLAIN, seed }, 4), mockKernels(4));
    return { sampler, ids: Array.from({ length: 50 }, () => sampler.sample(Float32Array.from(HALVES), []).id) };
  };
  assert.equal(run(5).ids, run(5).ids);
  assert.not.equal(run(5).ids, run(6).ids);
  const { sampler, ids } = run(7);
  sampler.random.restore(createRandom(7).state());
  assert.equal(
    ids,
    Array.from({ length: 50 }, () => sampler.sample(Float32Array.from(HALVES), []).id),
  );
});

test("logprobs: of the raw logits, whatever the options do to them", () => {
  const logits = [1, 4, 2, 4, -Infinity, 3];
  const expected = logSoftmaxRef(logits);
  const sample = (options: SamplingOptions, mask?: Uint32Array) =>
    createSampler(resolveSampling({ ...GREEDY, ...options }, 6), mockKernels(6)).sample(
      Float32Array.from(logits),
      [1],
      mask,
    );
  const near = (a: number | undefined, b: number | undefined) =>
    assert.ok(Math.abs(a! - b!) < 1e-6, `${a} against ${b}`);

  assert.equal(Object.keys(sample({})), ["id"]);
  assert.equal(sample({ logprobs: 0 }).top, []);
  near(sample({ logprobs: 0 }).logprob, expected[1]);
  const changed = { temperature: 3, topK: 1, logitBias: { 2: 9, 3: -9 }, frequencyPenalty: 2, repetitionPenalty: 3 };
  const biased = sample({ ...changed, logprobs: 4 }, maskOf([true, false, true, true, true, true]));
  assert.is(biased.id, 2);
  near(biased.logprob, expected[2]);
  assert.equal(
    biased.top!.map(({ id }) => id),
    [1, 3, 5, 2],
  );
  for (const { id, logprob } of biased.top!) near(logprob, expected[id]);
  assert.equal(
    sample({ logprobs: 20 }).top!.map(({ id }) => id),
    [1, 3, 5, 2, 0],
  );
});

test.run();
