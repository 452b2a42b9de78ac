/** Files that are none or damaged, a network that is gone, a page that nobody looks at. @module */
import { readFile } from "node:fs/promises";
import type { Browser, Page } from "playwright-core";
import type { Check } from "../binding/conformance.ts";
import { GREEDY_TEXT } from "../binding/digest.ts";
import { answers, ask, PATIENCE, ready, STORY, visit } from "./visit.ts";

const MODEL = "models/thimble-15m.Q4_0.gguf";

/** A headless browser does not always hide the page of a window that is minimized; frozen it is in any case. */
const HIDE_MS = 300;

export function troubleChecks(browser: Browser, shot: (page: Page, name: string) => Promise<unknown>): Check[] {
  return [
    {
      name: "a file of the user's, chosen or dropped; another kind of file is told",
      async run() {
        const { page, close } = await visit(browser);
        await page.locator("#file").setInputFiles(MODEL);
        await page.getByRole("status").filter({ hasText: /^$/ }).waitFor();
        await ready(page);
        await page.locator("#file").setInputFiles({ name: "a.gguf", mimeType: "", buffer: Buffer.from("no model") });
        await page.locator("#status.failed").waitFor();
        const told = await page.getByRole("status").textContent();
        if (!told?.includes("Open another file")) throw new Error(`no advice: ${told}`);
        await page.evaluate(async (url) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([await (await fetch(url)).blob()], "dropped.gguf"));
          for (const type of ["dragover", "drop"]) {
            document.body.dispatchEvent(
              new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }),
            );
          }
        }, MODEL);
        await ready(page);
        if (!(await ask(page, STORY)).startsWith(GREEDY_TEXT)) throw new Error("another text");
        await close();
        return `${told}`;
      },
    },
    {
      name: "a damaged file is told with advice, leaves no figures behind, and another one is taken",
      async run() {
        const { page, close } = await visit(browser);
        const bytes = await readFile(MODEL);
        for (const [part, why] of [
          [bytes.subarray(0, bytes.length / 2), "truncated"],
          [bytes.subarray(0, 1000), "header"],
        ] as const) {
          await page.locator("#file").setInputFiles({ name: `${why}.gguf`, mimeType: "", buffer: part });
          await page.locator("#status.failed", { hasText: why }).waitFor();
          const told = await page.getByRole("status").textContent();
          if (!told?.includes("download it again")) throw new Error(`no advice: ${told}`);
          if (await page.locator("#send").isEnabled()) throw new Error("it takes messages without a model");
        }
        await shot(page, "damaged");
        const memory = await page.locator("#memory-text").textContent();
        if (memory !== "none") throw new Error(`memory: ${memory}`);
        const told = await page.getByRole("status").textContent();
        await page.locator("#file").setInputFiles(MODEL);
        await ready(page);
        if (!(await ask(page, STORY)).startsWith(GREEDY_TEXT)) throw new Error("another text");
        await close();
        return `${told}`;
      },
    },
    {
      name: "after the first visit the page works without its server",
      async run() {
        const { page, cut, complaints, close } = await visit(browser);
        await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
        cut();
        await page.reload();
        await ready(page);
        if (!(await ask(page, STORY)).startsWith(GREEDY_TEXT)) throw new Error("another text");
        if (complaints.length > 0) throw new Error(complaints.join("\n"));
        await close();
        return "the server was gone";
      },
    },
    {
      name: "a tab that is hidden or frozen, and back, goes on with the same words",
      async run() {
        const { page, context, close } = await visit(browser);
        const client = await context.newCDPSession(page);
        let hide = (): void => {};
        const hidden = new Promise<boolean>((resolve) => {
          hide = () => resolve(true);
          setTimeout(resolve, HIDE_MS, false);
        });
        await page.exposeFunction("hide", () => hide());
        await page.evaluate(() =>
          document.addEventListener("visibilitychange", () => {
            if (document.visibilityState === "hidden") (globalThis as never as Hiding).hide();
          }),
        );
        await page.getByLabel("Message", { exact: true }).fill(STORY);
        await page.keyboard.press("Enter");
        await answers(page).last().filter({ hasText: /\w{3}/ }).waitFor();
        const { windowId } = await client.send("Browser.getWindowForTarget");
        await client.send("Browser.setWindowBounds", { windowId, bounds: { windowState: "minimized" } });
        const wasHidden = await hidden;
        const before = (await answers(page).last().textContent())?.length;
        await client.send("Page.setWebLifecycleState", { state: "frozen" });
        await new Promise((resolve) => setTimeout(resolve, 1000));
        await client.send("Page.setWebLifecycleState", { state: "active" });
        await client.send("Browser.setWindowBounds", { windowId, bounds: { windowState: "normal" } });
        await page.locator("#stop:disabled").waitFor(PATIENCE);
        const text = (await answers(page).last().textContent()) ?? "";
        if (!text.startsWith(GREEDY_TEXT)) throw new Error(`text: ${text}`);
        await close();
        const how = wasHidden ? "hidden" : "minimized, which this browser did not tell the page,";
        return `${how} after ${before} of ${text.length} letters, and frozen for a second`;
      },
    },
  ];
}

interface Hiding {
  hide(): void;
}
