/** A side in a page of headless Chromium (pages/page.ts is the other end). @module */
import type { Browser, Page } from "playwright-core";
import type { Side } from "./interleave.ts";

/** A page that takes longer for one request hangs. */
const TIMEOUT_MS = 600_000;

export interface PageOptions {
  /** Of the server. */
  readonly url: string;
  /** Name of the page's script in pages/. */
  readonly script: string;
  readonly options: Readonly<Record<string, string>>;
}

/** Opens the page and loads the model in it. */
export async function openPageSide(
  browser: Browser,
  name: string,
  { url, script, options }: PageOptions,
): Promise<Side> {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  const words: string[] = [];
  page.on("console", (message) => words.push(message.text()));
  const guarded = <T>(work: Promise<T>): Promise<T> => whileAlive(page, work, words);
  /** A fresh page: compiled code and the runtime's memory are gone. */
  const load = async (): Promise<number> => {
    await page.goto(`${url}/${script}.html`);
    await page.waitForFunction(() => globalThis.bench !== undefined);
    return page.evaluate((given) => globalThis.bench.open(given), options);
  };
  try {
    await guarded(load());
  } catch (error) {
    await page.close();
    throw error;
  }
  return {
    name,
    info: await page.evaluate(() => globalThis.bench.info()),
    measure: async (request) => {
      if (request.op === "first token") return { value: await guarded(load()) };
      return { value: await guarded(page.evaluate((given) => globalThis.bench.measure(given), request)) };
    },
    close: () => page.close(),
  };
}

/** `work`, or what made it fail: the page's crash, an error nobody caught, or too long a time. */
async function whileAlive<T>(page: Page, work: Promise<T>, words: readonly string[]): Promise<T> {
  const stop: { timer?: NodeJS.Timeout; onError?: (error: Error) => void; onCrash?: () => void } = {};
  const failure = new Promise<never>((_, reject) => {
    stop.onError = reject;
    stop.onCrash = () => reject(new Error("the page crashed"));
    stop.timer = setTimeout(() => reject(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
    page.on("pageerror", stop.onError);
    page.on("crash", stop.onCrash);
  });
  try {
    return await Promise.race([work, failure]);
  } catch (error) {
    const last = words.at(-1);
    throw last === undefined ? error : new Error(`${(error as Error).message}; the page said: ${last.slice(0, 300)}`);
  } finally {
    clearTimeout(stop.timer);
    page.off("pageerror", stop.onError!);
    page.off("crash", stop.onCrash!);
  }
}
