/**
 * Models over HTTP from a local server: the same bits as from memory, whatever the server and the network do; one file's
 * worth of bytes, few requests, and typed errors.
 * @module
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ThimbleError } from "../../host/errors.ts";
import { readHeader } from "../../host/gguf.ts";
import { openUrl, type UrlOptions } from "../../host/http-source.ts";
import type { ByteSource } from "../../host/source.ts";
import { allLogits, load, platform, randomIds } from "../model/load.ts";
import { writeGguf } from "./gguf-writer.ts";
import { type Behaviour, type RangeServer, serveFile } from "./range-server.ts";

const MODEL = "models/thimble-15m.Q4_0.gguf";
const SMALL = new Uint8Array(readFileSync("test/golden/architectures/llama.q8_0.gguf"));
const MODEL_BYTES = new Uint8Array(readFileSync(MODEL));
const BYTES = Uint8Array.from({ length: 5_000_003 }, (_, i) => (i * 2_654_435_761) >>> 24);
const QUICK: UrlOptions = { patience: { baseMs: 5, capMs: 100, stallMs: 5000 } };

async function digest(source: string | ByteSource): Promise<string> {
  await using model = await load(typeof source === "string" ? await openUrl(source, QUICK) : source);
  const logits = allLogits(model, randomIds(8, model.config.vocabSize), 8);
  return createHash("sha256").update(new Uint8Array(logits.buffer)).digest("hex");
}

async function failure(work: Promise<unknown>): Promise<ThimbleError> {
  const error = await work.then(
    () => new Error("it worked"),
    (reason: unknown) => reason,
  );
  assert.instance(error, ThimbleError, `${error instanceof Error ? error.stack : error}`);
  return error as ThimbleError;
}

/** Reads all of a source in pieces, as the loader does after the header. */
async function readAll(source: ByteSource, pieceBytes = 1 << 20): Promise<Uint8Array> {
  const all = new Uint8Array(BYTES.length + 10);
  let at = 0;
  for (let got = 1; got > 0; at += got) {
    source.release?.(at);
    got = await source.read(all.subarray(at, at + pieceBytes), at);
  }
  await source.close();
  return all.subarray(0, at);
}

/** Expects the file to come whole, and says what that took. */
async function comesWhole(behaviour: Behaviour, options = QUICK): Promise<RangeServer> {
  await using server = await serveFile(BYTES, behaviour);
  const all = await readAll(await openUrl(server.url, options));
  assert.is(all.length, BYTES.length);
  assert.ok(Buffer.from(all).equals(BYTES), "the bytes are other ones");
  return server;
}

const SMALL_DIGEST = await digest(await openMemory(SMALL));

async function openMemory(bytes: Uint8Array): Promise<ByteSource> {
  const { openSource } = await import("../../host/sources.ts");
  return openSource(bytes);
}

test("a model over HTTP has the bits of the model from memory, for a file's bytes and two requests", async () => {
  await using server = await serveFile(MODEL_BYTES);
  assert.is(await digest(server.url), await digest(await openMemory(MODEL_BYTES)));
  assert.equal(
    server.requests.map(({ range }) => range),
    ["bytes=0-2097151", `bytes=2097152-${MODEL_BYTES.length - 1}`],
  );
  assert.is(server.sent(), MODEL_BYTES.length);
  assert.is(server.requests[1]!.ifRange, '"one"');
  assert.is(server.requests[0]!.headers["accept-encoding"], "identity");
});

test("the loader lets go of what it has read, piece by piece", async () => {
  const inner = await openMemory(MODEL_BYTES);
  let released = -1;
  let last = -1;
  const source: ByteSource = {
    ...inner,
    async read(target, offset, signal) {
      if (released >= 0) {
        assert.is(released, offset);
        assert.ok(offset > last && target.byteLength <= 1 << 20, `${target.byteLength} bytes at ${offset}`);
        last = offset;
      }
      return inner.read(target, offset, signal);
    },
    release(offset) {
      released = offset;
    },
  };
  await (await load(source)).close();
  assert.ok(last > MODEL_BYTES.length / 2);
});

