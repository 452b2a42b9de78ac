/**
 * Builds the page into build/page: `npm run page:build`. Needs the modules of dist (`npm run build:wasm`). All that the page
 * ever asks for is in that folder; docs/hosts.md says how to put it on a server.
 * @module
 */
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { type BuildOptions, build } from "esbuild";

const FROM = "examples/page";
const TO = "build/page";
const STATIC = ["index.html", "icon.svg", "app.webmanifest"];
const MODULES = ["simd.wasm", "relaxed.wasm"];
const MODEL = "models/thimble-15m.Q4_0.gguf";

const OPTIONS: BuildOptions = {
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  outdir: TO,
  logLevel: "warning",
  alias: {
    "@huggingface/gguf": "./node_modules/@huggingface/gguf/dist/browser/index.mjs",
    "@huggingface/tasks": "./bindings/browser/hub-tasks.ts",
  },
};

await rm(TO, { recursive: true, force: true });
await mkdir(join(TO, "models"), { recursive: true });
await build({
  ...OPTIONS,
  entryPoints: {
    main: `${FROM}/main.ts`,
    style: `${FROM}/style.css`,
    "model-worker": "bindings/browser/model-worker.ts",
  },
});
for (const file of STATIC) await copyFile(join(FROM, file), join(TO, file));
for (const file of MODULES) await copyFile(join("dist", file), join(TO, file));
await copyFile(MODEL, join(TO, MODEL));

const files = ["main.js", "model-worker.js", "style.css", ...STATIC, ...MODULES];
const digest = createHash("sha256");
for (const file of files) digest.update(await readFile(join(TO, file)));
const define = { FILES: JSON.stringify(["./", ...files]), VERSION: JSON.stringify(digest.digest("hex").slice(0, 16)) };
await build({ ...OPTIONS, entryPoints: [`${FROM}/offline-worker.ts`], define });
console.log(`${TO}: ${files.length + 2} files, version ${define.VERSION}`);
