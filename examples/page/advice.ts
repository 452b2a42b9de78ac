/** What has gone wrong, in words for the user, and what can be done about it in this page. @module */
import { ThimbleError, type ThimbleErrorCode } from "../../bindings/browser/page.ts";

const ANOTHER_FILE = "Open another file, or load this page again for the embedded model.";
const DAMAGED = `The file is damaged or was not downloaded to its end: download it again. ${ANOTHER_FILE}`;

const ADVICE: Partial<Record<ThimbleErrorCode, string>> = {
  bad_magic: ANOTHER_FILE,
  truncated_file: ANOTHER_FILE, // the message says the rest
  malformed_file: DAMAGED,
  missing_tensor: DAMAGED,
  missing_metadata: DAMAGED,
  unsupported_architecture: ANOTHER_FILE,
  unsupported_type: ANOTHER_FILE,
  unsupported_tokenizer: ANOTHER_FILE,
  source_unreadable: "Look at the connection, and load this page again.",
  wasm_unreadable: "Look at the connection, and load this page again.",
  unsupported_runtime: "Use a newer browser.",
  out_of_memory: "Close other pages, or let the cache hold fewer tokens: Settings.",
  context_length_exceeded: "Write less at once, begin a new chat, or let the cache hold more tokens: Settings.",
  worker_ended: "Load this page again: the conversation is lost, the model is kept.",
};

/** @param isEmbedded - the model is the page's own, whose kept file has no name that says anything */
export function adviceOn(error: unknown, isEmbedded: boolean): string {
  if (!(error instanceof ThimbleError)) return error instanceof Error ? error.message : String(error);
  const { code, file, needed } = error;
  const message = isEmbedded && file !== undefined ? error.message.replace(file, "the embedded model") : error.message;
  const advice =
    code === "over_budget" && needed !== undefined
      ? `Settings has the budget, which must be ${Math.ceil(needed / 1e6)} MB, and how many tokens the cache holds.`
      : ADVICE[code];
  return `${message}.${advice === undefined ? "" : ` ${advice}`}`;
}
