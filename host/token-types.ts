/**
 * Which tokens are matched in text as a whole, and which of them are control tokens: never produced from plain text.
 *
 * Control: type 3 (control) and 2 (unknown); a user-defined token (type 4) spelled `<|...|>` or with fullwidth bars,
 * because some converters file chat markers there; the BOS, EOS, EOT and EOM tokens; and tokens of type 1 with a name
 * known for the end of a turn. Other user-defined tokens are text: they are matched in any text, as the reference
 * tokenizers do. llama.cpp matches user-defined markers in literal
 * text, too, and takes BOS to EOM tokens of type 1 for text; here users cannot forge either. Tokens of type 1 that merges
 * can spell stay text here (`vocabulary.ts`): llama.cpp takes Qwen's `</s>`, a piece of HTML, for the end of a turn.
 * @module
 */
import { isByteCharacter } from "./byte-alphabet.ts";
import type { Literal } from "./literals.ts";
import { type MetadataHolder, metadataNumbers, metadataString } from "./metadata.ts";
import { TURN_ENDS } from "./turn-ends.ts";
import { quote, unsupported } from "./vocabulary-error.ts";

/** Values of `tokenizer.ggml.token_type`. */
export const TokenType = { Normal: 1, Unknown: 2, Control: 3, UserDefined: 4, Unused: 5, Byte: 6 } as const;

/** Control and user-defined tokens together. */
const MAX_LITERALS = 1 << 16;
/** In UTF-16 units. */
const MAX_LITERAL_LENGTH = 1024;

export const isMarker = (text: string) => /^<[|\uff5c].*[|\uff5c]>$/su.test(text);

export interface TokenClasses {
  /** Per token. */
  readonly types: readonly number[];
  readonly controls: Map<string, number>;
  readonly userDefined: Map<string, number>;
}

/** @param named - ids that metadata keys name: BOS, EOS, EOT, EOM */
export function classifyTokens(
  holder: MetadataHolder,
  tokens: readonly string[],
  named: readonly (number | undefined)[],
  warnings: string[],
): TokenClasses {
  const key = "tokenizer.ggml.token_type";
  const given = metadataNumbers(holder, key, { default: undefined });
  if (given === undefined) warnings.push(`${key} is absent; only tokens named by an id or spelled <|...|> are control`);
  else if (given.length !== tokens.length) {
    throw unsupported(holder, key, `there are ${given.length} token types for ${tokens.length} tokens`);
  }
  const types = given ?? tokens.map(typeBySpelling);
  const controls = new Map<string, number>();
  const userDefined = new Map<string, number>();
  const ends = new Set(TURN_ENDS);
  if (tokens.includes("<|tool_response>")) ends.delete("</s>"); // Gemma 4: a piece of HTML
  for (const [id, text] of tokens.entries()) {
    const type = types[id];
    const marker = type === TokenType.UserDefined && isMarker(text);
    const end = type === TokenType.Normal && ends.has(text);
    if (type === TokenType.Control || type === TokenType.Unknown || marker || end) controls.set(text, id);
    else if (type === TokenType.UserDefined) userDefined.set(text, id);
  }
  for (const id of named) if (id !== undefined && !isByteCharacter(tokens[id]!)) controls.set(tokens[id]!, id);
  for (const text of controls.keys()) userDefined.delete(text);
  for (const text of [...controls.keys(), ...userDefined.keys()]) {
    if (/\p{Surrogate}/u.test(text) || text.length > MAX_LITERAL_LENGTH) {
      throw unsupported(holder, "tokenizer.ggml.tokens", `control or user-defined token ${quote(text)} is not text`);
    }
  }
  if (controls.size + userDefined.size > MAX_LITERALS) {
    throw unsupported(holder, key, `more than ${MAX_LITERALS} control and user-defined tokens`);
  }
  return { types, controls, userDefined };
}

function typeBySpelling(text: string): number {
  if (isMarker(text)) return TokenType.Control;
  return /^<0x[0-9A-F]{2}>$/.test(text) ? TokenType.Byte : TokenType.Normal;
}

/**
 * The tokens with the white space that they swallow. GGUF has no key for it; llama.cpp knows these models by name.
 * @returns one list; control tokens first
 */
export function literalsOf(holder: MetadataHolder, { controls, userDefined }: TokenClasses): readonly Literal[] {
  const text = (key: string) => metadataString(holder, key, { default: "" });
  const name = text("general.name").toLowerCase();
  const masked = /jina-v2-(de|es|code)/.test(text("tokenizer.ggml.pre"))
    ? "<mask>"
    : /nomic-bert-moe|jina-bert-v3/.test(text("general.architecture"))
      ? "<mask>"
      : undefined;
  const stripOf = (token: string): Literal["strip"] => {
    if (masked !== undefined) return token === masked ? "before" : undefined;
    if (/phi-?3/.test(name)) return ["<unk>", "<s>", "<|endoftext|>"].includes(token) ? undefined : "after";
    return name.includes("modern-bert") && token === "[MASK]" ? "before" : undefined;
  };
  return [...controls, ...userDefined].map(([token, id]) => ({ text: token, id, strip: stripOf(token) }));
}
