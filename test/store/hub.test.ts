/** Files of the hub: the shared cache, tokens, offline, names that are refused. */
import { mkdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isModelName, parseModelName } from "../../bindings/node/store/model-name.ts";
import { pull } from "../../bindings/node/store/pull.ts";
import { fails, Home, QUICK, someBytes } from "./home.ts";
import { COMMIT, HubServer, sha256, TOKEN } from "./hub-server.ts";

const BYTES = someBytes(5000);
const NAME = "org/repo/model.gguf";

interface Context {
  hub: HubServer;
  home: Home;
}
const test = suite<Context>("hub");

test.before(async (context) => {
  context.hub = await HubServer.start();
});
test.before.each(async (context) => {
  context.hub.reset();
  context.home = await Home.make(context.hub.endpoint);
});
test.after.each(({ home }) => home.leave());
test.after(({ hub }) => hub.stop());

test("a file lies where Python's huggingface_hub looks for it", async ({ hub, home }) => {
  hub.add("org/repo/folder/model.gguf", BYTES);
  const pulled = await pull("org/repo/folder/model.gguf", QUICK);
  const snapshot = home.hub("models--org--repo", "snapshots", COMMIT, "folder", "model.gguf");
  assert.is(pulled.path, snapshot);
  assert.equal([pulled.isNew, pulled.from, pulled.bytes], [true, "hub org/repo", 5000]);
  assert.is(await readlink(snapshot), `../../../blobs/${sha256(BYTES)}`);
  assert.is(await readFile(home.hub("models--org--repo", "refs", "main"), "utf8"), COMMIT);
});

test("a file that is in the cache is used without a network, whoever put it there", async ({ hub, home }) => {
  const folder = home.hub("models--org--repo");
  const put = async (commit: string, bytes: Uint8Array, ref?: string): Promise<string> => {
    await mkdir(join(folder, "snapshots", commit), { recursive: true });
    await mkdir(join(folder, "blobs"), { recursive: true });
    await mkdir(join(folder, "refs"), { recursive: true });
    await writeFile(join(folder, "blobs", sha256(bytes)), bytes);
    const path = join(folder, "snapshots", commit, "model.gguf");
    await symlink(`../../blobs/${sha256(bytes)}`, path);
    if (ref !== undefined) await writeFile(join(folder, "refs", ref), commit);
    return path;
  };
  process.env.HF_HUB_OFFLINE = "1";
  await fails(pull(NAME, QUICK), "offline", /HF_HUB_OFFLINE/);
  // As @huggingface/hub leaves it: without refs/.
  const first = await put("a".repeat(40), BYTES);
  assert.is((await pull(NAME, QUICK)).path, first);
  const main = await put("b".repeat(40), BYTES.subarray(1), "main");
  const { path, isNew, sha256: hash } = await pull(NAME, QUICK);
  assert.equal([path, isNew, hash], [main, false, sha256(BYTES.subarray(1))]);
  assert.is((await pull(`org/repo@${"a".repeat(40)}/model.gguf`, QUICK)).path, first);
  assert.is((await pull("org/repo@main/model.gguf", QUICK)).path, main);
  await fails(pull("org/repo@v2/model.gguf", QUICK), "offline");
  await fails(pull("org/repo/other.gguf", { ...QUICK, offline: true }), "offline");
  assert.equal(hub.seen, []);
});

test("a cached file that has been damaged is not handed out, and not deleted", async ({ hub, home }) => {
  hub.add(NAME, BYTES);
  const { path } = await pull(NAME, QUICK);
  const damaged = BYTES.map((byte, i) => (i === 4321 ? byte ^ 1 : byte));
  await writeFile(path, damaged);
  await fails(pull(NAME, QUICK), "hash_mismatch", new RegExp(`should be ${sha256(BYTES)} and is ${sha256(damaged)}`));
  assert.equal(new Uint8Array(await readFile(path)), damaged);
  // Without what Thimble noted down, the blob's name is promise enough.
  await rm(home.store(), { recursive: true });
  await fails(pull(NAME, QUICK), "hash_mismatch");
});

test("a blob that is there already is linked, not fetched", async ({ hub, home }) => {
  hub.add(NAME, BYTES);
  hub.add("org/repo/copy.gguf", BYTES);
  await pull(NAME, QUICK);
  hub.seen.length = 0;
  const { path } = await pull("org/repo/copy.gguf", QUICK);
  assert.is(await readlink(path), `../../blobs/${sha256(BYTES)}`);
  assert.equal(hub.gets(), []);
  assert.is((await home.files(home.hub("models--org--repo", "blobs"))).length, 1);
});

test("links that lead out of the cache are not followed", async ({ home }) => {
  const outside = join(home.folder, "secret.gguf");
  await writeFile(outside, BYTES);
  const snapshot = home.hub("models--org--repo", "snapshots", COMMIT);
  await mkdir(snapshot, { recursive: true });
  await symlink(outside, join(snapshot, "model.gguf"));
  await fails(pull(NAME, QUICK), "source_unreadable", /out of the cache/);
  await symlink(home.folder, join(snapshot, "folder"));
  await fails(pull("org/repo/folder/secret.gguf", QUICK), "source_unreadable", /out of the cache/);
});

