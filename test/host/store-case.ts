/** What every store of capsules must do, whatever its driver. */
import * as assert from "uvu/assert";
import { type CapsuleStore, keepSession } from "../../bindings/node/capsule-stores.ts";
import { DEFAULT_MODEL, load, sameBits } from "../model/load.ts";
import { bytesOf, code, following, grown, restore, save } from "./capsule-case.ts";

const model = await load(DEFAULT_MODEL, { contextLength: 256, keys: "f32", values: "f32" });

/** An empty store is filled, read, changed and emptied. */
export async function roundTrip(store: CapsuleStore): Promise<void> {
  assert.equal(await store.list(), []);
  assert.is(await store.get("none"), undefined);
  await store.delete("none");
  const session = await grown(model, 200);
  const capsule = await save(model, session);
  assert.ok(capsule.length > 1 << 20, "more than one part");
  await store.put("b.1", new Blob([capsule]).stream());
  await store.put("a", capsule);
  await store.put("a", capsule.subarray(0, 1000));
  await store.put("a", capsule);
  assert.equal(await store.list(), ["a", "b.1"]);
  const placed = await restore(model, await bytesOf((await store.get("b.1"))!));
  assert.ok(sameBits(following(model, placed, 5), following(model, session, 5)));
  (await model.restore((await store.get("a"))!)).close();
  placed.session.close();
  session.session.close();
  const failing = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new Uint8Array(3 << 20));
    },
    pull() {
      throw new Error("gone");
    },
  });
  await store.put("a", failing).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "gone"),
  );
  assert.equal(await bytesOf((await store.get("a"))!), capsule, "a put that fails leaves what was there");
  await store.delete("b.1");
  assert.equal(await store.list(), ["a"]);
  for (const name of ["", ".", "..", "../x", "a/b", "a:b", "a..b", "a.", "x".repeat(200), 5 as never]) {
    assert.is(await code(() => store.put(name, capsule)), "invalid_option", String(name));
    assert.is(await code(() => store.get(name)), "invalid_option", String(name));
  }
  await store.delete("a");
  assert.equal(await store.list(), []);
  assert.is(await store.get("a"), undefined);
  await keepsSessions(store);
  assert.equal(await store.list(), []);
}

/** A session saved again and again: what changed is kept behind what was there, until all of it is written anew. */
async function keepsSessions(store: CapsuleStore): Promise<void> {
  const key = new Uint8Array(32).fill(5);
  const session = model.session();
  const sizes: number[] = [];
  for (let turn = 0; turn < 5; ++turn) {
    await session.complete({ ids: [1 + turn, 2, 3] }, { maxTokens: 4, temperature: 0 });
    await keepSession(store, "ada", session, { key, links: 3 });
    assert.is(session.saved!.links, [1, 2, 3, 1, 2][turn]);
    sizes.push((await bytesOf((await store.get("ada"))!)).length);
    const restored = await model.restore((await store.get("ada"))!, { key });
    assert.equal([restored.tokens, restored.saved], [session.tokens, session.saved]);
    restored.close();
  }
  assert.ok(sizes[0]! < sizes[1]! && sizes[1]! < sizes[2]! && sizes[3]! < sizes[2]!, `${sizes}`);
  // Restored elsewhere it goes on there; here the store has moved on, and all of it is written.
  const other = await model.restore((await store.get("ada"))!, { key });
  await other.complete({ ids: [9] }, { maxTokens: 2 });
  await keepSession(store, "ada", other, { key });
  assert.is(other.saved!.links, 3);
  const late = await bytesOf(session.save({ key, since: session.saved!.id }));
  assert.is(await code(() => store.put("ada", late)), "capsule_mismatch");
  assert.is(await code(() => store.put("new", late)), "capsule_mismatch");
  const next = await bytesOf(other.save({ key, since: other.saved!.id }));
  const before = await bytesOf((await store.get("ada"))!);
  assert.is(await code(() => store.put("ada", next.subarray(0, next.length - 1))), "capsule_malformed");
  assert.is(await code(() => store.put("ada", new Uint8Array(Buffer.concat([next, next])))), "capsule_malformed");
  assert.equal(await bytesOf((await store.get("ada"))!), before, "what is refused leaves what was there");
  await session.complete({ ids: [4] }, { maxTokens: 2 });
  await keepSession(store, "ada", session, { key });
  assert.is(session.saved!.links, 1);
  (await model.restore((await store.get("ada"))!, { key })).close();
  session.close();
  other.close();
  await store.delete("ada");
}