test("Node's platform takes addresses and paths", async () => {
  await using server = await serveFile(SMALL, { redirect: true });
  const source = await platform.open(server.url);
  assert.is(source.name, server.url);
  assert.is(await digest(source), SMALL_DIGEST);
  assert.is(server.requests.at(-1)!.url, "/elsewhere");
  const file = await platform.open(MODEL);
  assert.is(file.size, MODEL_BYTES.length);
  await file.close();
});

test("every kind of server gives the same model", async () => {
  const kinds: Record<string, Behaviour> = {
    "no ranges": { noRanges: true },
    "no ranges, no length": { noRanges: true, noLength: true },
    "compressed as a whole": { noRanges: true, gzip: true },
    "compressed ranges": { gzipRanges: true },
    "cut at every tenth": { cutEvery: Math.ceil(SMALL.length / 10) },
    "slow chunks": { chunkBytes: 9000, chunkMs: 1 },
    "a range of something else": { contentRange: (start, end, size) => `bytes ${start + 1}-${end - 1}/${size}` },
    "a range of unknown size": { contentRange: (start, end) => `bytes ${start}-${end - 1}/*` },
    "a range without sense": { contentRange: () => "bytes 9-2/1" },
    "no ETag": { tag: () => null },
    "weak ETag": { tag: () => 'W/"weak"' },
    "busy at first": { statuses: [503, 429], retryAfter: "0" },
  };
  for (const [kind, behaviour] of Object.entries(kinds)) {
    await using server = await serveFile(SMALL, behaviour);
    assert.is(await digest(server.url), SMALL_DIGEST, kind);
    assert.ok(server.requests.length <= 12, `${kind}: ${server.requests.length} requests`);
  }
});

test("connections cut at every tenth go on where they ended", async () => {
  const tenth = Math.ceil(BYTES.length / 10);
  const server = await comesWhole({ cutEvery: tenth });
  assert.ok(server.requests.length >= 10 && server.requests.length <= 12, `${server.requests.length} requests`);
  assert.ok(server.sent() <= BYTES.length * 1.02, `${server.sent()} bytes for ${BYTES.length}`);
  for (const { ifRange } of server.requests.slice(1)) assert.is(ifRange, '"one"');
});

test("ranges that end before they should go on where they ended", async () => {
  const server = await comesWhole({ endAfter: 700_000 });
  assert.is(server.requests.length, 8);
});

test("small gaps are read over, large ones are jumped", async () => {
  await using server = await serveFile(BYTES);
  const source = await openUrl(server.url, QUICK);
  source.release?.(0);
  let at = 0;
  for (const gap of [0, 1, 31, 100_000, 1_000_000, 7, 2_000_000]) {
    at += gap;
    const target = new Uint8Array(200_000);
    source.release?.(at);
    assert.is(await source.read(target, at), 200_000);
    assert.ok(Buffer.from(target).equals(BYTES.subarray(at, at + 200_000)), `after a gap of ${gap}`);
    at += 200_000;
  }
  await source.close();
  assert.is(server.requests.length, 3);
});

test("a server that never gets on is given up after a bounded number of requests", async () => {
  for (const behaviour of [{ cutAfter: 0 }, { statuses: Array<number>(50).fill(503), retryAfter: "0" }]) {
    await using server = await serveFile(BYTES, behaviour);
    const error = await failure(openUrl(server.url, QUICK).then((source) => readAll(source)));
    assert.is(error.code, "source_unreadable");
    assert.match(error.message, "cutAfter" in behaviour ? /cut at byte 0/ : /503; try again later/);
    assert.ok(server.requests.length <= 6, `${server.requests.length} requests`);
  }
});

