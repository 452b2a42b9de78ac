/**
 * The package's types in projects with and without those of the DOM, and what JSR asks of types: that every export says its
 * own, without inference.
 * @module
 */
import { cp, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Check } from "../binding/conformance.ts";
import { makeProject } from "./project.ts";

const TYPESCRIPT = ["typescript@7.0.2", "@types/node@20.19.43"];

const NODE_MAIN = `import { type GenerationResult, loadModel, plan, pull, ThimbleError } from "thimble";
import { fileCapsules, keepSession } from "thimble/capsule-stores";
export async function main(): Promise<GenerationResult> {
  const { fits } = await plan("model.gguf", { budget: "128MB" });
  if (!fits) throw new ThimbleError("over_budget", (await pull("smollm2-135m")).path);
  await using model = await loadModel("model.gguf");
  await using session = model.session({ overflow: "evict" });
  for await (const piece of session.generate("Hi", { temperature: 0 })) process.stdout.write(piece);
  await keepSession(fileCapsules("capsules"), "hi", session);
  // @ts-expect-error an option of the wrong type
  await session.complete("Hi", { maxTokens: "many" });
  return session.complete([{ role: "user", content: "Hi" }]);
}
`;
const PAGE_MAIN = `import { loadModel, type Session } from "thimble/browser";
import { keptModel, loadInWorker, type PageSession } from "thimble/page";
import { watchApp } from "thimble/webview";
export async function main(): Promise<string> {
  const model = await loadInWorker(await keptModel("model.gguf"));
  const session: PageSession = await model.session();
  watchApp({ checkpoint: () => session.save(), trim: () => model.trim() });
  const here: Session = (await loadModel(new URL("model.gguf", location.href))).session();
  return (await here.complete("Hi")).text + (await session.complete("Hi")).text;
}
`;
const WORKER_MAIN = `import { loadModel } from "thimble/workers";
export default {
  async fetch(request: Request): Promise<Response> {
    const model = await loadModel(new Uint8Array(await request.arrayBuffer()));
    return new Response((await model.session().complete("Hi")).text);
  },
};
`;

/** As JSR would name them. */
const ENTRIES: Readonly<Record<string, string>> = {
  ".": "./bindings/deno/index.ts",
  "./node": "./bindings/node/index.ts",
  "./bun": "./bindings/bun/index.ts",
  "./browser": "./bindings/browser/index.ts",
  "./page": "./bindings/browser/page.ts",
  "./webview": "./bindings/webview/index.ts",
  "./capsule-stores": "./bindings/node/capsule-stores.ts",
  "./core": "./host/core.ts",
  "./files": "./host/files.ts",
};

interface Setting {
  readonly main: string;
  readonly options: object;
}

const COMMON = { strict: true, noEmit: true, target: "ES2022", skipLibCheck: false, exactOptionalPropertyTypes: true };
const SETTINGS: Readonly<Record<string, Setting>> = {
  "Node without DOM types (node16)": {
    main: NODE_MAIN,
    options: { module: "Node16", moduleResolution: "Node16", lib: ["ES2022", "ESNext.Disposable"], types: ["node"] },
  },
  "Node without DOM types (bundler)": {
    main: NODE_MAIN,
    options: { module: "ESNext", moduleResolution: "Bundler", lib: ["ES2022", "ESNext.Disposable"], types: ["node"] },
  },
  "pages, with DOM types and none of Node": {
    main: PAGE_MAIN,
    options: { module: "ESNext", moduleResolution: "Bundler", lib: ["ES2022", "DOM", "DOM.Iterable"], types: [] },
  },
  "workerd, with its own types": {
    main: WORKER_MAIN,
    options: {
      ...{ module: "ESNext", moduleResolution: "Bundler", customConditions: ["workerd"] },
      ...{ lib: ["ES2022"], types: ["@cloudflare/workers-types"], skipLibCheck: true },
    },
  },
};

export function typeChecks(tarball: string, hosts: string): Check[] {
  let making: ReturnType<typeof makeProject> | undefined;
  const project = () => {
    making ??= makeProject("types", [tarball, ...TYPESCRIPT, "@cloudflare/workers-types@5.20261117.1"]);
    return making;
  };
  const settings = Object.entries(SETTINGS).map(([name, { main, options }]) => ({
    name: `types: ${name}`,
    async run() {
      const { write, run } = await project();
      const compilerOptions = { ...COMMON, ...options };
      await write({ "main.ts": main, "tsconfig.json": JSON.stringify({ compilerOptions, files: ["main.ts"] }) });
      await run("tsc", ["-p", "tsconfig.json"]);
      return "no error";
    },
  }));
  return [
    ...settings,
    {
      name: "types: every export says its own, as JSR asks",
      async run() {
        const { folder, write, run } = await makeProject("jsr", [tarball]); // for what the sources import
        for (const part of ["host", "bindings", "assembly", "LICENSE"]) {
          await cp(part, join(folder, part), { recursive: true });
        }
        const { version, license } = JSON.parse(await readFile("package.json", "utf8")) as Record<string, string>;
        await write({ "jsr.json": JSON.stringify({ name: "@thimble/thimble", version, license, exports: ENTRIES }) });
        const scope = join(hosts, "@deno");
        const deno = join(scope, (await readdir(scope))[0]!, "deno");
        const env = { ...process.env, DENO_DIR: join(folder, ".deno"), NO_COLOR: "1" };
        await run(deno, ["publish", "--dry-run", "--allow-dirty", "--no-check", "--no-remote"], { env });
        return `${Object.keys(ENTRIES).length} entries, a publication tried without sending it`;
      },
    },
  ];
}
