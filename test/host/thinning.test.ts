/** Sessions that stream under a policy: what they hold, whatever comes, and what is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Status } from "../../assembly/memory/status.ts";
import type { ThimbleError } from "../../host/errors.ts";
import { boundedBudgets } from "../../host/head-budgets.ts";
import { Ledger, MOST_ENTRIES } from "../../host/ledger.ts";
import type { LoadOptions } from "../../host/load-engine.ts";
import type { Model } from "../../host/model.ts";
import { POLICY_NAMES, parsePolicy } from "../../host/policy.ts";
import { evictPrompt, heldPositions } from "../../host/prompt-end.ts";
import type { SessionOptions } from "../../host/token-turn.ts";
import { DEFAULT_MODEL, load, randomIds } from "../model/load.ts";
import { SMALL_MODEL } from "../model/small-model.ts";

const test = suite("streaming under a policy");

const greedy = { temperature: 0, ignoreEos: true } as const;
const IDS = randomIds(320, 4000, 5);
const RULE: SessionOptions = { overflow: "evict", keep: { slots: 192 }, sinks: 32, window: 64 };

/** What makes some of them cheap. */
const PARAMETERS: Readonly<Record<string, string>> = {
  compactor: ":chunk=24,sketch=8",
  leverage: ":sketch=8",
  "non-causal-attention": ":chunk=24",
};
/** One is refused, the others need files, which have tests of their own. */
const ELSEWHERE = ["simlayerkv", "q-filter", "duo-attention", "razor"];

const open = (policy: string, options: LoadOptions = {}): Promise<Model> =>
  load(SMALL_MODEL, { contextLength: 544, policy, ...options });

async function refusal(run: () => unknown): Promise<readonly [code: string, subject: string | undefined]> {
  try {
    await run();
    return ["none", undefined];
  } catch (error) {
    return [(error as ThimbleError).code, (error as ThimbleError).subject];
  }
}

const average = (heads: readonly (readonly number[])[]): number =>
  heads.reduce((sum, { length }) => sum + length, 0) / heads.length;

for (const name of POLICY_NAMES.filter((known) => !ELSEWHERE.includes(known))) {
  test(`${name}: never more than it may hold, sinks and window stay, turn by turn as in one turn`, async () => {
    await using model = await open(`${name}${PARAMETERS[name] ?? ""}`, { chunk: 48 });
    const { exports } = model.engine.runtime;
    const run = async (lengths: readonly number[]) => {
      const session = model.session(RULE);
      let at = 0;
      for (const length of lengths) {
        await session.complete({ ids: IDS.slice(at, at + length) }, { ...greedy, maxTokens: 0 });
        at += length;
        const heads = session.kept().flat();
        assert.ok(average(heads) <= 192, `${average(heads)}`);
        for (const held of heads) {
          const newest = Array.from({ length: 64 }, (_, i) => at - 64 + i);
          for (const position of [0, 31, ...newest]) assert.ok(held.includes(position), `${position}`);
          assert.ok(held.every((position, i) => i === 0 || held[i - 1]! < position));
        }
      }
      const { completionIds } = await session.complete({ ids: IDS.slice(at) }, { ...greedy, maxTokens: 8 });
      assert.equal([...new Set(session.ledger.map(({ policy }) => policy))], [name]);
      const kept = session.kept();
      const heads = kept.flat();
      const gone = heads.reduce((sum, { length }) => sum + session.stats.cachedTokens - length, 0);
      const bytes = (gone * model.stats.plan.page) / 32;
      assert.ok(Math.abs(session.stats.evictedBytes - bytes) <= session.ledger.length * 30, `${bytes}`);
      session.close();
      assert.is(exports.poolFreePages(), exports.poolPages(), "no page is lost");
      return { completionIds, kept };
    };
    assert.equal(await run([130, 100, 77]), await run([]));
  });
}

test("what stays is what the policy keeps of a prompt of that length, again and again", async () => {
  for (const name of ["key-diff", "snapkv:window=16", "h2o"]) {
    await using model = await open(name, { keys: "q8", values: "q8" });
    const { engine } = model;
    const { exports } = engine.runtime;
    const byHand = engine.openSession();
    assert.is(exports.sessionEvict(byHand, 17, 1, 2), Status.OK);
    exports.observeRows(byHand, 0);
    for (let at = 0; at < IDS.length - 1; ) {
      const length = exports.sessionSlots(byHand);
      if (length === 192) evictPrompt(engine, byHand, { keep: { slots: 128 }, sinks: 32, window: 64, most: 448 });
      const rows = IDS.slice(at, Math.min(IDS.length - 1, at + 32));
      model.forward(rows.map((input, i) => ({ session: byHand, input, position: at + i })));
      at += rows.length;
    }
    const session = model.session(RULE);
    await session.complete({ ids: IDS.slice(0, -1) }, { ...greedy, maxTokens: 0 });
    const held = heldPositions(engine, byHand).map((positions) => Array.from(positions));
    assert.equal(session.kept().flat(), held, name);
    exports.sessionClose(byHand);
    session.close();
  }
});

