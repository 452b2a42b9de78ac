/**
 * The installed package where nothing bundles it: which file each host's condition finds, and that it runs.
 * @module
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Check } from "../binding/conformance.ts";
import { GREEDY_TEXT } from "../binding/digest.ts";
import type { Project } from "./project.ts";

const MAIN = `import { loadModel } from "thimble";
import { fileURLToPath } from "node:url";
const model = await loadModel(fileURLToPath(import.meta.resolve("thimble/models/thimble-15m.Q4_0.gguf")));
const { text } = await model.session().complete("Tell me a short story about a fox.", { temperature: 0, maxTokens: 40 });
console.log(JSON.stringify({ platform: model.stats.platform, text }));
await model.close();
`;

/** By condition, where `import "thimble"` leads; the first of a list of conditions that the package knows counts. */
const CONDITIONS: Readonly<Record<string, string>> = {
  "node,import": "dist/node.js",
  "workerd,worker,browser": "dist/workers.js",
  "deno,node,import": "dist/deno.js",
  "bun,node,import": "dist/bun.js",
  "browser,import": "dist/browser.js",
  import: "dist/browser.js",
};

export function hostChecks(project: Project, hosts: string): Check[] {
  const runs = async (platform: string, program: string, args: readonly string[]): Promise<string> => {
    await project.write({ "main.js": MAIN });
    const told = JSON.parse(await project.run(program, args)) as { platform: string; text: string };
    if (told.platform !== platform) throw new Error(`the binding of ${told.platform}`);
    if (told.text !== GREEDY_TEXT) throw new Error(`text: ${told.text}`);
    return "the pinned text";
  };
  return [
    {
      name: "each host's condition finds its binding",
      async run() {
        const { exports } = JSON.parse(
          await project.run(process.execPath, [
            "-p",
            'require("fs").readFileSync("node_modules/thimble/package.json", "utf8")',
          ]),
        ) as { exports: Record<string, Record<string, string | { default: string }>> };
        for (const [conditions, file] of Object.entries(CONDITIONS)) {
          const known = [...conditions.split(","), "default"];
          const [, target] = Object.entries(exports["."]!).find(([name]) => known.includes(name))!;
          const found = typeof target === "string" ? target : target.default;
          if (found !== `./${file}`) throw new Error(`${conditions}: ${found}`);
        }
        return `${Object.keys(CONDITIONS).length} hosts`;
      },
    },
    { name: "the installed package runs on Node", run: () => runs("node", process.execPath, ["main.js"]) },
    {
      name: "the installed package runs on Bun",
      run: () => runs("bun", join(hosts, "@oven/bun-linux-x64/bin/bun"), ["--no-install", "main.js"]),
    },
    {
      name: "the installed package runs on Deno",
      async run() {
        const scope = join(hosts, "@deno");
        const [binary] = await readdir(scope);
        return runs("deno", join(scope, binary!, "deno"), [
          ...[
            "run",
            "--node-modules-dir=manual",
            "--no-remote",
            "--no-prompt",
            "--allow-read",
            "--allow-env",
            "main.js",
          ],
        ]);
      },
    },
    {
      name: "the command of the package writes",
      async run() {
        const args = ["run", "--temperature", "0", "--max-tokens", "40", "Tell me a short story about a fox."];
        const text = await project.run("thimble", args);
        if (text.trim() !== GREEDY_TEXT) throw new Error(`text: ${text}`);
        return "the pinned text";
      },
    },
  ];
}
