/**
 * Runs every example on its host: `npm run test:examples [-- WORDS]`, those whose names have the words. Needs dist
 * (`npm run build`), Node 22 for Miniflare, and the hosts that .ci/hosts installs; one that is missing is a failure. The last line
 * is `N passed, N failed`.
 * @module
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { loadModel } from "thimble";
import { launchChromium } from "../binding/chromium-launch.ts";
import { type Check, runChecks } from "../binding/conformance.ts";
import { HOSTS } from "../binding/host-list.ts";
import { printResult, printTotal } from "../binding/report.ts";
import { openWebKit } from "../binding/webdriver.ts";
import { buildExamples, OUT } from "./build.ts";
import { type Server, serverChecks } from "./server-checks.ts";
import { QUESTIONS, webviewInChromium, webviewInWebKit } from "./webview-checks.ts";
import { workerCheck } from "./worker-check.ts";

const exec = promisify(execFile);
const MODEL = "models/thimble-15m.Q4_0.gguf";

/** Programs of servers: ended whatever happens. */
const children: ChildProcess[] = [];
process.on("exit", () => {
  for (const child of children) child.kill();
});

/** @throws Error that says how to get a host that is missing */
async function programOf(host: string): Promise<string> {
  const found = await HOSTS[host]!.find();
  if (found === undefined) throw new Error(`${host} is missing: ${HOSTS[host]!.missing}`);
  return found;
}

function started(program: string, args: readonly string[], cwd = "."): ChildProcess {
  const child = spawn(program, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  return child;
}

async function startNode(): Promise<Server> {
  const child = started(process.execPath, [join(OUT, "node-server.js"), "0"]);
  const url = await new Promise<string>((done, fail) => {
    child.stdout!.setEncoding("utf8").once("data", (text: string) => done(text.trim()));
    child.once("exit", (code) => fail(new Error(`it ended with ${code}`)));
  });
  return { url, close: () => child.kill() };
}

async function startDeno(): Promise<Server> {
  const port = await freePort();
  const child = started(
    await programOf("deno"),
    [
      ...[
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        `${port}`,
        "--node-modules-dir=manual",
        "--no-remote",
        "--no-prompt",
      ],
      ...["--allow-read", "--allow-env", "deno-edge.ts"],
    ],
    join(OUT, "deno"),
  );
  const url = `http://127.0.0.1:${port}/`;
  for (let left = 300; ; --left) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
    if (
      await fetch(url, { method: "POST" }).then(
        () => true,
        () => false,
      )
    )
      break;
    if (left === 0) throw new Error("it does not answer");
    await new Promise((done) => setTimeout(done, 100));
  }
  return { url, close: () => child.kill() };
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

/** What a conversation answers that nothing disturbs, as the web view loads its model. */
async function undisturbed(): Promise<readonly string[]> {
  await using model = await loadModel(MODEL, { contextLength: 1024, budget: "32MB" });
  await using session = model.session({ overflow: "evict" });
  const answers: string[] = [];
  for (const question of QUESTIONS) answers.push((await session.complete(question, { temperature: 0 })).text);
  return answers;
}

const CHECKS: Check[] = [
  {
    name: "chat: two turns",
    async run() {
      const { stdout } = await exec(process.execPath, [join(OUT, "chat.js")]);
      if (!/Paris[\s\S]*fox[\s\S]*tokens, \d+ of them from the cache/.test(stdout)) throw new Error(stdout);
      return stdout.trim().split("\n").at(-1)!;
    },
  },
  {
    name: "long-context: the bytes stay below the limit, what went is listed, and comes back",
    async run() {
      const { stdout } = await exec(process.execPath, [join(OUT, "long-context.js"), "600000"]);
      const rows = [...stdout.matchAll(/^ +\d+ +(\d+) +(\d+) +(\d+) +(\d+)$/gm)].map((row) => row.slice(1).map(Number));
      const [tokens, held, bytes, memory] = rows.at(-1)!;
      if (rows.length !== 12 || tokens! < 5 * held! || rows.some((row) => row[2]! > 600_000)) throw new Error(stdout);
      if (rows.some((row) => row[3] !== memory)) throw new Error(`memory grew:\n${stdout}`);
      if (!/Forgotten: \d+ tokens/.test(stdout) || !/Recalled .* 48210\.\n$/.test(stdout)) throw new Error(stdout);
      return `${tokens} tokens in ${bytes} bytes`;
    },
  },
  {
    name: "cli-pipeline: questions in, answers out, without a network",
    async run() {
      const cli = `${process.execPath} ${resolve("dist/cli.js")}`;
      // A network of its own, in which there is nothing, where the system lets us make one.
      const hasNone = await exec("unshare", ["-rn", "true"]).then(
        () => true,
        () => false,
      );
      const script = ["bash", "examples/cli-pipeline.sh"];
      const [program, ...args] = hasNone ? ["unshare", "-rn", ...script] : script;
      const running = exec(program!, args, { env: { ...process.env, THIMBLE: cli, HF_HUB_OFFLINE: "1" } });
      running.child.stdin!.end("What is the capital of France?\nWhat do cats eat?\n");
      const { stdout, stderr } = await running;
      const [answers, story] = stdout.split("--\n");
      if (answers?.trim().split("\n").length !== 2 || (story ?? "").length < 20) throw new Error(stdout);
      if ((stderr.match(/[1-9]\d* of them from the pack/g) ?? []).length !== 2) throw new Error(stderr);
      return `${hasNone ? "no network" : "a network was there"}: ${answers.split("\n")[0]}`;
    },
  },
  ...serverChecks("node-server", startNode),
  ...serverChecks("deno-edge", startDeno),
  workerCheck(resolve("build/hosts/node_modules/miniflare")),
  {
    name: "webview in Chromium: a conversation outlives a memory warning and the page",
    async run() {
      const browser = await launchChromium(await programOf("chromium"));
      return webviewInChromium(browser, await undisturbed()).finally(() => browser.close());
    },
  },
  {
    name: "webview in WebKitGTK: a conversation outlives a memory warning and the page",
    async run() {
      const driver = await openWebKit("WebKitWebDriver", await programOf("webkit"));
      return webviewInWebKit(driver, await undisturbed()).finally(() => driver.close());
    },
  },
];

const words = process.argv.slice(2);
await buildExamples();
const chosen = CHECKS.filter(({ name }) => words.every((word) => name.includes(word)));
// What a failed check has left open must not keep this process.
process.exit(printTotal(await runChecks(chosen, printResult)) ? 0 : 1);
