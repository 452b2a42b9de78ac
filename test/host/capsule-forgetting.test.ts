/** Capsules of sessions that have forgotten: they go on with the same tokens, entries and rules, elsewhere too. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Session } from "../../host/session.ts";
import type { SessionOptions } from "../../host/token-turn.ts";
import { load, randomIds } from "../model/load.ts";
import { SMALL_MODEL } from "../model/small-model.ts";
import { bytesOf } from "./capsule-case.ts";

const test = suite("capsules of sessions that forget");

const PROMPT = randomIds(330, 4000, 5);
const greedy = { temperature: 0, ignoreEos: true } as const;

interface Way {
  readonly load: LoadOptions;
  readonly session: SessionOptions;
}

const EVICT: SessionOptions = { overflow: "evict", sinks: 64, window: 64 };
const WAYS: Record<string, Way> = {
  "evicting, f32": { load: { contextLength: 256, keys: "f32", values: "f32" }, session: EVICT },
  "evicting, q8": { load: { contextLength: 256 }, session: EVICT },
  "evicting, q4": { load: { contextLength: 256, keys: "q4", values: "q4" }, session: EVICT },
  "half a prompt, q8": { load: { contextLength: 512, policy: "key-diff" }, session: { keep: { ratio: 0.5 } } },
  "adaptive, q4": {
    load: { contextLength: 512, policy: "adakv:window=16", keys: "q4", values: "q3" },
    session: { keep: { slots: 150 }, sinks: 4, window: 30 },
  },
  "both, q4": {
    load: { contextLength: 320, policy: "key-norm", keys: "q4", values: "q4" },
    session: { ...EVICT, keep: { ratio: 0.3 } },
  },
  ...Object.fromEntries(
    ["streaming", "snapkv:window=16", "h2o", "expected-attention", "compactor:chunk=24,sketch=8", "kvzip"].map(
      (policy) => [
        `thinned by ${policy}`,
        {
          load: { contextLength: 640, policy, keys: "q8", values: "q4" },
          session: { ...EVICT, keep: { slots: 256 } },
        } as const,
      ],
    ),
  ),
};

/** What shows of a session. */
const faceOf = (session: Session) => ({
  tokens: session.tokens,
  kept: session.kept(),
  ledger: session.ledger,
  evicted: [session.stats.evictedTokens, session.stats.evictedBytes],
});

for (const [what, way] of Object.entries(WAYS)) {
  test(`${what}: saved, restored by another instance, and on: the same tokens, positions and entries`, async () => {
    await using model = await load(SMALL_MODEL, way.load);
    await using elsewhere = await load(SMALL_MODEL, { ...way.load, chunk: 7 });
    const session = model.session(way.session);
    session.pin({ first: 100, end: 102 });
    await session.complete({ ids: PROMPT.slice(0, 250) }, { ...greedy, maxTokens: 40 });
    const full = await bytesOf(session.save());
    await session.complete({ ids: PROMPT.slice(250) }, { ...greedy, maxTokens: 37 });
    assert.ok(session.stats.evictedTokens > 0);
    const since = await bytesOf(session.save({ since: session.saved!.id }));
    const whole = await bytesOf(session.save());
    const before = faceOf(session);
    const next = { ids: [5, 6, 7] };
    const expected = await session.complete(next, { ...greedy, maxTokens: 70 });
    for (const source of [whole, [full, since]]) {
      const restored = await elsewhere.restore(source);
      assert.equal(faceOf(restored), before);
      const { completionIds } = await restored.complete(next, { ...greedy, maxTokens: 70 });
      assert.equal(completionIds, expected.completionIds);
      assert.equal(faceOf(restored), faceOf(session));
      restored.close();
    }
    const { exports } = elsewhere.engine.runtime;
    assert.is(exports.poolFreePages(), exports.poolPages());
  });
}

test.run();
