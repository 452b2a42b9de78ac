/** What is on this machine, and taking it off again. */
import { mkdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { listModels, pull, removeModel, resolveModel } from "../../bindings/node/store/index.ts";
import { fails, Home, QUICK, someBytes } from "./home.ts";
import { COMMIT, HubServer, sha256 } from "./hub-server.ts";

const BYTES = someBytes(5000);
const OTHER = someBytes(7000, 2);
const NAME = "org/repo/model.gguf";

interface Context {
  hub: HubServer;
  home: Home;
}
const test = suite<Context>("manage");

test.before(async (context) => {
  context.hub = await HubServer.start();
});
test.before.each(async (context) => {
  context.hub.reset();
  context.home = await Home.make(context.hub.endpoint);
});
test.after.each(({ home }) => home.leave());
test.after(({ hub }) => hub.stop());

const states = async (verify = false): Promise<unknown[]> =>
  (await listModels({ verify })).map(({ name, bytes, state, from }) => [name, bytes, state, from]);

test("an empty machine has no models, and asking leaves nothing on it", async ({ home }) => {
  assert.equal(await listModels(), []);
  assert.is(await resolveModel(NAME), undefined);
  await fails(removeModel(NAME), "not_found", /not in the store/);
  assert.equal(await home.files(home.folder), []);
});

test("list: names that can be used, sizes, states, sources", async ({ hub, home }) => {
  hub.add(NAME, BYTES);
  hub.add("org/repo/folder/other.gguf", OTHER);
  const url = `${hub.bytesOrigin}/files/a%20b~c/model.gguf`;
  hub.add("files/a b~c/model.gguf", OTHER);
  hub.add("files/known.gguf", OTHER);
  await pull(NAME, QUICK);
  await pull("org/repo/folder/other.gguf", QUICK);
  await pull(`${url}?key=secret`, QUICK);
  await pull(`${hub.bytesOrigin}/files/known.gguf`, { ...QUICK, sha256: sha256(OTHER).toUpperCase() });
  // Of another tool: never compared here.
  const theirs = home.hub("models--them--theirs");
  await mkdir(join(theirs, "snapshots", "c".repeat(40)), { recursive: true });
  await writeFile(join(theirs, "snapshots", "c".repeat(40), "model.gguf"), BYTES);
  const expected = [
    [`${hub.bytesOrigin}/files/a%20b~c/model.gguf`, 7000, "unchecked", `${hub.bytesOrigin}/files/a%20b~c/model.gguf`],
    [`${hub.bytesOrigin}/files/known.gguf`, 7000, "verified", `${hub.bytesOrigin}/files/known.gguf`],
    ["org/repo/folder/other.gguf", 7000, "verified", "hub org/repo"],
    [NAME, 5000, "verified", "hub org/repo"],
    ["them/theirs/model.gguf", 5000, "unchecked", "hub them/theirs"],
  ];
  assert.equal(await states(), expected);
  assert.equal(await states(true), expected);
  for (const { name, path } of await listModels()) assert.is((await resolveModel(name))?.path, path);
  assert.not.ok(
    (
      await readFile(home.store("receipts", `${sha256(Buffer.from((await resolveModel(url))!.path))}.json`), "utf8")
    ).includes("secret"),
  );
});

test("a change is noticed: at once by its time, for sure by --verify", async ({ hub }) => {
  hub.add(NAME, BYTES);
  hub.add("files/model.gguf", OTHER);
  const { path } = await pull(NAME, QUICK);
  const other = await pull(`${hub.bytesOrigin}/files/model.gguf`, QUICK);
  const before = await stat(path);
  await writeFile(path, OTHER.subarray(0, 5000));
  await utimes(other.path, 1, 1);
  assert.equal(
    (await listModels()).map(({ state }) => state),
    ["unchecked", "unchecked"],
  );
  assert.equal(
    (await listModels({ verify: true })).map(({ state }) => state),
    ["unchecked", "damaged"],
  );
  await writeFile(other.path, BYTES);
  assert.equal(
    (await listModels({ verify: true })).map(({ state }) => state),
    ["damaged", "damaged"],
  );
  // With the old size and time only reading finds it.
  await utimes(path, before.atime, before.mtime);
  assert.is((await listModels({ verify: true })).at(-1)!.state, "damaged");
});

test("rm: the file, its links and folders; what another file uses stays", async ({ hub, home }) => {
  hub.add(NAME, BYTES);
  hub.add("org/repo/copy.gguf", BYTES);
  hub.add("org/repo/other.gguf", OTHER);
  for (const name of [NAME, "org/repo/copy.gguf", "org/repo/other.gguf"]) await pull(name, QUICK);
  const { path } = (await resolveModel(NAME))!;
  assert.equal(await removeModel(NAME), { name: NAME, paths: [path], bytes: 0 });
  assert.is(await resolveModel(NAME), undefined);
  assert.is((await resolveModel("org/repo/copy.gguf"))?.state, "verified");
  const copy = await removeModel("org/repo/copy.gguf");
  assert.is(copy.bytes, 5000);
  assert.equal(
    copy.paths.map((one) => one.slice(home.hub("models--org--repo").length + 1)),
    [`snapshots/${COMMIT}/copy.gguf`, `blobs/${sha256(BYTES)}`],
  );
  await removeModel("org/repo/other.gguf");
  assert.equal(await home.files(home.hub()), []);
  assert.equal(await stat(home.hub("models--org--repo")).catch(() => "gone"), "gone");
});

test("rm: an address, an unfinished download; not what is in the package", async ({ hub, home }) => {
  const url = `${hub.bytesOrigin}/files/model.gguf`;
  hub.add("files/model.gguf", OTHER);
  hub.add(NAME, BYTES);
  await pull(url, QUICK);
  assert.is((await removeModel(url)).bytes, 7000);
  assert.equal(await home.files(home.store()), []);
  hub.habit = { kind: "cut", after: 2000 };
  await fails(pull(NAME, { patience: { ...QUICK.patience, attempts: 1 } }), "download_failed");
  assert.equal(await states(), [[NAME, 2000, "incomplete", `${hub.endpoint}/org/repo/resolve/${COMMIT}/model.gguf`]]);
  const { bytes, paths } = await removeModel(NAME);
  assert.equal([bytes, paths.length], [2000, 1]);
  assert.equal(await home.files(home.hub()), []);
  await fails(removeModel("thimble-15m"), "not_found", /part of the package/);
  await fails(removeModel("../../etc/passwd"), "invalid_option");
});

test("rm and list stay inside the cache", async ({ home }) => {
  const outside = join(home.folder, "outside");
  await mkdir(outside);
  await writeFile(join(outside, "model.gguf"), BYTES);
  const folder = home.hub("models--org--repo", "snapshots");
  await mkdir(folder, { recursive: true });
  await symlink(outside, join(folder, COMMIT));
  await mkdir(join(folder, "d".repeat(40)));
  await symlink(join(outside, "model.gguf"), join(folder, "d".repeat(40), "link.gguf"));
  assert.equal(await listModels(), []);
  await fails(removeModel(NAME), "not_found");
  await removeModel("org/repo/link.gguf");
  assert.equal(await home.files(outside), ["model.gguf"]);
});

test.run();
