/**
 * The model: the embedded one, which the browser keeps so that the page works without a network, or a file of the user's.
 * @module
 */
import { keptModel, loadInWorker, type PageModel, ThimbleError } from "../../bindings/browser/page.ts";
import { loadOptions, type Settings } from "./settings.ts";

const EMBEDDED = "models/thimble-15m.Q4_0.gguf";
/** Where a browser keeps nothing, the file is downloaded at every visit. */
const UNKEPT = ["disk_full", "unsupported_runtime"];

/** What is done, and the share of it; undefined where that is not known. */
export type OnLoading = (what: string, share: number | undefined) => void;

/** @param file - of the user's; undefined: the embedded model. @throws ThimbleError; the signal's reason */
export async function openModel(
  file: File | undefined,
  settings: Settings,
  signal: AbortSignal,
  onLoading: OnLoading,
): Promise<PageModel> {
  const source = file ?? (await embedded(signal, onLoading));
  return loadInWorker(source, {
    ...loadOptions(settings, source.size),
    signal,
    onProgress: ({ loaded, total }) => onLoading("Loading the model", loaded / total),
  });
}

async function embedded(signal: AbortSignal, onLoading: OnLoading): Promise<Blob> {
  onLoading("Looking for the model", undefined);
  const onProgress = ({ loaded, total }: { loaded: number; total: number | undefined }): void =>
    onLoading("Downloading the model, once", total === undefined ? undefined : loaded / total);
  try {
    return await keptModel(EMBEDDED, { signal, onProgress });
  } catch (error) {
    if (!(error instanceof ThimbleError && UNKEPT.includes(error.code))) throw error;
    onLoading("Downloading the model, which this browser does not keep", undefined);
    return (await fetch(EMBEDDED, { signal })).blob();
  }
}
