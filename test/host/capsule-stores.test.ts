/** Stores of capsules: put, get, replace, list, delete, on every driver that runs here. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createStorage } from "unstorage";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type CapsuleStore, capsuleStore, fileCapsules, memoryCapsules } from "../../bindings/node/capsule-stores.ts";
import { DEFAULT_MODEL, load, sameBits } from "../model/load.ts";
import { bytesOf, code, following, grown, restore, save } from "./capsule-case.ts";

const model = await load(DEFAULT_MODEL, { contextLength: 256, keys: "f32", values: "f32" });
const folder = mkdtempSync(join(tmpdir(), "capsules-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

async function roundTrip(store: CapsuleStore): Promise<void> {
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
}

test("memory", () => roundTrip(memoryCapsules()));

test("files; nothing is left of what was replaced or deleted", async () => {
  const base = join(folder, "store");
  await roundTrip(fileCapsules(base));
  const files = readdirSync(base, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.equal(
    files.map(({ name }) => name),
    [],
  );
});

test("a driver that keeps text only, as Redis does", async () => {
  const items = new Map<string, string>();
  const driver = {
    name: "text",
    hasItem: (key: string) => items.has(key),
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, value: string) => void items.set(key, value),
    removeItem: (key: string) => void items.delete(key),
    getKeys: () => [...items.keys()],
  };
  await roundTrip(capsuleStore(createStorage({ driver })));
  assert.is(items.size, 0);
});

test("a driver that fails", async () => {
  const fail = () => Promise.reject(new Error("no connection"));
  const driver = { name: "dead", hasItem: fail, getItem: fail, setItem: fail, removeItem: fail, getKeys: fail };
  const store = capsuleStore(createStorage({ driver: driver as never }));
  for (const run of [
    () => store.put("a", new Uint8Array(1)),
    () => store.get("a"),
    () => store.delete("a"),
    store.list,
  ]) {
    assert.is(await code(run), "source_unreadable");
  }
});

test("a store that holds something else, or lost a part", async () => {
  const base = join(folder, "bad");
  const store = fileCapsules(base);
  await store.put("a", new Uint8Array(10));
  const part = readdirSync(join(base, "a")).find((name) => name !== "index")!;
  rmSync(join(base, "a", part));
  assert.is(await code(async () => bytesOf((await store.get("a"))!)), "source_unreadable");
  for (const index of ["{}", "5", "null", "text", '{"generation":"../x","parts":1}']) {
    writeFileSync(join(base, "a", "index"), index);
    const found = await code(() => store.get("a"));
    assert.ok(found === "capsule_malformed" || index === "null", `${index}: ${found}`);
  }
});

const redis = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].find((path) => existsSync(path));
const client = await import("unstorage/drivers/redis").catch(() => undefined); // without ioredis there is none
if (redis === undefined || client === undefined) {
  console.log(`  SKIPPED: Redis (${redis === undefined ? "there is no redis-server" : "ioredis is not installed"})`);
} else {
  test("Redis", async () => {
    const socket = join(folder, "redis.sock");
    const args = ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder];
    const server = spawn(redis, args, { stdio: "ignore" });
    try {
      while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 20));
      const storage = createStorage({ driver: client.default({ path: socket, base: "capsules" } as never) });
      await roundTrip(capsuleStore(storage));
      await storage.dispose();
    } finally {
      server.kill();
    }
  });
}

test.run();
