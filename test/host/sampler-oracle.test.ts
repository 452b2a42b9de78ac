import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ThimbleError } from "../../host/errors.ts";
import { createRandom } from "../../host/random.ts";
import { createSampler } from "../../host/sampler.ts";
import { resolveSampling, type SamplingOptions } from "../../host/sampling-options.ts";
import { candidatesRef, mockKernels } from "../oracle/sampling.ts";
import { ALMOST_ONE, choose, maskOf, PLAIN, type Setting } from "./draw.ts";

/**
 * Holds the sampler to the oracle: for every candidate, in the oracle's order, random numbers at both ends and in the
 * middle of its interval must choose it. So the set, the order and the probabilities agree within 1e-6. False when a
 * cut of the oracle itself is nearer than that to going the other way, and nothing was compared.
 */
function agrees(logits: readonly number[], options: SamplingOptions, at: Setting = {}): boolean {
  const resolved = resolveSampling(options, logits.length);
  const expected = candidatesRef(Float32Array.from(logits), resolved, at.history, at.mask);
  if (expected.margin < 1e-6) return false;
  const numbers: number[] = [];
  const ids: number[] = [];
  let below = 0;
  const stride = Math.ceil(expected.ids.length / 100);
  for (const [i, id] of expected.ids.entries()) {
    const share = expected.probabilities[i]!;
    if (share > 4e-6 && (i % stride === 0 || i > expected.ids.length - 5)) {
      numbers.push(below + 1e-6, below + share / 2, below + share - 1e-6);
      ids.push(id, id, id);
    }
    below += share;
  }
  assert.equal(choose(numbers, logits, options, at), ids, JSON.stringify({ logits, options, at }).slice(0, 2000));
  return true;
}

const test = suite("sampler against its oracle");

test("any options, logits, history and mask: the oracle's candidates in its order with its probabilities", () => {
  const logit = fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: -20, max: 20 }).map((quarter) => quarter / 4) },
    { weight: 4, arbitrary: fc.double({ min: -12, max: 12, noNaN: true }).map(Math.fround) },
    { weight: 1, arbitrary: fc.constant(-Infinity) },
  );
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  const cases = fc.array(logit, { minLength: 1, maxLength: 90 }).chain((logits) => {
    const id = fc.integer({ min: 0, max: logits.length - 1 });
    const bias = fc.oneof(fc.constant(-Infinity), fc.double({ min: -4, max: 4, noNaN: true }));
    return fc.record({
      logits: fc.constant(logits),
      history: fc.array(fc.integer({ min: -1, max: logits.length + 1 }), { maxLength: 40 }),
      allowed: fc.option(fc.array(fc.boolean(), { minLength: logits.length, maxLength: logits.length })),
      options: fc.record({
        temperature: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0.1, max: 3, noNaN: true })),
        topK: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 100 })),
        topP: fc.oneof(fc.constant(1), share),
        minP: fc.oneof(fc.constant(0), share),
        repetitionPenalty: fc.constantFrom(1, 0.8, 1.3),
        presencePenalty: fc.constantFrom(0, 0.75, -0.5),
        frequencyPenalty: fc.constantFrom(0, 0.3, -0.1),
        penaltyLastN: fc.integer({ min: -1, max: 45 }),
        logitBias: fc.array(fc.tuple(id, bias), { maxLength: 5 }).map((entries) => new Map(entries)),
      }),
    });
  });
  let compared = 0;
  const property = fc.property(cases, ({ logits, history, allowed, options }) => {
    const at = allowed === null ? { history } : { history, mask: maskOf(allowed) };
    const resolved = resolveSampling(options, logits.length);
    if (candidatesRef(Float32Array.from(logits), resolved, history, at.mask).ids.length > 0) {
      compared += agrees(logits, options, at) ? 1 : 0;
    } else {
      assert.throws(
        () => choose([0], logits, options, at),
        (error: unknown) => error instanceof ThimbleError,
      );
    }
  });
  fc.assert(property, { seed: 3, numRuns: 600 });
  assert.ok(compared > 400, `only ${compared} of 600 were far enough from a border to compare`);
});

test("topP alone finds a nucleus of any size: floors of 1/256, 1/4096, 1/65536 of the total, and none", () => {
  for (const nTokens of [1, 100, 300, 5000, 70000]) {
    const equal = new Array<number>(nTokens).fill(1);
    const last = Math.ceil(nTokens / 2) - 1;
    assert.equal(choose([0, ALMOST_ONE], equal, { ...PLAIN, topP: 0.5 }), [0, last], `${nTokens} equal tokens`);
    assert.equal(choose([0, ALMOST_ONE], equal, { ...PLAIN, topP: 0 }), [0, 0], `${nTokens} equal tokens, p 0`);
    assert.equal(choose([0, ALMOST_ONE], [...equal, 1.001], { ...PLAIN, topP: 0 }), [nTokens, nTokens]);
    if (nTokens > 5000) continue; // among so many different ones some cut is always too near to compare
    const random = createRandom(nTokens);
    const uneven = equal.map(() => random.next() * 6);
    for (const minP of [0, 0.01, 0.4]) {
      assert.ok(agrees(uneven, { ...PLAIN, topP: 0.97, minP }), `${nTokens} tokens, min-p ${minP}`);
    }
  }
});

test("topP alone looks under a floor that lies above the min-p cut", () => {
  // The total is 4, the first floor 1/64, the cut 1/100, and most of the nucleus lies between them.
  const logits = [0, ...new Array<number>(250).fill(Math.log(0.012))];
  assert.equal(choose([0, ALMOST_ONE], logits, { ...PLAIN, topP: 0.7, minP: 0.01 }), [0, 150]);
  assert.equal(choose([0, ALMOST_ONE], logits, { ...PLAIN, topP: 0.7, minP: 0.013 }), [0, 0]);
});

test("frequencies of 20,000 draws fit the probabilities", () => {
  const logits = [0.3, -1, 2, 1.1, -0.4, 0];
  for (const options of [
    PLAIN,
    { ...PLAIN, temperature: 1.7 },
    { ...PLAIN, topK: 4 },
    { ...PLAIN, topP: 0.9, minP: 0.1 },
  ]) {
    const resolved = resolveSampling(options, logits.length);
    const sampler = createSampler(resolved, mockKernels(logits.length));
    const counts = new Array<number>(logits.length).fill(0);
    for (let i = 0; i < 20000; ++i) counts[sampler.sample(Float32Array.from(logits), []).id]! += 1;
    const { ids, probabilities } = candidatesRef(Float32Array.from(logits), resolved);
    const chiSquare = ids.reduce((sum, id, i) => {
      const expected = probabilities[i]! * 20000;
      return sum + (counts[id]! - expected) ** 2 / expected;
    }, 0);
    assert.is(
      ids.reduce((sum, id) => sum + counts[id]!, 0),
      20000,
      "only candidates are drawn",
    );
    assert.ok(chiSquare < 20.5, `chi-square ${chiSquare}; 0.1% point for 5 degrees of freedom: 20.5`);
  }
});

test.run();
