/** examples/webview in Chromium and WebKitGTK: kept, trimmed, reloaded, it goes on with the words of one that was left alone. @module */
import { join } from "node:path";
import type { Browser } from "playwright-core";
import { serveFiles } from "../../examples/page/serve.ts";
import type { WebDriver } from "../binding/webdriver.ts";
import { OUT } from "./build.ts";
import { STORY } from "./server-checks.ts";

export const QUESTIONS = [STORY, "What is the capital of France?", "Tell me more."];
const TIMEOUT_MS = 60_000;

/** A script of the page: one turn; the answer. */
const ASK = `const [text, done] = arguments; const status = document.querySelector("#status");
  const settled = (then) => { const start = Date.now(); (function look() {
    if (status.textContent === "Ready" || Date.now() - start > ${TIMEOUT_MS}) return then();
    setTimeout(look, 20); })(); };
  settled(() => {
    document.querySelector("textarea").value = text;
    document.querySelector("form").requestSubmit();
    setTimeout(() => settled(() => done([...document.querySelectorAll("li")].map((item) => item.textContent))), 20);
  });`;
const TRIM = `const done = arguments[0]; dispatchEvent(new Event("thimble-memory-warning")); setTimeout(done, 1000, "");`;

/** What checks do with a page, by whatever drives it. */
interface Driven {
  open(url: string): Promise<unknown>;
  /** As `WebDriver.run`. */
  run(body: string, ...args: unknown[]): Promise<unknown>;
}

/** @param expected - answers to `QUESTIONS` of a conversation that nothing disturbs */
async function converse(driven: Driven, expected: readonly string[], onTrimmed: () => Promise<void>): Promise<string> {
  const server = await serveFiles(join(OUT, "webview"));
  const url = `${server.url}?temperature=0`;
  try {
    await driven.open(url);
    await driven.run(ASK, QUESTIONS[0]);
    await driven.run(TRIM);
    await onTrimmed();
    await driven.run(ASK, QUESTIONS[1]);
    await driven.open(url);
    const all = (await driven.run(ASK, QUESTIONS[2])) as string[];
    const answers = all.filter((_, i) => i % 2 === 1);
    if (JSON.stringify(answers) !== JSON.stringify(expected)) throw new Error(JSON.stringify({ answers, expected }));
    return `${answers.length} answers, trimmed after the first, reloaded after the second`;
  } finally {
    server.close();
  }
}

export async function webviewInChromium(browser: Browser, expected: readonly string[]): Promise<string> {
  const page = await browser.newPage();
  const client = await page.context().newCDPSession(page);
  // The page's content policy forbids to make a function of a text: the debugger may.
  const run: Driven["run"] = async (body, ...args) => {
    const given = [...args.map((arg) => JSON.stringify(arg)), "resolve"].join(", ");
    const expression = `new Promise((resolve) => (function () { ${body} })(${given}))`;
    const told = await client.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (told.exceptionDetails) throw new Error(told.exceptionDetails.exception?.description ?? "a script failed");
    return told.result.value;
  };
  return converse({ open: (url) => page.goto(url), run }, expected, async () => {
    if (page.workers().length > 0) throw new Error("the worker is still there");
  });
}

export function webviewInWebKit(driver: WebDriver, expected: readonly string[]): Promise<string> {
  return converse(driver, expected, async () => {});
}