test("a changed ETag is an error, with and without If-Range", async () => {
  for (const tag of [(n: number) => `"${n}"`, (n: number) => `W/"${n}"`]) {
    await using server = await serveFile(BYTES, { tag });
    const error = await failure(openUrl(server.url, QUICK).then((source) => readAll(source)));
    assert.is(error.code, "source_unreadable");
    assert.match(error.message, /changed on the server/);
    assert.is(server.requests.length, 2);
  }
});

test("Retry-After is honoured and capped", async () => {
  const start = performance.now();
  const source = { statuses: [429], retryAfter: "1" };
  await comesWhole(source, { patience: { baseMs: 1, capMs: 5000 } });
  const waited = performance.now() - start;
  assert.ok(waited >= 990, `${waited} ms`);
  const again = performance.now();
  await comesWhole({ statuses: [503], retryAfter: "3600" }, QUICK);
  assert.ok(performance.now() - again < 60_000, "the cap");
});

test("refusals say the status and what to do", async () => {
  const cases: [number, RegExp][] = [
    [404, /answered 404; there is no such file/],
    [401, /answered 401; it needs a login/],
    [403, /answered 403; access is refused/],
    [410, /answered 410/],
    [418, /answered 418; check the address/],
  ];
  for (const [status, message] of cases) {
    await using server = await serveFile(BYTES, { statuses: [status] });
    const error = await failure(openUrl(`${server.url}?signature=secret`, QUICK));
    assert.is(error.code, "source_unreadable");
    assert.match(error.message, message);
    assert.is(error.file, server.url);
    assert.not.match(error.message, /secret/);
    assert.is(server.requests.length, 1);
  }
});

test("nobody answers", async () => {
  const server = await serveFile(BYTES);
  await server[Symbol.asyncDispose]();
  const error = await failure(openUrl(server.url, QUICK));
  assert.is(error.code, "source_unreadable");
  assert.match(error.message, /no answer; check the address and the network/);
});

