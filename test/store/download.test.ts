/**
 * Downloads through everything that happens to them: the right bytes in the end, or a typed error and nothing under the
 * final name.
 * @module
 */
import { mkdir, open, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { diskError, writeAll } from "../../bindings/node/store/partial-file.ts";
import { pull } from "../../bindings/node/store/pull.ts";
import { retryAfterMs } from "../../host/patience.ts";
import { fails, Home, QUICK, someBytes } from "./home.ts";
import { type Accident, HubServer, sha256 } from "./hub-server.ts";

const SIZE = 200_000;
const BYTES = someBytes(SIZE);
const NAME = "org/repo/model.gguf";

interface Context {
  hub: HubServer;
  home: Home;
}
const test = suite<Context>("download");

test.before(async (context) => {
  context.hub = await HubServer.start();
});
test.before.each(async (context) => {
  context.hub.reset();
  context.hub.add(NAME, BYTES);
  context.home = await Home.make(context.hub.endpoint);
});
test.after.each(({ home }) => home.leave());
test.after(({ hub }) => hub.stop());

const blob = (home: Home): string => home.hub("models--org--repo", "blobs", sha256(BYTES));
const partial = (home: Home): string => `${blob(home)}.thimble.incomplete`;

async function isRight(path: string): Promise<void> {
  assert.is(sha256(await readFile(path)), sha256(BYTES));
}

async function keepsNothing({ home }: Context): Promise<void> {
  assert.equal(await home.files(home.hub("models--org--repo")), []);
}

test("cut at every tenth: goes on where it stopped, every byte is sent once", async ({ hub, home }) => {
  for (let tenth = 1; tenth <= 10; tenth++) hub.accidents.push({ kind: "cut", after: SIZE / 11 });
  const progress: number[] = [];
  const {
    path,
    bytes,
    sha256: hash,
  } = await pull(NAME, { ...QUICK, onProgress: ({ loaded }) => progress.push(loaded) });
  await isRight(path);
  assert.equal([bytes, hash], [SIZE, sha256(BYTES)]);
  const starts = hub.gets().map(({ range }) => Number(/\d+/.exec(range ?? "bytes=0-")![0]));
  assert.is(starts.length, 11);
  assert.ok(
    starts.every((start, i) => i === 0 || start > starts[i - 1]!),
    `${starts}`,
  );
  assert.equal(
    progress,
    [...progress].sort((a, b) => a - b),
  );
  assert.is(progress.at(-1), SIZE);
  assert.equal(await home.files(home.hub("models--org--repo")), [
    `blobs/${sha256(BYTES)}`,
    "refs/main",
    "snapshots/0123456789abcdef0123456789abcdef01234567/model.gguf",
  ]);
});

test("any accidents in any order end with the right bytes", async ({ hub, home }) => {
  const accident: fc.Arbitrary<Accident> = fc.oneof(
    { weight: 4, arbitrary: fc.nat(SIZE).map((after) => ({ kind: "cut" as const, after })) },
    fc.constant({ kind: "ignore-range" as const }),
    fc.constant({ kind: "other-range" as const }),
    fc.constant({ kind: "no-length" as const }),
    fc.constantFrom(500, 502, 503, 429).map((status) => ({ kind: "status" as const, status })),
    fc.constant({ kind: "status" as const, status: 416, headers: { "content-range": "bytes */5" } }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(accident, { maxLength: 8 }), async (accidents) => {
      await rm(home.hub(), { recursive: true, force: true });
      hub.accidents.splice(0, Infinity, ...accidents);
      const { path } = await pull(NAME, { patience: { ...QUICK.patience, attempts: 12 } });
      await isRight(path);
    }),
    { numRuns: 40 },
  );
});

test("what an earlier pull left is used, after an abort too", async ({ hub, home }) => {
  hub.accidents.push({ kind: "hang", after: 70_000 });
  const controller = new AbortController();
  const reason = new Error("enough");
  const pulled = pull(NAME, {
    ...QUICK,
    signal: controller.signal,
    onProgress: ({ loaded }) => {
      if (loaded >= 70_000) controller.abort(reason);
    },
  });
  assert.is(await pulled.catch((error: unknown) => error), reason);
  assert.is((await stat(partial(home))).size, 70_000);
  await isRight((await pull(NAME, QUICK)).path);
  assert.equal(
    hub.gets().map(({ range }) => range),
    [undefined, "bytes=70000-"],
  );
});

test("an incomplete file with wrong bytes in it is noticed and fetched anew", async ({ hub, home }) => {
  hub.accidents.push({ kind: "cut", after: 90_000 });
  await fails(pull(NAME, { patience: { ...QUICK.patience, attempts: 1 } }), "download_failed", /kept/);
  const bytes = await readFile(partial(home));
  bytes[1000]! ^= 1;
  await writeFile(partial(home), bytes);
  await isRight((await pull(NAME, QUICK)).path);
  assert.equal(
    hub.gets().map(({ range }) => range),
    [undefined, "bytes=90000-", undefined],
  );
});

test("an incomplete file of something else is not continued", async ({ hub, home }) => {
  await mkdir(dirname(partial(home)), { recursive: true });
  await writeFile(partial(home), someBytes(5000, 9));
  await isRight((await pull(NAME, QUICK)).path);
  assert.is(hub.gets()[0]!.range, undefined);
});

test("a complete file that was not yet named needs no bytes", async ({ hub, home }) => {
  hub.accidents.push({ kind: "cut", after: 90_000 });
  await fails(pull(NAME, { patience: { ...QUICK.patience, attempts: 1 } }), "download_failed");
  await writeFile(partial(home), BYTES);
  hub.seen.length = 0;
  await isRight((await pull(NAME, QUICK)).path);
  assert.equal(hub.gets(), []);
});

test("wrong bytes: hash_mismatch says both hashes and keeps nothing", async (context) => {
  context.hub.habit = { kind: "wrong" };
  const wrong = sha256(BYTES.map((byte) => byte ^ 1));
  await fails(pull(NAME, QUICK), "hash_mismatch", new RegExp(`should be ${sha256(BYTES)} and is ${wrong}`));
  await keepsNothing(context);
  assert.is(context.hub.gets().length, 1);
});

test("wrong size: refused before the bytes, or where they go past the end", async (context) => {
  const { hub } = context;
  const url = `${hub.bytesOrigin}/${NAME}`;
  const file = { name: "test", file: "model.gguf", sha256: sha256(BYTES), bytes: 1000, licence: "none" };
  const catalog = [{ ...file, sources: [{ kind: "url" as const, url }] }];
  await fails(pull("test", { ...QUICK, catalog }), "hash_mismatch", /1000 bytes and has 200000/);
  hub.habit = { kind: "no-length" };
  await fails(pull("test", { ...QUICK, catalog }), "hash_mismatch", /1000 bytes and has more/);
});

test("the file changes on the server in the middle: begins anew", async ({ hub, home }) => {
  const url = `${hub.bytesOrigin}/files/model.gguf`;
  const file = hub.add("files/model.gguf", someBytes(SIZE, 7));
  hub.accidents.push({ kind: "cut", after: 50_000 });
  await fails(pull(url, { patience: { ...QUICK.patience, attempts: 1 } }), "download_failed");
  file.bytes = BYTES;
  await isRight((await pull(url, QUICK)).path);
  assert.equal(
    hub.gets().map(({ range }) => range),
    [undefined, "bytes=50000-"],
  );
  assert.equal((await home.files(home.store("models"))).length, 1);
});

test("without a validator and a hash nothing is put together from two answers", async ({ hub }) => {
  hub.add("files/model.gguf", BYTES, { isWeak: true });
  hub.accidents.push({ kind: "cut", after: 50_000 });
  await isRight((await pull(`${hub.bytesOrigin}/files/model.gguf`, QUICK)).path);
  assert.equal(
    hub.gets().map(({ range }) => range),
    [undefined, undefined],
  );
});

test("429 and 5xx are tried again, not before the server wants it, and not for ever", async ({ hub }) => {
  hub.accidents.push(
    { kind: "status", status: 429, headers: { "retry-after": "30" } },
    { kind: "status", status: 503 },
  );
  hub.hubAccidents.push({ kind: "status", status: 500 }, { kind: "status", status: 502 });
  const start = performance.now();
  const patience = { ...QUICK.patience, capMs: 300 };
  await isRight((await pull(NAME, { patience })).path);
  const ms = performance.now() - start;
  assert.ok(ms > 290 && ms < 25_000, `${ms} ms; the 30 s are capped at 300 ms`);
  assert.is(hub.gets().length, 3);
  hub.add("org/repo/other.gguf", BYTES.subarray(1));
  hub.habit = { kind: "status", status: 503 };
  await fails(pull("org/repo/other.gguf", QUICK), "download_failed", /status 503/);
  assert.is(hub.gets().length, 3 + 4);
});

test("Retry-After in seconds and as a date", () => {
  const now = Date.UTC(2026, 0, 1);
  assert.is(retryAfterMs("7", now), 7000);
  assert.is(retryAfterMs("Thu, 01 Jan 2026 00:00:09 GMT", now), 9000);
  assert.is(retryAfterMs("Thu, 01 Jan 2015 00:00:09 GMT", now), 0);
  assert.is(retryAfterMs("soon", now), undefined);
  assert.is(retryAfterMs(null, now), undefined);
});

test("silence is given up and the download goes on over another connection", async ({ hub }) => {
  hub.accidents.push({ kind: "hang", after: 60_000 });
  hub.hubAccidents.push({ kind: "hang", after: 0 });
  await isRight((await pull(NAME, { patience: { ...QUICK.patience, stallMs: 150 } })).path);
  assert.is(hub.gets().length, 2);
  assert.match(hub.gets()[1]!.range!, /^bytes=[1-9]\d*-$/);
});

test("refused, compressed, redirected in circles or to a lesser protocol", async (context) => {
  const { hub } = context;
  hub.accidents.push({ kind: "compressed" });
  await fails(pull(NAME, QUICK), "download_failed", /compressed/);
  hub.habit = { kind: "redirect", to: "/again" };
  await fails(pull(NAME, QUICK), "download_failed", /redirects/);
  hub.habit = { kind: "redirect", to: "file:///etc/passwd" };
  await fails(pull(NAME, QUICK), "download_failed", /redirects to file:/);
  hub.habit = { kind: "status", status: 403 };
  await fails(pull(NAME, QUICK), "download_failed", /refuses access/);
  hub.habit = { kind: "status", status: 404 };
  await fails(pull(NAME, QUICK), "not_found");
});

test("nobody there: offline for a name without a network, download_failed for a closed port", async () => {
  process.env.HF_ENDPOINT = "http://hub.invalid";
  await fails(pull(NAME, QUICK), "offline", /hub\.invalid/);
  process.env.HF_ENDPOINT = "http://127.0.0.1:9";
  await fails(pull(NAME, QUICK), "download_failed");
});

test("a full disk is an error of its own", async () => {
  const full = await open("/dev/full", "r+").catch(() => undefined);
  if (full === undefined) return; // not a Linux
  await fails(writeAll(full, BYTES, 0).catch(diskError("model.gguf")), "disk_full", /^model\.gguf: the disk is full/);
  await full.close();
});

test("a link in the place of the incomplete file is not written through", async ({ home }) => {
  const victim = join(home.folder, "victim");
  await writeFile(victim, "precious");
  await mkdir(dirname(partial(home)), { recursive: true });
  await symlink(victim, partial(home));
  await fails(pull(NAME, QUICK), "download_failed", /link/);
  assert.is(await readFile(victim, "utf8"), "precious");
});

test.run();
