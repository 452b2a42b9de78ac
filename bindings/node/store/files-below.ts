/**
 * The files in a folder and its folders. Folders that are links are not entered.
 * @module
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";

const MAX_DEPTH = 8;

/** Files and links whose name ends so; none when there is no such folder. */
export async function filesBelow(folder: string, ending: RegExp, depth = MAX_DEPTH): Promise<string[]> {
  const found: string[] = [];
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && depth > 0) found.push(...(await filesBelow(path, ending, depth - 1)));
    else if (!entry.isDirectory() && ending.test(entry.name)) found.push(path);
  }
  return found;
}
