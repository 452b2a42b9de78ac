/** Sessions of one tenant begin with what another has computed; those of different tenants, or of none, never do. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ThimbleError } from "../../host/errors.ts";
import type { Model } from "../../host/model.ts";
import type { Session } from "../../host/session.ts";
import { load } from "../model/load.ts";
import { SMALL_MODEL } from "../model/small-model.ts";

const test = suite("tenants");

const SYSTEM = {
  role: "system",
  content:
    "You tell short stories about animals that live in the wood, and never lie. Each has a name, a home and a friend, and at the end all of them are happy again and go to sleep.",
} as const;
const greedy = { temperature: 0, maxTokens: 12 } as const;

async function ask(session: Session, question: string) {
  const { completionIds, usage } = await session.complete([SYSTEM, { role: "user", content: question }], greedy);
  return { completionIds, reused: usage.reusedTokens };
}

/** Answers that sessions without a tenant give. */
async function alone(model: Model, questions: readonly string[]): Promise<(readonly number[])[]> {
  const answers: (readonly number[])[] = [];
  for (const question of questions) {
    const session = model.session();
    answers.push((await ask(session, question)).completionIds);
    session.close();
  }
  return answers;
}

const QUESTIONS = ["Tell me of a fox.", "Tell me of a bear that sleeps.", "Why?"];

test("a tenant's next session computes only what its others have not; its tokens are those of a session alone", async () => {
  for (const form of ["f32", "q8", "q4"] as const) {
    await using model = await load(SMALL_MODEL, { contextLength: 256, keys: form, values: form });
    const expected = await alone(model, QUESTIONS);
    const open = QUESTIONS.map(() => model.session({ tenant: "a" }));
    for (const [i, session] of open.entries()) {
      const { completionIds, reused } = await ask(session, QUESTIONS[i]!);
      assert.equal(completionIds, expected[i], `${form}, question ${i}`);
      if (i === 0) assert.is(reused, 0);
      else if (form === "f32") assert.ok(reused >= 20, `${reused}`);
      else if (form === "q8") assert.ok(reused > 0 && reused % 32 === 0, `${reused}`);
    }
    for (const session of open) session.close();
    const { exports } = model.engine.runtime;
    assert.is(exports.poolFreePages(), exports.poolPages());
  }
});

test("nothing passes between tenants, nor to or from a session of none, nor out of one that is closed or busy", async () => {
  await using model = await load(SMALL_MODEL, { contextLength: 256 });
  const question = QUESTIONS[0]!;
  const first = model.session({ tenant: "a" });
  await ask(first, question);
  assert.is((await ask(model.session({ tenant: "b" }), question)).reused, 0);
  assert.is((await ask(model.session(), question)).reused, 0);
  const running = first.generate(" More", greedy)[Symbol.asyncIterator]();
  await running.next();
  assert.is((await ask(model.session({ tenant: "a" }), question)).reused, 0, "it is generating");
  await running.return!(undefined as never);
  first.close();
  const other = await load(SMALL_MODEL, { contextLength: 256 });
  const gone = other.session({ tenant: "a" });
  await ask(gone, question);
  gone.close();
  assert.is((await ask(other.session({ tenant: "a" }), question)).reused, 0, "it is closed");
  await other.close();
});

test("a restored session is of the tenant it is restored for, whatever it was saved as", async () => {
  await using model = await load(SMALL_MODEL, { contextLength: 256 });
  const first = model.session({ tenant: "a" });
  await ask(first, QUESTIONS[0]!);
  const capsule = new Uint8Array(await new Response(first.save()).arrayBuffer());
  first.close();
  const nobodys = await model.restore(capsule);
  assert.is(nobodys.tenant, undefined);
  const other = model.session({ tenant: "a" });
  assert.is((await ask(other, QUESTIONS[0]!)).reused, 0);
  other.close();
  const again = await model.restore(capsule, { tenant: "a" });
  assert.is(again.tenant, "a");
  assert.ok((await ask(model.session({ tenant: "a" }), QUESTIONS[0]!)).reused > 0);
  const error = await model.restore(capsule, { tenant: "" }).catch((e: ThimbleError) => e);
  assert.is((error as ThimbleError).code, "invalid_option");
});

test("a session with tokens of its own keeps them where they are more; a fork is of the same tenant", async () => {
  await using model = await load(SMALL_MODEL, { contextLength: 256 });
  const [first, second] = [model.session({ tenant: "a" }), model.session({ tenant: "a" })];
  const prompt = Array.from({ length: 100 }, (_, i) => 300 + i);
  await first.complete({ ids: prompt }, greedy);
  await second.complete({ ids: [...prompt, 5, 6] }, greedy);
  const result = await second.complete({ ids: [7] }, greedy);
  assert.is(result.usage.reusedTokens, 113, "all but the last token of the turn before, and the new one");
  const fork = first.fork();
  first.close();
  assert.is(fork.tenant, "a");
  const third = await model.session({ tenant: "a" }).complete({ ids: [...prompt, 9, 9] }, greedy);
  assert.is(third.usage.reusedTokens, 100, "its page is still open");
});

test("where all queries of a prompt choose what stays it is computed whole: what stays is what would alone", async () => {
  const ids = Array.from({ length: 100 }, (_, i) => 300 + i);
  for (const policy of ["expected-attention", "observed-attention"]) {
    await using model = await load(SMALL_MODEL, { contextLength: 256, policy });
    const single = model.session({ keep: { ratio: 0.5 } });
    await single.complete({ ids }, { maxTokens: 0 });
    await model.session({ tenant: "a" }).complete({ ids }, { maxTokens: 0 });
    const session = model.session({ tenant: "a", keep: { ratio: 0.5 } });
    const { usage } = await session.complete({ ids }, { maxTokens: 0 });
    assert.is(usage.reusedTokens, 0, policy);
    assert.equal(session.kept(), single.kept(), policy);
  }
});

test("a tenant must be a text", async () => {
  await using model = await load(SMALL_MODEL, { contextLength: 64 });
  for (const tenant of ["", 7, null]) {
    assert.throws(
      () => model.session({ tenant } as never),
      (error: ThimbleError) => error.code === "invalid_option" && error.subject === "tenant",
    );
  }
});

test.run();
