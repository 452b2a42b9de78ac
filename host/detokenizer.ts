/**
 * Token ids to text, one token at a time. A token may hold a part of a character, so its text is held back until the
 * UTF-8 sequence is complete. All pieces together equal the decoding of all bytes at once.
 * @module
 */
import type { Tokenizer } from "./tokenizer.ts";

export interface DetokenizerOptions {
  /** Write the names of control tokens into the text. Default false: they add nothing. */
  readonly special?: boolean;
}

export interface Detokenizer {
  /**
   * The text that this token completes; often empty. Bytes that are not UTF-8 become U+FFFD.
   * @throws ThimbleError invalid_option for an id outside the vocabulary
   */
  push(id: number): string;
  /** The end: U+FFFD for an unfinished character, else nothing. The detokenizer can be used again. */
  flush(): string;
}

export function createDetokenizer(
  tokenizer: Pick<Tokenizer, "bytes" | "isControl">,
  { special = false }: DetokenizerOptions = {},
): Detokenizer {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true }); // keeps a U+FEFF that the model writes
  return {
    push: (id) => (special || !tokenizer.isControl(id) ? decoder.decode(tokenizer.bytes(id), { stream: true }) : ""),
    flush: () => decoder.decode(),
  };
}
