/**
 * The suite in WebKitGTK, which is what web views of apps are like: no shared memory, no relaxed SIMD, no OPFS.
 * `node main.js BUNDLES MODEL WEBKIT_WEB_DRIVER MINI_BROWSER`.
 * @module
 */
import { join } from "node:path";
import type { CheckResult } from "./conformance.ts";
import { servePage } from "./page-server.ts";
import type { Report } from "./page-side.ts";
import { printMeasured, printResult, printTotal } from "./report.ts";
import { openWebKit } from "./webdriver.ts";

const [bundles, model, program, browser] = process.argv.slice(2) as [string, string, string, string];

const results: CheckResult[] = [];
const report = (result: Report): void => {
  if ("measured" in result) {
    printMeasured(result.measured);
    return;
  }
  printResult(result);
  results.push(result);
};
const driver = await openWebKit(program, browser);
const version = `WebKitGTK ${driver.version.replace(/^\w+ /, "")}`;
console.log(version);
for (const [page, call] of [
  ["webview", "conform"],
  ["page-checks", "checkPage"],
] as const) {
  console.log(`-- ${page}`);
  const directory = join(bundles, page);
  const server = await servePage({ directory, model, onReport: (json) => report(json as Report) });
  try {
    await driver.open(server.url);
    const script = `const [version, done] = arguments; ${call}(version).then(() => done(""), (e) => done(e + e.stack))`;
    const failure = await driver.run(script, version);
    if (failure !== "") throw new Error(String(failure));
  } catch (error) {
    report({ name: "the page runs to its end", ok: false, detail: `${error}`, ms: 0 });
  }
  server.close();
}
await driver.close();
process.exitCode = printTotal(results) ? 0 : 1;
