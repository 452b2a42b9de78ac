/**
 * Ours against wllama (llama.cpp compiled to WebAssembly) in one headless Chromium, each in a page of its own: time to the
 * first token, prefill 512 and decode @128. No page is cross-origin isolated, so all of them compute on one thread.
 * @module
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { type Case, interleave, type Plan, type Side, withSides } from "./lib/interleave.ts";
import { openPageSide } from "./lib/page-side.ts";
import { installPeers, WLLAMA } from "./lib/peers-folder.ts";
import type { PartResult } from "./lib/results.ts";
import { serveFiles } from "./lib/serve-files.ts";
import { builtVariants, productWasm } from "./lib/variants.ts";

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

export async function versusWllama(options: {
  readonly model: string;
  readonly peersDir: string;
  /** Path of the browser. */
  readonly chromium: string;
  readonly tokens: number;
  readonly plan: Plan;
}): Promise<PartResult> {
  const { peersDir, plan } = options;
  const { variants, skipped } = await builtVariants(productWasm);
  const specifiers = Object.entries(WLLAMA).map(([name, version]) => `${name}@npm:@wllama/wllama@${version}`);
  await installPeers(peersDir, specifiers, plan.log);
  const paths: Record<string, string> = { "/model.gguf": options.model, "/dist/": "dist" };
  paths["/pages/"] = fileURLToPath(new URL("./pages", import.meta.url));
  for (const name of Object.keys(WLLAMA)) paths[`/${name}/`] = join(peersDir, "node_modules", name, "esm");
  const { url, server } = await serveFiles(paths);
  const browser = await chromium.launch({ executablePath: options.chromium, args: ARGUMENTS });
  try {
    const openers: Record<string, () => Promise<Side>> = {};
    for (const variant of variants) {
      openers[variant] = () => openPageSide(browser, variant, { url, script: "ours", options: { variant } });
    }
    for (const [script, version] of Object.entries(WLLAMA)) {
      const name = `wllama ${version}`;
      openers[name] = () => openPageSide(browser, name, { url, script, options: {} });
    }
    const cases = casesOf(options.tokens);
    const { result, ...rest } = await withSides(openers, plan.log, (sides) => interleave(sides, cases, plan));
    const all = [...skipped, ...rest.skipped, ...result.skipped];
    const notes = [`Chromium ${browser.version()}, headless`];
    return { part: "wllama", sides: rest.sides, skipped: all, cases: result.cases, notes };
  } finally {
    await browser.close();
    server.close();
  }
}

/** The first token first: its measure loads the page anew, and the last load serves the other cases. */
function casesOf(tokens: number): Case[] {
  const rate = (op: string, label: string, context: number): Case => {
    return { label, unit: "tokens/s", request: { op, context, tokens } };
  };
  return [
    { label: "Blob to first token", unit: "s", request: { op: "first token" } },
    rate("prefill", "prefill 512", 512),
    rate("decode", "decode @128", 128),
  ];
}
