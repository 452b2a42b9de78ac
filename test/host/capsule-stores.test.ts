/** Stores of capsules: put, get, replace, list, delete, on every driver that runs here. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createStorage } from "unstorage";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { capsuleStore, fileCapsules, memoryCapsules } from "../../bindings/node/capsule-stores.ts";
import { bytesOf, code } from "./capsule-case.ts";
import { roundTrip } from "./store-case.ts";

const folder = mkdtempSync(join(tmpdir(), "capsules-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

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

test("a storage of one's own, which gives back what it was given", async () => {
  const items = new Map<string, unknown>();
  const get = async (key: string) => items.get(key);
  const set = async (key: string, value: unknown) => void items.set(key, value);
  const removeItem = async (key: string) => void items.delete(key);
  const getKeys = async (base = "") => [...items.keys()].filter((key) => key.startsWith(base));
  const store = capsuleStore({ getItem: get, setItem: set, getItemRaw: get, setItemRaw: set, removeItem, getKeys });
  await roundTrip(store);
  assert.is(items.size, 0);
  for (const index of ["no JSON", "null", "7", '{"links":[]}']) {
    items.set("a:index", index);
    assert.is(await code(() => store.get("a")), "capsule_malformed", index);
  }
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
  for (const index of [
    "{}",
    "5",
    "null",
    "text",
    '{"links":[]}',
    '{"links":[{"generation":"../x","parts":1,"id":""}]}',
  ]) {
    writeFileSync(join(base, "a", "index"), index);
    const found = await code(() => store.get("a"));
    assert.ok(found === "capsule_malformed" || index === "null", `${index}: ${found}`);
  }
});

test.run();
