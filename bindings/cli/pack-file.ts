/**
 * Prompt packs as files.
 * @module
 */
import { ThimbleError } from "../../host/errors.ts";
import { openFile } from "../node/file-source.ts";
import type { Model, Pack, Prompt } from "../node/index.ts";
import { writeWhole } from "./whole-file.ts";

/** Bytes read at once. */
const PIECE_BYTES = 1 << 20;

/** @throws ThimbleError as `Model.openPack`, with the file's name */
export async function openPackFile(model: Model, path: string): Promise<Pack> {
  const file = await openFile(path);
  let offset = 0;
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const piece = new Uint8Array(PIECE_BYTES);
        const got = await file.read(piece, offset);
        offset += got;
        if (got === 0) controller.close();
        else controller.enqueue(piece.subarray(0, got));
      },
    },
    { highWaterMark: 0 },
  );
  try {
    return await model.openPack(stream);
  } catch (error) {
    if (!(error instanceof ThimbleError) || error.file !== undefined) throw error;
    const { code, message, needed, available, subject } = error;
    const amounts = { ...(needed === undefined ? {} : { needed }), ...(available === undefined ? {} : { available }) };
    const details = { file: path, cause: error, ...amounts, ...(subject === undefined ? {} : { name: subject }) };
    throw new ThimbleError(code, message, details);
  } finally {
    await file.close();
  }
}

/** Gives the pack's bytes. @throws ThimbleError source_unreadable */
export async function writePackFile(pack: Pack, path: string): Promise<number> {
  let bytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array, void> {
    for await (const piece of pack.save()) {
      bytes += piece.byteLength;
      yield piece;
    }
  }
  await writeWhole(path, counted(), "the pack");
  return bytes;
}

/** The prompt as a session of the pack takes it. @throws ThimbleError invalid_option where it would not continue the pack */
export function promptFor(pack: Pack | undefined, prompt: Prompt): Prompt {
  if (pack === undefined) return prompt;
  const isConversation = typeof prompt === "string" || Array.isArray(prompt);
  if (pack.messages.length > 0 && !isConversation) {
    const message =
      "the pack is a system prompt, which a raw text or ids would not continue; leave out --raw or --prompt-ids";
    throw new ThimbleError("invalid_option", message, { name: "pack" });
  }
  return pack.messages.length === 0 && typeof prompt === "string" ? { text: prompt } : prompt;
}