test("a wrong range later, and more bytes than announced, are found out", async () => {
  const contentRange = (start: number, end: number, size: number, n: number) =>
    n === 0 ? `bytes ${start}-${end - 1}/${size}` : `bytes 0-${end - 1}/${size}`;
  await using server = await serveFile(BYTES, { contentRange });
  const error = await failure(openUrl(server.url, QUICK).then((source) => readAll(source)));
  assert.match(error.message, /answered 206 with the range "bytes 0-/);
  await using wordy = await serveFile(BYTES, { surplus: 1000 });
  assert.match((await failure(openUrl(wordy.url, QUICK).then((source) => readAll(source)))).message, /more bytes/);
});

test("a file that ends early where nothing can continue it", async () => {
  await using server = await serveFile(BYTES, { noRanges: true, cutAfter: 1_500_000 });
  const error = await failure(openUrl(server.url, QUICK).then((source) => readAll(source)));
  assert.is(error.code, "source_unreadable");
});

test("the header alone costs the header's range, also where it is long", async () => {
  await using server = await serveFile(MODEL_BYTES);
  const source = await openUrl(server.url, QUICK);
  const header = await readHeader(source);
  await source.close();
  assert.is(header.size, MODEL_BYTES.length);
  assert.equal(
    server.requests.map(({ range }) => range),
    ["bytes=0-2097151"],
  );

  const text = "x".repeat(3_000_000);
  const metadata = {
    "general.architecture": { type: "string", value: "llama" },
    long: { type: "string", value: text },
  } as const;
  const tensors = [{ name: "a", type: 0, shape: [32, 200_000] }];
  await using large = await serveFile(writeGguf({ metadata, tensors }));
  const other = await openUrl(large.url, QUICK);
  await readHeader(other);
  await other.close();
  assert.ok(large.requests.length <= 3, `${large.requests.length} requests`);
  const furthest = Math.max(...large.requests.map(({ range }) => Number(range!.split("-")[1])));
  assert.ok(furthest < 10_000_000, `asked for bytes up to ${furthest}`);
  assert.ok(large.sent() < 10_000_000, `${large.sent()} bytes of 28,600,000`);
});

test("reads in any order, at once, and past the end", async () => {
  await using server = await serveFile(BYTES);
  const source = await openUrl(server.url, QUICK);
  const offsets = [4_999_000, 3, 0, 2_500_000, 100, 2_097_000, 4_000_000, 5_000_003, 9e9];
  const check = async (offset: number): Promise<void> => {
    const target = new Uint8Array(2000);
    const expected = BYTES.subarray(offset, offset + 2000);
    assert.is(await source.read(target, offset), expected.length, `at ${offset}`);
    assert.equal(target.subarray(0, expected.length), expected, `at ${offset}`);
  };
  for (const offset of offsets) await check(offset);
  await Promise.all(offsets.map(check));
  assert.ok(server.requests.length <= 16, `${server.requests.length} requests`);
  assert.is(source.sequential, false);
  await source.close();
  assert.is((await failure(source.read(new Uint8Array(1), 0))).code, "closed");
});

test("what is not read is not fetched", async () => {
  const large = new Uint8Array(60_000_000);
  await using server = await serveFile(large);
  const source = await openUrl(server.url, QUICK);
  source.release?.(0);
  await source.read(new Uint8Array(3_000_000), 0);
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.ok(server.sent() < 20_000_000, `${server.sent()} bytes were sent for 3,000,000`);
  assert.is(server.open(), 1);
  await source.close();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.is(server.open(), 0, "the answer is cancelled");
});

test("aborts are heard while opening, reading and waiting", async () => {
  const reason = new Error("enough");
  const aborted = async (behaviour: Behaviour, work: (url: string, signal: AbortSignal) => Promise<unknown>) => {
    await using server = await serveFile(BYTES, behaviour);
    const controller = new AbortController();
    const start = performance.now();
    setTimeout(() => controller.abort(reason), 60);
    const error = await work(server.url, controller.signal).then(
      () => "it worked",
      (thrown: unknown) => thrown,
    );
    assert.is(error, reason);
    assert.ok(performance.now() - start < 15_000, "at once");
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.is(server.open(), 0, "nothing goes on");
  };
  await aborted({ statuses: [503], retryAfter: "4" }, (url, signal) => openUrl(url, { signal }));
  for (const behaviour of [{ silent: true }, { silent: true, noRanges: true }, { chunkBytes: 1000, chunkMs: 5 }]) {
    await aborted(behaviour, async (url, signal) => {
      const source = await openUrl(url, QUICK);
      try {
        await source.read(new Uint8Array(3_000_000), 0, signal);
      } finally {
        await source.close();
      }
    });
    await aborted(behaviour, async (url, signal) => load(await openUrl(url, { signal })));
  }
});

test("after an aborted read the source goes on", async () => {
  await using server = await serveFile(BYTES, { chunkBytes: 100_000, chunkMs: 2 });
  const source = await openUrl(server.url, QUICK);
  const target = new Uint8Array(BYTES.length);
  const error = await source.read(target, 0, AbortSignal.timeout(20)).catch((thrown: unknown) => thrown);
  assert.is((error as Error).name, "TimeoutError");
  assert.is(await source.read(target, 0), BYTES.length);
  assert.ok(Buffer.from(target).equals(BYTES));
  await source.close();
});

test("silence is an end, and closing ends a read", async () => {
  await using server = await serveFile(BYTES, { silent: true });
  const impatient = await openUrl(server.url, { patience: { attempts: 2, baseMs: 1, stallMs: 50 } });
  assert.match((await failure(impatient.read(new Uint8Array(10), 0))).message, /silent for 0.05 s/);
  await impatient.close();
  const source = await openUrl(server.url, QUICK);
  const read = failure(source.read(new Uint8Array(10), 0));
  await source.close();
  assert.is((await read).code, "closed");
});

test.run();