test("a turn that is aborted after some has gone is computed again, and gives the same tokens", async () => {
  for (const name of ["snapkv:window=16", "kvzip", "expected-attention"]) {
    await using model = await open(name);
    const straight = model.session(RULE);
    await straight.complete({ ids: IDS.slice(0, 100) }, { ...greedy, maxTokens: 0 });
    const expected = await straight.complete({ ids: IDS.slice(100) }, { ...greedy, maxTokens: 6 });
    const session = model.session(RULE);
    await session.complete({ ids: IDS.slice(0, 100) }, { ...greedy, maxTokens: 0 });
    const stop = new AbortController();
    const onPrefill = (done: number): void => {
      if (done > 200) stop.abort();
    };
    const [code] = await refusal(() =>
      session.complete({ ids: IDS.slice(100) }, { ...greedy, maxTokens: 6, signal: stop.signal, onPrefill }),
    );
    assert.is.not(code, "none");
    assert.equal([session.stats.cachedTokens, session.ledger], [0, []], "nothing is computed any more, nothing gone");
    const again = await session.complete({ ids: IDS.slice(100) }, { ...greedy, maxTokens: 6 });
    assert.equal(again.completionIds, expected.completionIds, name);
    assert.equal(session.kept(), straight.kept());
  }
});

test("where memory has no more, a session makes do with what it has", async () => {
  const options = { contextLength: 1056, policy: "key-diff", keys: "q8", values: "q8" } as const;
  await using roomy = await load(DEFAULT_MODEL, { ...options, contextLength: 416 });
  const budget = roomy.stats.plan.total + (1 << 19);
  await using model = await load(DEFAULT_MODEL, { ...options, budget: roomy.stats.plan.total + (1 << 20) }).catch(() =>
    load(DEFAULT_MODEL, { ...options, contextLength: 416, budget }),
  );
  const session = model.session({ overflow: "evict" });
  await session.complete({ ids: [...IDS, ...IDS, ...IDS] }, { ...greedy, maxTokens: 20 });
  assert.ok(session.stats.evictedTokens > 0);
  assert.ok(model.stats.peakBytes <= model.stats.budget!, `${model.stats.peakBytes}`);
});

test("pins stay; where they leave nothing to choose from the turn is refused before anything is computed", async () => {
  await using model = await open("key-norm");
  const session = model.session({ ...RULE, keep: { slots: 256 } });
  session.pin({ first: 70, end: 90 });
  await session.complete({ ids: IDS }, { ...greedy, maxTokens: 0 });
  for (const held of session.kept().flat()) for (let p = 70; p < 90; ++p) assert.ok(held.includes(p), `${p}`);
  const other = model.session(RULE);
  other.pin({ first: 40, end: 140 });
  assert.equal(await refusal(() => other.complete({ ids: IDS }, greedy)), ["context_length_exceeded", undefined]);
  assert.is(other.stats.cachedTokens, 0);
});

test("heads of two kinds: the ones that stream hold few, the others share what is left", () => {
  const spec = parsePolicy("razor:sinks=4,recent=60,buffer=0");
  assert.equal(boundedBudgets(spec, [0.9, 0.1, 0.8, 0.2], 256), [448, 64, 448, 64]);
  assert.equal(
    boundedBudgets(spec, [0.9, 0.1, Number.NaN, 0.2], 256),
    [640, 64, 640, 64].map((n, i) => (i === 2 ? 640 : n)),
  );
  const quarter = parsePolicy("razor:sinks=4,recent=60,buffer=0,heads=0.25");
  assert.equal(boundedBudgets(quarter, [0.9, 0.1, 0.8, 0.2], 256), [320, 64, 320, 320]);
});

test("a ledger of a long life is bounded; what its entries cover and weigh stays", () => {
  const ledger = new Ledger();
  for (let i = 0; i < 3 * MOST_ENTRIES; ++i)
    ledger.add([{ first: 2 * i, end: 2 * i + 1, heads: 2, bytes: 10 }], i, i, "p");
  assert.ok(ledger.dated.length <= MOST_ENTRIES);
  assert.is(ledger.added, 3 * MOST_ENTRIES);
  assert.is(ledger.totals.bytes, 30 * MOST_ENTRIES);
  assert.equal([ledger.dated[0]!.first, ledger.dated.at(-1)!.end], [0, 6 * MOST_ENTRIES - 1]);
});

test("refused by name, before anything is computed", async () => {
  await using lazy = await open("simlayerkv");
  const run = (model: Model, rule: SessionOptions) => () => model.session(rule).complete({ ids: IDS }, greedy);
  assert.equal(await refusal(run(lazy, RULE)), ["invalid_option", "overflow"]);
  await using model = await open("key-norm");
  assert.equal(await refusal(run(model, { ...RULE, window: 160 })), ["invalid_option", "keep"]);
  await using small = await open("kvzip", { contextLength: 416 });
  assert.equal(await refusal(run(small, { overflow: "evict" })), ["invalid_option", "keep"]);
});

test.run();
