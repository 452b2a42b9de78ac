/** What the two programs of the bench share. @module */
import { messageOf } from "./interleave.ts";
import { installedNode, installPeers, NODE } from "./peers-folder.ts";
import { type PartResult, storePart } from "./results.ts";

export type Parts = Readonly<Record<string, () => Promise<PartResult>>>;

/** Runs the parts asked for and stores what each gives. One that fails is reported, and the rest goes on. */
export async function runParts(only: string, results: string, command: string, parts: Parts): Promise<void> {
  const asked = only.split(",");
  const unknown = asked.filter((name) => parts[name] === undefined);
  if (unknown.length > 0) throw new Error(`no part ${unknown.join(", ")}; there are ${Object.keys(parts).join(", ")}`);
  for (const name of asked) {
    const start = performance.now();
    try {
      const result = await parts[name]!();
      const file = await storePart(results, command, result);
      for (const { side, reason } of result.skipped) console.error(`[${name}] not measured: ${side}: ${reason}`);
      console.error(`[${name}] ${((performance.now() - start) / 1000).toFixed(0)} s, written to ${file}`);
    } catch (error) {
      console.error(`[${name}] failed: ${messageOf(error)}`);
      process.exitCode = 1;
    }
  }
}

/** The command as a reader can repeat it: paths of this machine are left out. */
export function commandOf(script: string): string {
  const args = process.argv.slice(2).map((each) => each.replace(/[^=\s]*\/\S*/, "PATH"));
  return args.length === 0 ? `npm run ${script}` : `npm run ${script} -- ${args.join(" ")}`;
}

export function counts(list: string): number[] {
  const parsed = list.split(",").filter(Boolean).map(Number);
  if (parsed.length === 0 || parsed.some((n) => !Number.isInteger(n) || n < 1)) {
    throw new RangeError(`"${list}": expected counts, as 128,512`);
  }
  return parsed;
}

/** A path, "current", or "peers": the Node of the peers' folder, installed when missing. */
export async function nodeProgram(asked: string, peersDir: string, log: (line: string) => void): Promise<string> {
  if (asked === "current") return process.execPath;
  if (asked !== "peers") return asked;
  try {
    await installPeers(peersDir, [NODE], log);
    return installedNode(peersDir);
  } catch (error) {
    log(`${NODE} could not be installed, this Node runs our side: ${messageOf(error)}`);
    return process.execPath;
  }
}
