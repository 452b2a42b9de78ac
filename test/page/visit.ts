/**
 * A visit to the page in Chromium, with nothing kept from an earlier one, and what every check does with it.
 * @module
 */
import type { Browser, BrowserContext, Page } from "playwright-core";
import { serveFiles } from "../../examples/page/serve.ts";
import type { Check } from "../binding/conformance.ts";

export const STORY = "Tell me a short story about a fox.";
export const DAYS = Array.from({ length: 40 }, (_, n) => `On day ${n} the fox saw a bird.`).join(" ");
/** Of anything that has to compute first. */
export const PATIENCE = { timeout: 60_000 };

/** A page of its own, with nothing kept. */
export interface Visit {
  readonly page: Page;
  readonly context: BrowserContext;
  /** What the console, the content policy or a script has complained of. */
  readonly complaints: string[];
  /** The server goes away. */
  cut(): void;
  close(): Promise<void>;
}

/** Those of a check that has failed stay open: `settle` closes them. */
const visits = new Set<Visit>();

export async function visit(browser: Browser, settings: object = {}, options: object = {}): Promise<Visit> {
  const server = await serveFiles("build/page");
  const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
  await context.addInitScript(
    (kept) => {
      if (localStorage.getItem("thimble-page-settings") === null) localStorage.setItem("thimble-page-settings", kept);
      const tasks: number[] = [];
      Object.assign(globalThis, { tasks });
      new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
        entryTypes: ["longtask"],
      });
    },
    JSON.stringify({ temperature: 0, ...settings }),
  );
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE.timeout);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(`${error}`));
  const made: Visit = {
    ...{ page, context, complaints },
    cut: () => server.close(),
    async close() {
      visits.delete(made);
      await context.close();
      server.close();
    },
  };
  visits.add(made);
  await page.goto(server.url);
  await ready(page);
  return made;
}

/** The same checks, each of which leaves nothing open. */
export function settled(checks: readonly Check[]): Check[] {
  return checks.map(({ name, run }) => ({
    name,
    async run() {
      try {
        return await run();
      } finally {
        for (const left of visits) await left.close();
      }
    },
  }));
}

export async function ready(page: Page, text = "Ready."): Promise<void> {
  await page.getByRole("status").filter({ hasText: text }).waitFor(PATIENCE);
}

export const answers = (page: Page) => page.locator("#messages li.model > p:not(.note)");

/** Writes a message by the keyboard; the answer. */
export async function ask(page: Page, text: string): Promise<string> {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
  await page.locator("#stop:enabled").waitFor();
  await page.locator("#stop:disabled").waitFor(PATIENCE);
  await ready(page);
  return (await answers(page).last().textContent()) ?? "";
}
