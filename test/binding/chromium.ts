/**
 * The suite in headless Chromium: `node main.js BUNDLES MODEL CHROMIUM`. Serves the page on the loopback twice: with
 * no header but the content type (so it is not cross-origin isolated), and isolated, where pages may share memory with
 * workers; and a third page, with what pages must see beside the suite. Drives the browser and prints what pages report.
 * @module
 */
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { launchChromium } from "./chromium-launch.ts";
import type { CheckResult } from "./conformance.ts";
import { type PageServer, servePage } from "./page-server.ts";
import type { Report } from "./page-side.ts";
import { printMeasured, printResult, printTotal } from "./report.ts";

const [bundles, model, executablePath] = process.argv.slice(2) as [string, string, string];

/** Passes on what the page reports as it comes. @throws what the page threw, at any time */
async function runPage(
  browser: Browser,
  server: PageServer,
  name: "conform" | "checkPage",
  report: (result: Report) => void,
): Promise<void> {
  const page = await browser.newPage();
  const failure = new Promise<never>((_, reject) => {
    page.on("pageerror", reject);
    page.on("crash", () => reject(new Error("the page crashed")));
  });
  await page.exposeFunction("report", report);
  await page.exposeFunction("drive", (what: string) => drive(page, what));
  await page.goto(server.url);
  await Promise.race([page.evaluate(([call, v]) => globalThis[call](v), [name, version] as const), failure]);
  await page.close();
}

/** What pages cannot do to themselves. */
async function drive(page: Page, what: string): Promise<boolean> {
  const client = await page.context().newCDPSession(page);
  if (what === "freeze") {
    // Answers to the page wait until it is active again.
    await client.send("Page.setWebLifecycleState", { state: "frozen" });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await client.send("Page.setWebLifecycleState", { state: "active" });
    return true;
  }
  const { origin } = new URL(page.url());
  await client.send("Storage.overrideQuotaForOrigin", what === "fill" ? { origin, quotaSize: 1_000_000 } : { origin });
  return true;
}

const browser = await launchChromium(executablePath);
const version = `Chromium ${browser.version()}`;
console.log(version);
const results: CheckResult[] = [];
const report = (result: CheckResult): void => {
  printResult(result);
  results.push(result);
};
for (const kind of ["not isolated", "cross-origin isolated", "page-checks"]) {
  console.log(`-- ${kind}`);
  const isIsolated = kind === "cross-origin isolated";
  const onReport = (result: Report): void => {
    if (!("measured" in result)) report(result);
    else printMeasured({ ...result.measured, host: isIsolated ? "browser, isolated" : "browser" });
  };
  const isChecks = kind === "page-checks";
  const server = await servePage({ directory: join(bundles, isChecks ? kind : "page"), model, isIsolated });
  try {
    await runPage(browser, server, isChecks ? "checkPage" : "conform", onReport);
  } catch (error) {
    report({ name: "the page runs to its end", ok: false, detail: `${error}`, ms: 0 });
  }
  server.close();
}
await browser.close();
process.exitCode = printTotal(results) ? 0 : 1;
