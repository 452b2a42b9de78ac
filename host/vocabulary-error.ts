/**
 * The error of vocabularies that cannot be used, and quotations of what is in them.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import type { MetadataHolder } from "./metadata.ts";

export const clip = (text: string) => (text.length > 60 ? `${text.slice(0, 60)}...` : text);
export const quote = (text: string) => JSON.stringify(clip(text));

/** @param name - the metadata key */
export function unsupported(holder: MetadataHolder, name: string, message: string): ThimbleError {
  const details = holder.file === undefined ? { name } : { name, file: holder.file };
  return new ThimbleError("unsupported_tokenizer", `${message} (${name})`, details);
}
