/**
 * The page in WebKitGTK, which is near to what Safari and web views of iOS do.
 * @module
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { serveFiles } from "../../examples/page/serve.ts";
import type { Check } from "../binding/conformance.ts";
import { GREEDY_TEXT } from "../binding/digest.ts";
import type { WebDriver } from "../binding/webdriver.ts";
import { DAYS, STORY } from "./visit.ts";

const ENTER = "\uE007";
const ESCAPE = "\uE00C";
const ABORT_MS = 100;

/** Waits in the page until an expression is true. */
const until = (driver: WebDriver, expression: string) =>
  driver.run(
    `const done = arguments[0]; const start = Date.now();
     (function look() {
       if (${expression}) return done("");
       if (Date.now() - start > 120000) return done("not within two minutes: " + document.getElementById("status").textContent);
       setTimeout(look, 20);
     })();`,
  );
const value = (driver: WebDriver, expression: string) => driver.run(`arguments[0](${expression});`);
const STATUS = `document.getElementById("status").textContent`;
const ANSWER = `[...document.querySelectorAll("#messages li.model")].at(-1)?.querySelector("p").textContent`;

export function webkitChecks(driver: WebDriver, shots: string): Check[] {
  const shot = async (name: string) => writeFile(join(shots, `webkit-${name}.png`), await driver.screenshot());
  const settled = async (expression: string): Promise<void> => {
    const failure = await until(driver, expression);
    if (failure !== "") throw new Error(String(failure));
  };
  const open = async (url: string, settings: object): Promise<void> => {
    await driver.open(url);
    await value(
      driver,
      `localStorage.setItem("thimble-page-settings", ${JSON.stringify(JSON.stringify({ temperature: 0, ...settings }))})`,
    );
    await driver.open(url);
    await settled(`${STATUS} === "Ready."`);
  };
  const write = async (text: string): Promise<void> => {
    await value(driver, `document.getElementById("message").focus()`);
    await driver.keys(text + ENTER);
  };
  const ask = async (text: string): Promise<string> => {
    await write(text);
    await settled(`${STATUS} === "Writing." || document.querySelector("#messages li.model p")?.textContent`);
    await settled(`${STATUS} === "Ready." && document.getElementById("stop").disabled`);
    return String(await value(driver, ANSWER));
  };
  let server: Awaited<ReturnType<typeof serveFiles>> | undefined;
  return [
    {
      name: "the pinned text, by the keyboard; Escape stops",
      async run() {
        server = await serveFiles("build/page");
        await open(server.url, {});
        await shot("empty");
        const text = await ask(STORY);
        if (!text.startsWith(GREEDY_TEXT)) throw new Error(`text: ${text}`);
        await shot("answer");
        await driver.resize(420, 760);
        await shot("small");
        const tooWide = await value(driver, "document.documentElement.scrollWidth - innerWidth");
        if ((tooWide as number) > 0) throw new Error(`${tooWide} pixels too wide`);
        await driver.resize(1024, 768);
        await write(STORY);
        await settled(`${STATUS} === "Writing."`);
        const ms = await driver.run(
          `const done = arguments[0]; const status = document.getElementById("status"); let start;
           document.addEventListener("keydown", () => (start = performance.now()), { capture: true, once: true });
           new MutationObserver(() => status.textContent === "Stopped." && done(performance.now() - start))
             .observe(status, { childList: true, characterData: true, subtree: true });
           document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));`,
        );
        if (!((ms as number) <= ABORT_MS)) throw new Error(`stopped after ${ms} ms`);
        await write(STORY);
        await settled(`${STATUS} === "Writing."`);
        await driver.keys(ESCAPE);
        await settled(`${STATUS} === "Stopped."`);
        return `stopped after ${ms} ms`;
      },
    },
    {
      name: "what was forgotten is shown and recalled",
      async run() {
        await open(server!.url, { slots: 256, keys: "q4", values: "q3" });
        await ask(DAYS);
        await settled(`document.querySelector("#forgotten button")`);
        await shot("forgotten");
        await value(driver, `document.querySelector("#forgotten button").click()`);
        await settled(`document.activeElement.id === "message"`);
        await ask("What did the fox see?");
        await settled(`document.getElementById("forgotten").textContent.includes("recalled 1 time")`);
        return String(await value(driver, `document.getElementById("cache-text").textContent`));
      },
    },
    {
      name: "a damaged file is told with advice, and a tab that is hidden goes on with the same words",
      async run() {
        await open(server!.url, { slots: 1024, keys: "", values: "" });
        await value(
          driver,
          `(() => {
            const input = document.getElementById("file");
            const transfer = new DataTransfer();
            transfer.items.add(new File(["GGUF and then something else"], "bad.gguf"));
            input.files = transfer.files;
            input.dispatchEvent(new Event("change"));
          })()`,
        );
        await settled(`document.querySelector("#status.failed")`);
        const told = String(await value(driver, STATUS));
        if (!told.includes("Open another file")) throw new Error(`no advice: ${told}`);
        await shot("damaged");
        await open(server!.url, {});
        await write(STORY);
        await settled(`${STATUS} === "Writing."`);
        await value(driver, `document.addEventListener("visibilitychange", () => (window.wasHidden = true))`);
        await driver.away(1000);
        await settled(`document.getElementById("stop").disabled`);
        const text = String(await value(driver, ANSWER));
        if (!text.startsWith(GREEDY_TEXT)) throw new Error(`text: ${text}`);
        const wasHidden = await value(driver, "window.wasHidden === true");
        return `${told}; ${wasHidden ? "hidden for a second" : "another tab was in front"}`;
      },
    },
    {
      name: "after the first visit the page works without its server",
      async run() {
        await open(server!.url, { slots: 1024, keys: "", values: "" });
        if ((await value(driver, `"serviceWorker" in navigator`)) !== true) {
          server?.close();
          return "NOT RUN: this browser has no service workers";
        }
        await settled("navigator.serviceWorker.controller !== null");
        const { url } = server!;
        server!.close();
        await driver.open(url);
        await settled(`${STATUS} === "Ready."`);
        if (!(await ask(STORY)).startsWith(GREEDY_TEXT)) throw new Error("another text");
        return "the server was gone";
      },
    },
  ];
}
