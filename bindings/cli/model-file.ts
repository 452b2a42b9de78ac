/**
 * The file of a model that was given as a path or a name; what is not on this machine is pulled first.
 * @module
 */
import { existsSync } from "node:fs";
import { CATALOG, isModelName, type PulledModel, type PullOptions, pull } from "../node/store/index.ts";
import { formatBytes, note, oneLine } from "./output.ts";
import { createProgress } from "./progress.ts";

/** A file that is there is meant before a model of the same name. */
export async function modelFile(given: string, isQuiet: boolean): Promise<string> {
  if (existsSync(given)) return given;
  const isBareWord = !/[\\/.]/.test(given);
  // Of a word that is no name the library says what names there are.
  if (!isModelName(given) && !isBareWord) return given;
  return (await pullModel(given, {}, isQuiet)).path;
}

/** Pulls with notes and a progress bar on stderr. */
export async function pullModel(name: string, options: PullOptions, isQuiet: boolean): Promise<PulledModel> {
  const progress = await createProgress("Pulling", "bytes", isQuiet);
  const size = CATALOG.find((entry) => entry.name === name)?.bytes;
  const say = (text: string): void => {
    if (!isQuiet) note(`thimble: ${oneLine(text)}`);
  };
  try {
    return await pull(name, {
      ...options,
      onProgress: ({ loaded, total = 0 }) => progress.update(loaded, total),
      onSource: (source) => {
        const amount = size === undefined ? "" : ` (${formatBytes(size)})`;
        say(`${name} is not on this machine; pulling it${amount} from ${source}`);
      },
      onWait: (pid) => say(`process ${pid} is pulling ${name} already; waiting for it`),
    });
  } finally {
    progress.stop();
  }
}
