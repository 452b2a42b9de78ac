/**
 * Kept files in the origin's private file system: what is written becomes the file when it is closed, and nothing is left of
 * what is not. https://fs.spec.whatwg.org
 * @module
 */
import type { KeepPlace } from "./kept-model.ts";

const FOLDER = "thimble-models";

/** There is one, and this thread can write to it. */
export async function hasOpfs(): Promise<boolean> {
  if (typeof FileSystemFileHandle === "undefined" || !("createWritable" in FileSystemFileHandle.prototype))
    return false;
  return (await folder().catch(() => undefined)) !== undefined;
}

export const opfsPlace: KeepPlace = {
  async find(url) {
    const handle = await (await folder()).getFileHandle(await nameOf(url)).catch(nothing);
    const file = await handle?.getFile();
    return file === undefined || file.size === 0 ? undefined : file; // made, and never written
  },
  async write(url, stream) {
    const directory = await folder();
    const name = await nameOf(url);
    const handle = await directory.getFileHandle(name, { create: true });
    try {
      await stream.pipeTo(await handle.createWritable());
    } catch (error) {
      await directory.removeEntry(name).catch(() => {});
      throw error;
    }
  },
  async remove(url) {
    const directory = await folder();
    const name = await nameOf(url);
    const isThere = (await directory.getFileHandle(name).catch(nothing)) !== undefined;
    if (isThere) await directory.removeEntry(name);
    return isThere;
  },
};

async function folder(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
}

/** Addresses may be longer than names of files. */
async function nameOf(url: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(url)));
  return `${Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("")}.gguf`;
}

function nothing(error: unknown): undefined {
  if ((error as Error).name === "NotFoundError") return undefined;
  throw error;
}
