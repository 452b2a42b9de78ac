/**
 * A user without a model: caches in a fresh folder, the hub of the test, and failures that are retried at once.
 * @module
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { PullOptions } from "../../bindings/node/store/index.ts";
import { ThimbleError, type ThimbleErrorCode } from "../../host/errors.ts";

const VARIABLES = [
  "HF_HOME",
  "XDG_CACHE_HOME",
  "HF_ENDPOINT",
  "HF_TOKEN",
  "HF_HUB_CACHE",
  "HUGGINGFACE_HUB_CACHE",
  "HF_HUB_OFFLINE",
  "TRANSFORMERS_OFFLINE",
  "PATH",
] as const;

export const QUICK: PullOptions = { patience: { attempts: 4, baseMs: 1, capMs: 50, stallMs: 2_000 } };

export class Home {
  readonly folder: string;
  readonly #before = new Map(VARIABLES.map((name) => [name, process.env[name]]));

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(endpoint: string): Promise<Home> {
    const home = new Home(await mkdtemp(join(tmpdir(), "thimble-store-")));
    for (const name of VARIABLES) if (name !== "PATH") delete process.env[name];
    Object.assign(process.env, home.env(endpoint));
    return home;
  }

  env(endpoint: string): Record<string, string> {
    return { HF_HOME: join(this.folder, "hf"), XDG_CACHE_HOME: join(this.folder, "cache"), HF_ENDPOINT: endpoint };
  }

  hub(...parts: string[]): string {
    return join(this.folder, "hf", "hub", ...parts);
  }

  store(...parts: string[]): string {
    return join(this.folder, "cache", "thimble", ...parts);
  }

  /** Files and links, relative. */
  async files(folder: string): Promise<string[]> {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
      .sort();
  }

  async leave(): Promise<void> {
    for (const [name, value] of this.#before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

export async function fails(work: Promise<unknown>, code: ThimbleErrorCode, message = /./): Promise<ThimbleError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, ThimbleError, `${error}`);
  assert.is((error as ThimbleError).code, code, (error as ThimbleError).message);
  assert.match((error as ThimbleError).message, message);
  return error as ThimbleError;
}

/** Bytes that are no two times the same run. */
export function someBytes(length: number, seed = 1): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}
