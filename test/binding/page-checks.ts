/**
 * What a page must see beside the conformance suite, in a real browser: a model in a worker that never blocks the page, and
 * what happens when something is missing, refused, full, evicted or killed: an error with its code, and nothing broken.
 * @module
 */
import {
  keptModel,
  loadInWorker,
  type PageModel,
  type PageSession,
  removeKept,
  ThimbleError,
} from "../../bindings/browser/page.ts";
import { type Check, type CheckResult, runChecks } from "./conformance.ts";
import { GREEDY_TEXT, SAMPLED_TEXT } from "./digest.ts";

const STORY = "Tell me a short story about a fox.";
const SKY = "Why is the sky blue?";
const GREEDY = { temperature: 0, maxTokens: 40 } as const;
const SAMPLED = { seed: 20, maxTokens: 40 } as const;
const LONG = { temperature: 0, ignoreEos: true, maxTokens: 200 } as const;
const MODEL = new URL("model.gguf", document.baseURI).href;
/** The longest task of a page that people do not notice, and the longest wait for an abort. */
const TASK_MS = 50;
const ABORT_MS = 100;

/** What only the program that drives the browser can do; it answers false where it cannot. */
type Drive = (what: "freeze" | "fill" | "unfill") => Promise<boolean>;

declare global {
  var checkPage: () => Promise<void>;
  var drive: Drive | undefined;
}

/** How the page's server answers for a file from now on. */
type Mode = "whole" | "missing" | "page" | "untyped" | "cut" | "hang-up";
const serveAs = (path: string, mode: Mode) => fetch(`control?path=${path}&mode=${mode}`);
const MODULES = ["simd.wasm", "relaxed.wasm"];

