/** Several processes, killed ones among them, and the locks between them. */
import { mkdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { removeModel } from "../../bindings/node/store/index.ts";
import { breakLock, withLock } from "../../bindings/node/store/lock.ts";
import { pull } from "../../bindings/node/store/pull.ts";
import { outcome, start, thimble } from "../cli/cli.ts";
import { fails, Home, QUICK, someBytes } from "./home.ts";
import { HubServer, sha256 } from "./hub-server.ts";

const SIZE = 400_000;
const BYTES = someBytes(SIZE);
const NAME = "org/repo/model.gguf";

interface Context {
  hub: HubServer;
  home: Home;
}
const test = suite<Context>("processes");

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

const partial = (home: Home): string => home.hub("models--org--repo", "blobs", `${sha256(BYTES)}.thimble.incomplete`);

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.unreachable("it did not come to that");
}

const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  );

test("two processes pull at once: one fetches, both have it", async ({ hub, home }) => {
  hub.habit = { kind: "slow", bytes: 20_000, ms: 20 };
  const both = await Promise.all([thimble(["pull", NAME, "--json"]), thimble(["pull", NAME, "--json"])]);
  for (const { code, stdout, stderr } of both) {
    assert.is(code, 0, stderr);
    assert.is(sha256(await readFile(JSON.parse(stdout).path)), sha256(BYTES));
  }
  assert.is(hub.gets().length, 1);
  // One at most: on a busy machine the second process may come when the first is done.
  assert.ok(both.filter(({ stderr }) => /process \d+ is pulling .* waiting/.test(stderr)).length <= 1);
  assert.is((await home.files(home.hub("models--org--repo", "blobs"))).length, 1);
});

test("killed in the middle: the next process goes on from there", async ({ hub, home }) => {
  hub.accidents.push({ kind: "slow", bytes: 20_000, ms: 20 });
  const child = await start(["pull", NAME]);
  const ended = outcome(child);
  await until(async () => (await sizeOf(partial(home))) >= 100_000);
  child.kill("SIGKILL");
  assert.is((await ended).code, null);
  const kept = await sizeOf(partial(home));
  assert.ok(kept >= 100_000 && kept < SIZE, `${kept}`);
  const { code, stderr, stdout } = await thimble(["pull", NAME]);
  assert.is(code, 0, stderr);
  assert.is(sha256(await readFile(stdout.trim())), sha256(BYTES));
  assert.is(hub.gets()[1]!.range, `bytes=${kept}-`);
});

test("Ctrl-C ends at once with 130 and keeps what has come", async ({ hub, home }) => {
  hub.accidents.push({ kind: "hang", after: 50_000 });
  const child = await start(["pull", NAME]);
  const ended = outcome(child);
  await until(async () => (await sizeOf(partial(home))) === 50_000);
  child.kill("SIGINT");
  assert.is((await ended).code, 130);
  assert.is(await sizeOf(partial(home)), 50_000);
});

test("who does not want to wait is told who works; rm does not pull the rug", async ({ hub, home }) => {
  hub.accidents.push({ kind: "hang", after: 50_000 });
  const controller = new AbortController();
  const first = pull(NAME, { ...QUICK, signal: controller.signal }).catch(() => {});
  await until(async () => (await sizeOf(partial(home))) === 50_000);
  await fails(pull(NAME, { ...QUICK, wait: false }), "locked", new RegExp(`process ${process.pid}`));
  await fails(removeModel(NAME), "locked");
  const waiting = new AbortController();
  const reason = new Error("enough");
  const second = pull(NAME, { ...QUICK, signal: waiting.signal, onWait: () => waiting.abort(reason) });
  assert.is(await second.catch((error: unknown) => error), reason);
  controller.abort();
  await first;
  await pull(NAME, { ...QUICK, wait: false });
});

test("a stale lock is taken over: its owner is dead, silent, or never wrote it", async ({ home }) => {
  const lock = `${partial(home)}.lock`;
  await mkdir(dirname(lock), { recursive: true });
  const gone = { token: "x", pid: 0x3ffffffe, host: hostname() };
  const elsewhere = { token: "y", pid: process.pid, host: "elsewhere" };
  const owners: [content: string, ageS: number, isStale: boolean][] = [
    [JSON.stringify(gone), 0, true],
    [JSON.stringify({ ...gone, pid: process.pid }), 0, false],
    [JSON.stringify({ ...gone, pid: process.pid }), 70, true],
    [JSON.stringify(elsewhere), 50, false],
    [JSON.stringify(elsewhere), 70, true],
    ["", 0, false],
    ["", 10, true],
  ];
  for (const [content, ageS, isStale] of owners) {
    await writeFile(lock, content);
    const touched = Date.now() / 1000 - ageS;
    await utimes(lock, touched, touched);
    const work = withLock(lock, { wait: false, signal: undefined }, async () => "done");
    if (isStale) assert.is(await work, "done", content);
    else await fails(work, "locked");
  }
});

test("a stale lock is broken by one at a time, and stays where another has replaced it meanwhile", async ({ home }) => {
  const lock = `${partial(home)}.lock`;
  const guard = `${lock}.breaking`;
  await mkdir(dirname(lock), { recursive: true });
  const alive = { token: "a", pid: process.pid, host: hostname() };
  const gone = { ...alive, token: "g", pid: 0x3ffffffe };
  const left = (): Promise<string[]> => home.files(dirname(lock));
  await writeFile(lock, JSON.stringify(alive));
  assert.ok(await breakLock(lock, alive));
  assert.is((await left()).length, 1, "one that lives stays");
  await writeFile(lock, JSON.stringify(gone));
  await writeFile(guard, JSON.stringify(alive));
  assert.not(await breakLock(lock, alive), "another is at it");
  assert.is((await left()).length, 2);
  await writeFile(guard, JSON.stringify(gone));
  assert.not(await breakLock(lock, alive), "one that was killed at it");
  assert.ok(await breakLock(lock, alive));
  assert.equal(await left(), []);
});

test("of many that meet a stale lock, one works at a time", async ({ home }) => {
  const lock = `${partial(home)}.lock`;
  await mkdir(dirname(lock), { recursive: true });
  for (let round = 0; round < 6; round++) {
    await writeFile(lock, JSON.stringify({ token: "x", pid: 0x3ffffffe, host: hostname() }));
    let working = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++working);
      await new Promise((resolve) => setTimeout(resolve, 1));
      working -= 1;
    };
    await Promise.all(Array.from({ length: 5 }, () => withLock(lock, { wait: true, signal: undefined }, work)));
    assert.is(most, 1);
    assert.equal(await home.files(dirname(lock)), [], "a lock that nobody holds, which all would wait for");
  }
});

test.run();
