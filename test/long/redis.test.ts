/**
 * Stores of capsules on a real Redis, started here on a socket of its own. With CI set it must run; elsewhere a machine
 * without redis-server says so. A server that stops answering gives typed errors, and what it kept is whole when it is back.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createStorage, type Storage } from "unstorage";
import redisDriver from "unstorage/drivers/redis";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { capsuleStore } from "../../bindings/node/capsule-stores.ts";
import { bytesOf, code } from "../host/capsule-case.ts";
import { roundTrip } from "../host/store-case.ts";

const server = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"].find((path) => existsSync(path));
const folder = mkdtempSync(join(tmpdir(), "redis-"));
const socket = join(folder, "redis.sock");
const running: ChildProcess[] = [];

test.after(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Starts the server and waits until it takes connections. */
async function serve(): Promise<ChildProcess> {
  const args = ["--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "yes", "--dir", folder];
  const child = spawn(server!, args, { stdio: "ignore" });
  running.push(child);
  for (let i = 0; i < 500 && !(await answers()); ++i) {
    assert.is(child.exitCode, null, "redis-server ended");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return child;
}

function answers(): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.on("connect", () => connection.write("PING\r\n"));
    connection.on("data", (data) => {
      connection.destroy();
      resolve(String(data).startsWith("+PONG"));
    });
    connection.on("error", () => resolve(false));
  });
}

function open(options: object): Storage {
  const driver = redisDriver({ path: socket, maxRetriesPerRequest: 1, ...options } as never);
  // Lost connections show in what is asked of the store.
  const client = driver.getInstance?.() as { on(event: "error", listener: () => void): void } | undefined;
  client?.on("error", () => {});
  return createStorage({ driver });
}

if (server === undefined) {
  console.log("\n  NOT RUN: Redis. There is no redis-server (Debian package redis-server).\n");
  if (process.env.CI !== undefined)
    test("Redis is installed where CI is set", () => assert.unreachable("no redis-server"));
} else {
  test("on a real Redis: put, get, replace, continue, list, delete; keys beside it stay", async () => {
    const child = await serve();
    const beside = open({ base: "capsules-too" });
    await beside.setItem("a:index", "mine");
    const storage = open({ base: "capsules" });
    await roundTrip(capsuleStore(storage));
    assert.equal(await storage.getKeys(), []);
    assert.is(await beside.getItem("a:index"), "mine");
    const expiring = open({ base: "expiring", ttl: 1 });
    await capsuleStore(expiring).put("a", new Uint8Array(3 << 20).fill(7));
    assert.equal(await capsuleStore(expiring).list(), ["a"]);
    await new Promise((resolve) => setTimeout(resolve, 2100));
    assert.equal(await capsuleStore(expiring).list(), [], "what has a time to live goes");
    for (const one of [beside, storage, expiring]) await one.dispose();
    child.kill("SIGKILL");
  });

  test("a server that dies, and one that is back", async () => {
    const child = await serve();
    const storage = open({ base: "capsules" });
    const store = capsuleStore(storage);
    const bytes = Uint8Array.from({ length: (2 << 20) + 5 }, (_, i) => i * 31 + (i >> 8));
    await store.put("a", bytes);
    const reading = (await store.get("a"))!.getReader();
    await reading.read();
    child.kill("SIGTERM");
    await new Promise((resolve) => child.once("exit", resolve));
    assert.is(await code(() => reading.read()), "source_unreadable");
    assert.is(await code(() => store.put("a", bytes.subarray(1))), "source_unreadable");
    assert.is(await code(() => store.list()), "source_unreadable");
    const again = await serve();
    assert.equal(await bytesOf((await store.get("a"))!), bytes);
    await store.delete("a");
    await storage.dispose();
    again.kill("SIGKILL");
  });
}

test.run();
