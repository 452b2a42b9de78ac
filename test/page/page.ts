/**
 * The page of examples/page in real browsers: `node build/page-test/page.js [chromium] [webkit] [WORDS]`, both where none
 * is named, and of their checks those whose names have the words. Needs build/page (`npm run page:build`). Screenshots go to build/page-shots, to be looked at. The last line is `N passed, N failed`.
 * @module
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { launchChromium } from "../binding/chromium-launch.ts";
import { type Check, type CheckResult, runChecks } from "../binding/conformance.ts";
import { printResult, printTotal } from "../binding/report.ts";
import { openWebKit } from "../binding/webdriver.ts";
import { chromiumChecks } from "./chromium.ts";
import { webkitChecks } from "./webkit.ts";

/** Where Debian puts them. */
const CHROMIUM = "/usr/bin/chromium";
const MINI_BROWSER = ["1", "0"]
  .map((version) => `/usr/lib/x86_64-linux-gnu/webkit2gtk-4.${version}/MiniBrowser`)
  .find((path) => existsSync(path));
export const SHOTS = "build/page-shots";

const BROWSERS = ["chromium", "webkit"];
const named = process.argv.slice(2).filter((word) => BROWSERS.includes(word));
const words = process.argv.slice(2).filter((word) => !BROWSERS.includes(word));
const wants = (name: string): boolean => named.length === 0 || named.includes(name);
const chosen = (checks: readonly Check[]): Check[] =>
  checks.filter(({ name }) => words.every((word) => name.includes(word)));
const results: CheckResult[] = [];
await mkdir(SHOTS, { recursive: true });
if (wants("chromium")) {
  const browser = await launchChromium(CHROMIUM);
  console.log(`Chromium ${browser.version()}`);
  results.push(...(await runChecks(chosen(chromiumChecks(browser, SHOTS)), printResult)));
  await browser.close();
}
if (wants("webkit")) {
  if (MINI_BROWSER === undefined) throw new Error("no MiniBrowser of WebKitGTK; .ci/hosts installs it");
  const driver = await openWebKit("WebKitWebDriver", MINI_BROWSER);
  console.log(driver.version);
  results.push(...(await runChecks(chosen(webkitChecks(driver, SHOTS)), printResult)));
  await driver.close();
}
process.exitCode = printTotal(results) ? 0 : 1;