test("the token goes to the hub and to nobody else", async ({ hub }) => {
  hub.add("org/private/model.gguf", BYTES, { isPrivate: true });
  hub.add("org/gated/model.gguf", BYTES, { isGated: true });
  await fails(pull("org/private/model.gguf", QUICK), "not_found", /HF_TOKEN/);
  await fails(pull("org/gated/model.gguf", QUICK), "download_failed", /HF_TOKEN/);
  process.env.HF_TOKEN = ` ${TOKEN}\n`;
  await pull("org/private/model.gguf", QUICK);
  await pull("org/gated/model.gguf", QUICK);
  const sent = (server: string) => hub.seen.filter((one) => one.server === server).map((one) => one.authorization);
  assert.is(sent("hub").at(-1), `Bearer ${TOKEN}`);
  assert.ok(sent("bytes").length === 2 && sent("bytes").every((one) => one === undefined));
  // Not even where the hub itself sends us for the answer.
  hub.hubAccidents.push({ kind: "redirect", to: `${hub.bytesOrigin}/elsewhere` });
  await fails(pull("org/private/other.gguf", QUICK), "not_found");
  assert.is(hub.gets().at(-1)!.authorization, undefined);
  hub.add(NAME, BYTES);
  const { path } = await pull(`${hub.bytesOrigin}/${NAME}`, QUICK);
  assert.ok(path.includes(join("models", "http")));
  assert.is(hub.gets().at(-1)!.authorization, undefined);
  process.env.HF_TOKEN = "two\nlines";
  const error = await fails(pull("org/private/other.gguf", QUICK), "invalid_option", /HF_TOKEN/);
  assert.not.match(error.message, /lines/);
});

test("what is not there: no repository, no revision, no file, and what there is instead", async ({ hub }) => {
  hub.add(NAME, BYTES);
  hub.add("org/repo/other.Q4_0.gguf", BYTES);
  hub.add("org/repo/README.md", BYTES);
  await fails(pull("org/none/model.gguf", QUICK), "not_found", /org\/none\/model\.gguf/);
  await fails(pull("org/repo@v9/model.gguf", QUICK), "not_found");
  const error = await fails(pull("org/repo/modle.gguf", QUICK), "not_found", /has model\.gguf, other\.Q4_0\.gguf$/);
  assert.not.match(error.message, /README/);
});

test("a server that is no hub cannot choose names on disk", async ({ hub, home }) => {
  hub.add(NAME, BYTES);
  for (const headers of [
    { etag: '"abcdefgh"' },
    { etag: '"../../../evil"', "x-repo-commit": COMMIT },
    { etag: '"abcdefgh"', "x-repo-commit": "../../../evil" },
    { "x-repo-commit": COMMIT },
  ]) {
    hub.hubAccidents.push({ kind: "status", status: 200, headers: headers as unknown as Record<string, string> });
    await fails(pull(NAME, QUICK), "download_failed", /not answer as a hub/);
  }
  assert.equal(await home.files(home.folder), []);
});

test("names that could mean another place are refused", () => {
  const bad = [
    "org/repo/../model.gguf",
    "org/repo/a/../../model.gguf",
    "org/repo/.hidden.gguf",
    "org/repo/a//model.gguf",
    "org/repo/a\\..\\model.gguf",
    "org/repo/mod\u0000el.gguf",
    "org/repo/mod\u202eel.gguf",
    "org/repo/C:model.gguf",
    "org/repo/model.bin",
    "org/repo",
    "org/re--po/model.gguf",
    "org/re..po/model.gguf",
    "org/repo.git/model.gguf",
    "../repo/model.gguf",
    "-org/repo/model.gguf",
    "/org/repo/model.gguf",
    "~/repo/model.gguf",
    "org/repo@../model.gguf",
    "org/repo@a@b/model.gguf",
    "org/repo@/model.gguf",
    "http://example.org/model.gguf",
    "ftp://example.org/model.gguf",
    "file:///model.gguf",
    "https://user:password@example.org/model.gguf",
    "https://example.org/model.bin",
    "https://example.org/a//model.gguf",
    "https://example.org/%2e%2e%2fmodel.gguf",
    "https://",
    "C:\\models\\model.gguf",
    `org/repo/${"a".repeat(2000)}.gguf`,
    "two words",
    "",
  ];
  for (const name of bad) {
    assert.throws(
      () => parseModelName(name),
      (error: { code?: string }) => error.code === "invalid_option",
      name,
    );
    assert.not.ok(isModelName(name));
  }
  assert.throws(
    () => parseModelName("smollm3"),
    /the catalog has no model "smollm3"; it has thimble-15m, smollm2-135m/,
  );
  assert.equal(parseModelName("Org-1/re_po.v2@v1.0/a/Model-1.Q4_0.gguf"), {
    kind: "hub",
    repo: "Org-1/re_po.v2",
    revision: "v1.0",
    file: "a/Model-1.Q4_0.gguf",
  });
});

test.run();
