/**
 * Files that are there whole or not at all.
 * @module
 */
import { rename, rm, writeFile } from "node:fs/promises";
import { ThimbleError } from "../../host/errors.ts";

/** Writes a file beside its place first, so that nobody reads half of it. @throws ThimbleError source_unreadable */
export async function writeWhole(
  path: string,
  content: Uint8Array | AsyncIterable<Uint8Array>,
  what: string,
): Promise<void> {
  const partial = `${path}.${process.pid}.partial`;
  try {
    await writeFile(partial, content);
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true }).catch(() => {}); // the folder may be none
    if (cause instanceof ThimbleError) throw cause;
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new ThimbleError("source_unreadable", `${what} could not be written (${reason})`, { file: path, cause });
  }
}