function checks(): Check[] {
  let loading: Promise<PageModel> | undefined;
  const shared = () => {
    loading ??= loadInWorker(MODEL);
    return loading;
  };
  const drive: Drive = (what) => globalThis.drive?.(what) ?? Promise.resolve(false);

  return [
    {
      name: "a model in a worker writes the pinned texts",
      async run() {
        const model = await shared();
        same(await alone(model, GREEDY, STORY), GREEDY_TEXT, "greedy text");
        same(await alone(model, SAMPLED, SKY), SAMPLED_TEXT, "sampled text");
        return `build ${model.stats.variant}, ${(await model.count(STORY)) > 0 ? "it counts" : ""}`;
      },
    },
    {
      name: `no task of the page's main thread is longer than ${TASK_MS} ms while a model writes`,
      async run() {
        // A machine that does something else makes tasks late, so the best run counts, against a page whose worker is busy
        // with nothing.
        const model = await shared();
        let best = Number.POSITIVE_INFINITY;
        let control = 0;
        for (let i = 0; i < 5 && best > TASK_MS; ++i) {
          control = Math.max(control, await longestGap(spin));
          best = Math.min(best, await longestGap(() => write(model)));
        }
        const loading = await longestGap(async () => (await loadInWorker(MODEL)).close());
        check(
          best <= Math.max(TASK_MS, 2 * control),
          `the page stood still for ${best} ms, the control for ${control}`,
        );
        const beside = `beside a worker that only spins ${control.toFixed(0)} ms`;
        return `longest ${best.toFixed(0)} ms, ${beside}; while a model loads ${loading.toFixed(0)} ms`;
      },
    },
    {
      name: `an abort is answered within ${ABORT_MS} ms, in a prompt and in a text, and leaves the session as it was`,
      async run() {
        const model = await shared();
        await using session = await model.session();
        await session.complete(STORY, GREEDY);
        const before = JSON.stringify([session.tokens, session.messages]);
        const answers: number[] = [];
        for (const inPrompt of [true, false]) {
          let best = Number.POSITIVE_INFINITY;
          for (let i = 0; i < 3 && best > ABORT_MS; ++i) best = Math.min(best, await abortMs(session, inPrompt));
          check(best <= ABORT_MS, `an abort was answered after ${best.toFixed(0)} ms`);
          same(JSON.stringify([session.tokens, session.messages]), before, "the session after an abort");
          answers.push(best);
        }
        for await (const _piece of session.generate(SKY, SAMPLED)) break;
        await using fresh = await model.session();
        await fresh.complete(STORY, GREEDY);
        const expected = await fresh.complete(SKY, GREEDY);
        same((await session.complete(SKY, GREEDY)).text, expected.text, "text after aborts");
        return `${answers.map((ms) => ms.toFixed(0)).join(" and ")} ms`;
      },
    },
    {
      name: "a frozen page goes on with the same words",
      async run() {
        const model = await shared();
        const expected = await alone(model, LONG, STORY);
        await using session = await model.session();
        let text = "";
        let isFrozen: boolean | undefined;
        for await (const piece of session.generate(STORY, LONG)) {
          text += piece;
          isFrozen ??= await drive("freeze");
        }
        same(text, expected, "text");
        return isFrozen ? "frozen for a second in the middle of a turn" : "NOT RUN: this driver cannot freeze a page";
      },
    },
    {
      name: "a capsule and a trimmed model go on with the same words",
      async run() {
        const model = await shared();
        await using session = await model.session();
        await session.complete(STORY, GREEDY);
        const capsule = await session.save();
        const expected = await session.complete(SKY, SAMPLED);
        await using restored = await model.restore(capsule);
        same((await restored.complete(SKY, SAMPLED)).text, expected.text, "text from the capsule");
        await using kept = await model.restore(capsule, { tenant: "page" });
        await model.trim();
        same((await kept.complete(SKY, SAMPLED)).text, expected.text, "text after the model was trimmed");
        await using second = await model.session({ tenant: "page" });
        // more than a page of it: packed pages are shared whole
        const { usage } = await second.complete(kept.messages.slice(0, 3), GREEDY);
        if (usage.reusedTokens === 0) throw new Error("a trimmed session has lost its tenant");
        return `${(capsule.byteLength / 1024).toFixed(0)} KiB`;
      },
    },
    {
      name: "errors keep their codes on the way to the page",
      async run() {
        const model = await shared();
        await using session = await model.session();
        const long = await caught(() => session.complete({ text: "fox ".repeat(9000) }, GREEDY));
        same(codeOf(long), "context_length_exceeded", "a prompt that is too long");
        check((long as ThimbleError).needed! > (long as ThimbleError).available!, "amounts are lost");
        const mute = await caught(() => loadInWorker(MODEL, { budget: 1_000_000 }));
        same(codeOf(mute), "over_budget", "a budget that is too small");
        same(codeOf(await caught(() => loadInWorker(`${MODEL}.missing`))), "source_unreadable", "a missing file");
        const stream = new Blob([]).stream();
        same(codeOf(await caught(() => loadInWorker(stream))), "invalid_option", "a stream");
        const busy = session.generate(STORY, GREEDY)[Symbol.asyncIterator]();
        await busy.next();
        same(codeOf(await caught(() => session.complete(SKY))), "busy", "two turns at once");
        await busy.return();
        return "5 errors";
      },
    },
    {
      name: "a module that is not there, or is something else, is wasm_unreadable; its content type does not matter",
      async run() {
        try {
          for (const mode of ["missing", "page", "cut", "hang-up"] as const) {
            for (const name of MODULES) await serveAs(name, mode);
            const error = await caught(() => loadInWorker(MODEL));
            same(codeOf(error), "wasm_unreadable", `a module served as "${mode}"`);
          }
          for (const name of MODULES) await serveAs(name, "untyped");
          await using model = await loadInWorker(MODEL);
          same(await alone(model, GREEDY, STORY), GREEDY_TEXT, "text with a module of a wrong content type");
        } finally {
          for (const name of MODULES) await serveAs(name, "whole");
        }
        return "missing, a page, cut short, no answer";
      },
    },
    {
      name: "a worker that is killed, or that does not start, is worker_ended; a capsule goes on in another",
      async run() {
        const workers: Worker[] = [];
        const makeWorker = () => {
          workers.push(new Worker(new URL("./model-worker.js", import.meta.url), { type: "module" }));
          return workers.at(-1)!;
        };
        const model = await loadInWorker(MODEL, { makeWorker });
        const session = await model.session();
        await session.complete(STORY, GREEDY);
        const capsule = await session.save();
        const expected = await session.complete(SKY, SAMPLED);
        const error = await caught(async () => {
          for await (const _piece of session.generate(SKY, LONG)) workers[0]!.terminate();
        });
        same(codeOf(error), "worker_ended", "a turn whose worker was killed");
        same(codeOf(await caught(() => model.session())), "worker_ended", "a session afterwards");
        await using next = await loadInWorker(MODEL);
        await using restored = await next.restore(capsule);
        same((await restored.complete(SKY, SAMPLED)).text, expected.text, "text from the capsule");
        const missing = () => new Worker(new URL("missing.js", document.baseURI), { type: "module" });
        same(codeOf(await caught(() => loadInWorker(MODEL, { makeWorker: missing }))), "worker_ended", "no script");
        return "killed in a turn; no script";
      },
    },
    {
      name: "memory that the host refuses is out_of_memory, and the next model loads",
      async run() {
        const hogs: WebAssembly.Memory[] = [];
        const limit = 300;
        try {
          while (hogs.length < limit) hogs.push(new WebAssembly.Memory({ initial: 1, maximum: 65_536 }));
        } catch {
          // the host gives no more
        }
        const { length } = hogs;
        if (length === limit) return `NOT RUN: the host gives ${limit} memories`;
        const error = await caught(() => loadInWorker(MODEL));
        same(codeOf(error), "out_of_memory", `a model after ${length} memories`);
        hogs.length = 0;
        await using model = await loadWhenThereIsMemory();
        same(await alone(model, GREEDY, STORY), GREEDY_TEXT, "text of the next model");
        return `after ${length} memories`;
      },
    },
    {
      name: "a kept file is downloaded once, again after it was evicted, and never half",
      async run() {
        const seen: string[] = [];
        for (const place of ["opfs", "cache"] as const) {
          const url = `${MODEL}?${place}`;
          const options = { place };
          const first = await caught(() => keptModel(url, options));
          if (first !== undefined) {
            same(codeOf(first), "unsupported_runtime", place);
            seen.push(`no ${place}`);
            continue;
          }
          await serveAs("model.gguf", "missing");
          try {
            await using model = await loadInWorker(await keptModel(url, options));
            same(await alone(model, GREEDY, STORY), GREEDY_TEXT, `text of the model in ${place}`);
            check(await removeKept(url, options), "nothing was removed");
            same(codeOf(await caught(() => keptModel(url, options))), "source_unreadable", "evicted, and no network");
            await serveAs("model.gguf", "cut");
            same(codeOf(await caught(() => keptModel(url, options))), "source_unreadable", "half a download");
            await serveAs("model.gguf", "missing");
            same(codeOf(await caught(() => keptModel(url, options))), "source_unreadable", "nothing half was kept");
          } finally {
            await serveAs("model.gguf", "whole");
          }
          const blob = await keptModel(url, options);
          await removeKept(url, options);
          const evicted = await caught(async () => (await loadInWorker(blob)).close());
          check(evicted === undefined || codeOf(evicted) === "source_unreadable", `evicted while open: ${evicted}`);
          seen.push(`${place}${evicted === undefined ? "" : " (gone while open: source_unreadable)"}`);
        }
        return seen.join(", ");
      },
    },
    {
      name: "storage that is full is disk_full, and nothing is left of the file",
      async run() {
        if (!(await drive("fill"))) return "NOT RUN: this driver cannot fill the storage";
        try {
          const places = ["opfs", "cache"] as const;
          for (const place of places) {
            const url = `${MODEL}?full-${place}`;
            const error = await caught(() => keptModel(url, { place }));
            same(codeOf(error), "disk_full", place);
            check(((error as ThimbleError).needed ?? 0) > 10_000_000, "the needed bytes are missing");
            check(!(await removeKept(url, { place })), `${place} has something of the file`);
          }
        } finally {
          await drive("unfill");
        }
        await using model = await loadInWorker(MODEL);
        same(await alone(model, GREEDY, STORY), GREEDY_TEXT, "text of a model that is not kept");
        return "opfs, cache";
      },
    },
  ];
}

