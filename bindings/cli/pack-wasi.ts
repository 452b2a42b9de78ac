/**
 * `thimble pack --wasi`: a model as the one file that the WASI command reads (docs/wasi.md).
 * @module
 */
import { wasiFile } from "../../host/wasi/model-file.ts";
import type { Model } from "../node/index.ts";
import { formatBytes, note, oneLine, printJson, printText } from "./output.ts";
import { writeWhole } from "./whole-file.ts";

/** @throws ThimbleError unsupported_tokenizer, source_unreadable */
export async function packForWasi(
  model: Model,
  path: string,
  { quiet, json }: { readonly quiet: boolean; readonly json: boolean },
): Promise<void> {
  const { pieces, bytes, contextLength, withoutTemplate } = wasiFile(model);
  async function* content(): AsyncGenerator<Uint8Array, void> {
    yield* pieces;
  }
  await writeWhole(path, content(), "the file");
  if (withoutTemplate !== undefined && !quiet)
    note(`thimble: ${oneLine(withoutTemplate)}; the file takes --raw text only`);
  if (json) {
    printJson({ path, bytes, contextLength, hasTemplate: model.hasChatTemplate && withoutTemplate === undefined });
  } else {
    if (!quiet) note(`thimble: ${formatBytes(bytes)}, contexts of up to ${contextLength} tokens`);
    printText(`${path}\n`);
  }
}
