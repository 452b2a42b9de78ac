/**
 * The suite in headless Chromium: `node main.js PAGE_DIRECTORY MODEL CHROMIUM`. Serves the page on the loopback twice: with
 * no header but the content type (so it is not cross-origin isolated), and isolated, where pages may share memory with
 * workers. Drives the browser and prints what the pages report.
 * @module
 */
import { createReadStream } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import type { CheckResult } from "./conformance.ts";
import { printResult, printTotal } from "./report.ts";

const [directory, model, executablePath] = process.argv.slice(2) as [string, string, string];

const PAGE = `<!doctype html><meta charset="utf-8"><title>conformance</title><link rel="icon" href="data:,">
<script type="module" src="main.js"></script>`;
const FILES: Readonly<Record<string, readonly [file: string, type: string]>> = {
  "/main.js": [join(directory, "main.js"), "text/javascript"],
  "/simd.wasm": [join(directory, "simd.wasm"), "application/wasm"],
  "/relaxed.wasm": [join(directory, "relaxed.wasm"), "application/wasm"],
  "/simd-threads.wasm": [join(directory, "simd-threads.wasm"), "application/wasm"],
  "/relaxed-threads.wasm": [join(directory, "relaxed-threads.wasm"), "application/wasm"],
  "/browser-worker.js": [join(directory, "browser-worker.js"), "text/javascript"],
  "/model.gguf": [model, "application/octet-stream"],
};
/** Root without a sandbox, and no traffic of the browser's own. */
const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

function serve(isIsolated: boolean): Promise<Server> {
  const server = createServer(({ url = "" }, response) => {
    if (isIsolated) {
      response.setHeader("cross-origin-opener-policy", "same-origin");
      response.setHeader("cross-origin-embedder-policy", "require-corp");
    }
    const found = FILES[url];
    if (url === "/") response.setHeader("content-type", "text/html").end(PAGE);
    else if (found === undefined) response.writeHead(404).end();
    else createReadStream(found[0]).pipe(response.setHeader("content-type", found[1]));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** Passes on what the page reports as it comes. @throws what the page threw, at any time */
async function runPage(browser: Browser, server: Server, report: (result: CheckResult) => void): Promise<void> {
  const page = await browser.newPage();
  const failure = new Promise<never>((_, reject) => {
    page.on("pageerror", reject);
    page.on("crash", () => reject(new Error("the page crashed")));
  });
  page.on("console", (message) => console.log(`page: ${message.text()}`));
  await page.exposeFunction("report", report);
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await Promise.race([page.evaluate(() => globalThis.conform()), failure]);
  await page.close();
}

const browser = await chromium.launch({ executablePath, args: ARGUMENTS });
console.log(`Chromium ${browser.version()}`);
const results: CheckResult[] = [];
const report = (result: CheckResult): void => {
  printResult(result);
  results.push(result);
};
for (const isIsolated of [false, true]) {
  console.log(isIsolated ? "-- cross-origin isolated" : "-- not isolated");
  const server = await serve(isIsolated);
  try {
    await runPage(browser, server, report);
  } catch (error) {
    report({ name: "the page runs to its end", ok: false, detail: `${error}`, ms: 0 });
  }
  server.close();
}
await browser.close();
process.exitCode = printTotal(results) ? 0 : 1;