globalThis.checkPage = async () => {
  const post = (result: CheckResult) => fetch("report", { method: "POST", body: JSON.stringify(result) });
  const report = globalThis.report ?? post;
  const reports: Promise<unknown>[] = [];
  await runChecks(checks(), (result) => reports.push(report(result)));
  await Promise.all(reports);
};

async function alone(model: PageModel, options: object, prompt: string): Promise<string> {
  await using session = await model.session();
  return (await session.complete(prompt, options)).text;
}

/** Milliseconds between two turns of the page's event loop at most, while something runs. */
/** Memories that nobody holds are the host's again when the page's garbage is collected, which it is when it asks for one more. */
async function loadWhenThereIsMemory(): Promise<PageModel> {
  for (let attempts = 50; ; --attempts) {
    try {
      new WebAssembly.Memory({ initial: 1, maximum: 65_536 });
      return await loadInWorker(MODEL);
    } catch (error) {
      if (attempts === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function longestGap(run: () => Promise<void>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let isOver = false;
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setTimeout(() => port2.postMessage(null), 1);
  };
  port2.postMessage(null);
  await run();
  isOver = true;
  return longest;
}

/** A worker that keeps a core busy for two seconds. */
async function spin(): Promise<void> {
  const script = "const end = performance.now() + 2000; while (performance.now() < end); postMessage(0)";
  const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  await new Promise((resolve) => worker.addEventListener("message", resolve));
  worker.terminate();
}

async function write(model: PageModel): Promise<void> {
  await using session = await model.session();
  for await (const _piece of session.generate(`${SKY} `.repeat(40), { ...LONG, maxTokens: 64 }));
}

async function abortMs(session: PageSession, inPrompt: boolean): Promise<number> {
  const controller = new AbortController();
  const { signal } = controller;
  let at = 0;
  const abort = (): void => {
    at ||= performance.now();
    controller.abort();
  };
  const prompt = `${SKY} `.repeat(60);
  const error = await caught(async () => {
    const options = { ...LONG, signal, ...(inPrompt ? { onPrefill: abort } : {}) };
    for await (const _piece of session.generate(prompt, options)) if (!inPrompt) setTimeout(abort, 3);
  });
  const ms = performance.now() - at;
  check(error instanceof Error && error.name === "AbortError", `an aborted turn threw ${error}`);
  return ms;
}

async function caught(call: () => Promise<unknown>): Promise<unknown> {
  try {
    await call();
    return undefined;
  } catch (error) {
    return error;
  }
}

function codeOf(error: unknown): string {
  return error instanceof ThimbleError ? error.code : `no ThimbleError: ${error}`;
}

function check(ok: boolean, message: string): void {
  if (!ok) throw new Error(message);
}

function same(actual: string, expected: string, what: string): void {
  if (actual !== expected) throw new Error(`${what}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
}
