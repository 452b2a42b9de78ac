/**
 * Bundles of the installed package that run: for pages in Chromium, with the model in the page and in a worker, and for
 * workerd with the embedded model inside.
 * @module
 */
import { cp, readdir, readFile, rm, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { gzipSync } from "node:zlib";
import { launchChromium } from "../binding/chromium-launch.ts";
import type { Check } from "../binding/conformance.ts";
import { GREEDY_TEXT } from "../binding/digest.ts";
import { servePage } from "../binding/page-server.ts";
import { makeProject, type Project } from "./project.ts";

/** As the tools of a project are pinned. */
const TOOLS = [
  ...["esbuild@0.28.2", "vite@8.3.8", "webpack@5.112.2", "webpack-cli@6.0.1", "rollup@4.68.7"],
  ...["@rollup/plugin-node-resolve@16.0.3"],
];

const APP = `import { loadModel } from "thimble/browser";
import { loadInWorker } from "thimble/page";
const prompt = "Tell me a short story about a fox.";
const options = { temperature: 0, maxTokens: 40 };
globalThis.write = async () => {
  const model = await loadModel("/model.gguf");
  const inWorker = await loadInWorker("/model.gguf");
  const texts = [];
  for (const one of [model, inWorker]) texts.push((await (await one.session()).complete(prompt, options)).text);
  await inWorker.close();
  return texts;
};
`;

/** One worker, which keeps nothing between requests. */
const WORKER = `import { loadModel } from "thimble";
import bytes from "thimble/models/thimble-15m.Q4_0.gguf";
export default {
  async fetch() {
    const model = await loadModel(bytes, { contextLength: 4096 });
    const { text } = await model.session().complete("Tell me a short story about a fox.", { temperature: 0, maxTokens: 40 });
    return Response.json({ platform: model.stats.platform, text });
  },
};
`;
/** What a worker may have, and where its free and its paid plan end, compressed (Cloudflare's documentation). */
const WORKER_BYTES = 25 * 2 ** 20;

const VITE = `export default { worker: { format: "es" }, build: { target: "es2022", assetsInlineLimit: 0 } };`;
const WEBPACK = `import { resolve } from "node:path";
export default { mode: "production", entry: "./app.js", output: { path: resolve("out"), filename: "main.js" }, target: ["web", "es2022"] };
`;
const ROLLUP = `import resolve from "@rollup/plugin-node-resolve";
export default { input: "app.js", output: { dir: "out", format: "es", entryFileNames: "main.js" }, plugins: [resolve({ browser: true })] };
`;

interface Bundler {
  readonly files: Readonly<Record<string, string>>;
  readonly build: (project: Project) => Promise<unknown>;
  /** What the bundler leaves where it is, and has to lie beside the bundle. */
  readonly copies: readonly string[];
}

const BESIDE = ["simd.wasm", "relaxed.wasm", "model-worker.js"];
const BUNDLERS: Readonly<Record<string, Bundler>> = {
  esbuild: {
    files: {},
    build: ({ run }) => run("esbuild", ["app.js", "--bundle", "--format=esm", "--outfile=out/main.js"]),
    copies: BESIDE,
  },
  rollup: { files: { "rollup.config.js": ROLLUP }, build: ({ run }) => run("rollup", ["-c"]), copies: BESIDE },
  webpack: { files: { "webpack.config.js": WEBPACK }, build: ({ run }) => run("webpack", []), copies: [] },
  vite: {
    files: {
      "vite.config.js": VITE,
      "index.html": `<!doctype html><title>page</title><script type="module" src="app.js"></script>`,
    },
    build: ({ run }) => run("vite", ["build", "--outDir", "out", "--logLevel", "error"]),
    copies: [],
  },
};

export function bundleChecks(tarball: string, hosts: string): Check[] {
  let making: Promise<Project> | undefined;
  const project = () => {
    making ??= makeProject("bundles", [tarball, ...TOOLS]);
    return making;
  };
  const pages = Object.entries(BUNDLERS).map(([name, { files, build, copies }]) => ({
    name: `a bundle by ${name} runs in a page, and in its worker`,
    async run() {
      const made = await project();
      const out = join(made.folder, "out");
      const dist = join(made.folder, "node_modules/thimble/dist");
      await rm(out, { recursive: true, force: true });
      await made.write({ "app.js": APP, ...files });
      await build(made);
      for (const file of copies) await cp(join(dist, file), join(out, file));
      const texts = await runPage(out, join(dist, "../models/thimble-15m.Q4_0.gguf"));
      for (const text of texts) if (text !== GREEDY_TEXT) throw new Error(`text: ${text}`);
      return sizes(await filesBelow(out));
    },
  }));
  return [
    ...pages,
    {
      name: "a bundle for workerd with the embedded model runs, and is within 25 MiB",
      async run() {
        const made = await project();
        await made.write({ "worker.js": WORKER });
        const loaders = ["--loader:.wasm=copy", "--loader:.gguf=copy", "--conditions=workerd,worker,browser"];
        await made.run("esbuild", [
          ...["worker.js", "--bundle", "--minify", "--format=esm", "--outdir=worker-out", ...loaders],
        ]);
        const files = await filesBelow(join(made.folder, "worker-out"));
        const bytes = files.reduce((sum, file) => sum + file.bytes.byteLength, 0);
        if (bytes > WORKER_BYTES) throw new Error(`the bundle has ${bytes} bytes`);
        const { Miniflare } = (await import(join(hosts, "miniflare/dist/src/index.js"))) as {
          Miniflare: new (
            options: object,
          ) => { dispatchFetch(url: string): Promise<Response>; dispose(): Promise<void> };
        };
        const types: Readonly<Record<string, string>> = { js: "ESModule", wasm: "CompiledWasm", gguf: "Data" };
        const modules = files
          .sort((a, b) => Number(b.name === "worker.js") - Number(a.name === "worker.js"))
          .map(({ name, bytes: contents }) => ({
            type: types[name.split(".").at(-1)!],
            path: name,
            contents: name.endsWith(".js") ? contents.toString() : contents,
          }));
        const worker = new Miniflare({ compatibilityDate: "2026-07-01", modules });
        const response = await worker.dispatchFetch("http://worker/");
        const told = (await response.json()) as { platform: string; text: string };
        await worker.dispose();
        if (told.platform !== "workers") throw new Error(`the binding of ${told.platform}`);
        if (told.text !== GREEDY_TEXT) throw new Error(`text: ${told.text}`);
        return sizes(files);
      },
    },
  ];
}

/** The texts that `write` of the bundled page gives. */
async function runPage(directory: string, model: string): Promise<readonly string[]> {
  const path = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "chromium"));
  const found = await Promise.all(
    path.map((file) =>
      stat(file).then(
        () => file,
        () => undefined,
      ),
    ),
  );
  const executable = found.find((file) => file !== undefined);
  if (executable === undefined) throw new Error("no chromium on the PATH");
  const server = await servePage({ directory, model });
  const browser = await launchChromium(executable);
  try {
    const page = await browser.newPage();
    page.on("console", (message) => console.log(`page: ${message.text()}`));
    await page.goto(server.url);
    await page.waitForFunction(() => "write" in globalThis, undefined, { timeout: 30_000 });
    return await page.evaluate(() => (globalThis as unknown as { write(): Promise<string[]> }).write());
  } finally {
    await browser.close();
    server.close();
  }
}

interface File {
  readonly name: string;
  readonly bytes: Buffer;
}

async function filesBelow(folder: string): Promise<File[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.name.endsWith(".map"));
  return Promise.all(
    files.map(async ({ name, parentPath }) => ({
      name: join(parentPath, name).slice(folder.length + 1),
      bytes: await readFile(join(parentPath, name)),
    })),
  );
}

function sizes(files: readonly File[]): string {
  const sum = (of: (bytes: Buffer) => number) => files.reduce((total, { bytes }) => total + of(bytes), 0);
  return `${files.length} files, ${sum((bytes) => bytes.byteLength)} bytes, gzipped ${sum((bytes) => gzipSync(bytes).byteLength)}`;
}
