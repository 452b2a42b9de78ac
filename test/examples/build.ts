/**
 * Builds the examples as a user of the package would, into build/examples: `npm run examples:build`. Needs dist (`npm run build`).
 * The package is found by its name in its own folder; Deno wants it in a node_modules, and gets one.
 * @module
 */
import { execFileSync } from "node:child_process";
import { copyFile, cp, mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type BuildOptions, build } from "esbuild";

export const OUT = resolve("build/examples");
const MODEL = "models/thimble-15m.Q4_0.gguf";
const OPTIONS: BuildOptions = { bundle: true, format: "esm", target: "es2022", logLevel: "error" };

export async function buildExamples(): Promise<void> {
  await rm(OUT, { recursive: true, force: true });
  await mkdir(join(OUT, "deno/node_modules"), { recursive: true });

  const entryPoints = ["examples/chat.ts", "examples/node-server.ts", "examples/long-context.ts"];
  await build({ ...OPTIONS, entryPoints, platform: "node", packages: "external", outdir: OUT });

  await writeFile(
    join(OUT, "deno/package.json"),
    JSON.stringify({ private: true, type: "module", dependencies: { thimble: "*" } }),
  );
  await symlink(resolve("."), join(OUT, "deno/node_modules/thimble"));
  await copyFile("examples/deno-edge.ts", join(OUT, "deno/deno-edge.ts"));

  const source = join(OUT, "worker-source");
  await cp("examples/worker", source, { recursive: true });
  const pack = [
    "pack",
    "--system",
    `@${source}/brief.txt`,
    "--context",
    "1024",
    "--output",
    join(source, "brief.pack"),
  ];
  execFileSync(process.execPath, ["dist/cli.js", ...pack], { stdio: "ignore" });
  await build({
    ...OPTIONS,
    entryPoints: [join(source, "index.ts")],
    platform: "browser",
    conditions: ["workerd", "worker", "browser"],
    loader: { ".wasm": "copy", ".gguf": "copy", ".pack": "copy" },
    outdir: join(OUT, "worker"),
  });

  const webview = join(OUT, "webview");
  await build({ ...OPTIONS, entryPoints: ["examples/webview/main.ts"], platform: "browser", outdir: webview });
  await copyFile("examples/webview/index.html", join(webview, "index.html"));
  await cp(MODEL, join(webview, "model.gguf"));
  for (const file of ["simd.wasm", "relaxed.wasm", "model-worker.js"])
    await cp(join("dist", file), join(webview, file));
}
