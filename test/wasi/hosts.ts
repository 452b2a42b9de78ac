/**
 * The command on hosts of other makers: wasmtime (a stand-alone engine, through test/wasi/wasmtime_run.py), node:wasi as
 * people call it, and a page in Chromium with a WASI of its own. Each must print what the library prints.
 *
 *   node build/wasi/hosts.js [PYTHON] [CHROMIUM]
 *
 * dist/ must be built. A host that is missing counts as failed.
 * @module
 */
import { spawnSync } from "node:child_process";
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { temporaryFolder } from "../temporary.ts";

const [python = "build/wasi/venv/bin/python", chromiumPath = "/usr/bin/chromium"] = process.argv.slice(2);
const MODEL = "models/thimble-15m.Q4_0.gguf";
const FOX = "Tell me a story about a fox.";

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
function run(program: string, args: readonly string[], input = ""): Outcome {
  const { status, stdout, stderr, error } = spawnSync(program, args, { input, encoding: "utf8" });
  if (error !== undefined) throw error;
  return { code: status, stdout, stderr };
}

const folder = temporaryFolder("wasi");
const packed = run(process.execPath, ["dist/cli.js", "pack", "--wasi", MODEL, "-o", join(folder, "model.thimble")]);
if (packed.code !== 0) throw new Error(packed.stderr);

/** Arguments behind the model's, what stands on stdin, and what the library's tool is asked for the same. */
const CASES: readonly (readonly [string, readonly string[], string])[] = [
  ["greedy", [FOX, "--temperature", "0", "-n", "40"], ""],
  ["drawn", [FOX, "--seed", "7", "-n", "60"], ""],
  ["stdin", ["--seed", "8", "-n", "20"], "Caf\u00e9, \u4f60\u597d?\n"],
  ["raw", ["Once upon a time", "--raw", "--temperature", "0", "-n", "20"], ""],
];

type Host = (args: readonly string[], stdin: string) => Promise<Outcome>;

let passed = 0;
let failed = 0;

async function check(host: string, what: string, run: () => Promise<string | undefined>): Promise<void> {
  const problem = await run().catch((error: unknown) => String(error));
  console.log(
    `${problem === undefined ? "ok  " : "FAIL"} ${host}: ${what}${problem === undefined ? "" : `: ${problem}`}`,
  );
  if (problem === undefined) passed += 1;
  else failed += 1;
}

async function checkHost(name: string, host: Host, model: string): Promise<void> {
  for (const [what, args, stdin] of CASES) {
    await check(name, what, async () => {
      const wanted = run(process.execPath, ["dist/cli.js", "run", "-q", "-m", MODEL, ...args], stdin);
      const { code, stdout, stderr } = await host([model, ...args], stdin);
      return code === 0 && stdout === wanted.stdout ? undefined : JSON.stringify({ code, stdout, stderr, wanted });
    });
  }
  await check(name, "no such file", async () => {
    const { code, stderr } = await host([`${model}.none`, "x"], "");
    return code === 1 && stderr.includes("there is no such file") ? undefined : JSON.stringify({ code, stderr });
  });
  await check(name, "wrong usage", async () => {
    const { code, stderr } = await host(["--frob"], "");
    return code === 2 && stderr.includes("no option --frob") ? undefined : JSON.stringify({ code, stderr });
  });
}

const SCRIPT = "test/wasi/wasmtime_run.py";
await checkHost(
  "wasmtime",
  async (args, stdin) => run(python, [SCRIPT, "dist/thimble.wasm", folder, ...args], stdin),
  "/models/model.thimble",
);
await checkHost(
  `Node ${process.version}`,
  async (args, stdin) => run(process.execPath, ["dist/wasi-cli.js", "--dir", folder, ...args], stdin),
  "model.thimble",
);

const FILES: Readonly<Record<string, readonly [path: string, type: string]>> = {
  "/page.js": ["build/wasi/page.js", "text/javascript"],
  "/thimble.wasm": ["dist/thimble.wasm", "application/wasm"],
  "/model.thimble": [join(folder, "model.thimble"), "application/octet-stream"],
};
const server = createServer(({ url = "" }, response) => {
  const found = FILES[url];
  if (url === "/") response.setHeader("content-type", "text/html").end('<script type="module" src="page.js"></script>');
  else if (found === undefined) response.writeHead(404).end();
  else createReadStream(found[0]).pipe(response.setHeader("content-type", found[1]));
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium
  .launch({ executablePath: chromiumPath, args: ["--headless", "--no-sandbox", "--disable-gpu"] })
  .catch((error: unknown) => String(error));
if (typeof browser === "string") await check("Chromium", "starts", async () => browser);
else {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction(() => "runCommand" in globalThis);
  await checkHost(
    `Chromium ${browser.version()}`,
    (args, stdin) => page.evaluate(([args, stdin]) => globalThis.runCommand(args, stdin), [args, stdin] as const),
    "/models/model.thimble",
  );
  await browser.close();
}
server.close();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
