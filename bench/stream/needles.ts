/** Needles in a stream: the question comes when much has gone by, and nobody knew it before. @module */
import type { Model } from "../../host/model.ts";
import { encodeParts } from "../quality/eval-items.ts";

/** Tokens before a needle. */
const BEFORE = 300;

export interface Found {
  readonly distance: number;
  readonly found: number;
  readonly of: number;
}

interface Form {
  /** Before everything. */
  readonly head: string;
  readonly needle: (key: string) => string;
  /** Up to where the key comes. */
  readonly asked: string;
}

/** Models find what is asked for as they have learned it: the embedded one pass keys, chat models magic numbers (as RULER asks). */
export const NEEDLE_FORMS = {
  "pass-key": {
    head: "<|im_start|>user\nThere is important information hidden in this text. Find it and remember it.\n\n",
    needle: (key) => ` The pass key is ${key}. Remember it. ${key} is the pass key.`,
    asked: "\n\nWhat is the pass key?<|im_end|>\n<|im_start|>assistant\nThe pass key is",
  },
  "magic-number": {
    head: "<|im_start|>user\n",
    needle: (key) => ` The special magic number for Paris is: ${key}.`,
    asked:
      "\n\nWhat is the special magic number for Paris mentioned in the provided text?<|im_end|>\n<|im_start|>assistant\n" +
      "The special magic number for Paris mentioned in the provided text is",
  },
} as const satisfies Record<string, Form>;

export type NeedleForm = keyof typeof NEEDLE_FORMS;

/** Keys that a session of so many slots names when it is asked for them so many tokens later. */
export async function needles(
  model: Model,
  filler: readonly number[],
  {
    slots,
    count,
    distances,
    form = "pass-key",
  }: { slots: number; count: number; distances: readonly number[]; form?: NeedleForm },
): Promise<Found[]> {
  const { head, needle, asked } = NEEDLE_FORMS[form];
  const found: Found[] = [];
  for (const distance of distances) {
    let hits = 0;
    for (let n = 0; n < count; ++n) {
      const key = String(10_000 + ((n * 7919 + distance * 104_729) % 90_000));
      const from = (n * 9973 + distance) % Math.max(1, filler.length - distance - BEFORE);
      const encode = (text: string): number[] => encodeParts(model.tokenizer, [text])[0]!;
      const ids = [
        ...encode(head),
        ...filler.slice(from, from + BEFORE),
        ...encode(needle(key)),
        ...filler.slice(from + BEFORE, from + BEFORE + distance),
      ];
      const session = model.session({ overflow: "evict", keep: { slots } });
      await session.complete({ ids }, { maxTokens: 0 });
      const { text } = await session.complete({ ids: encode(asked) }, { maxTokens: 6, temperature: 0 });
      if (text.trim().startsWith(key)) hits += 1;
      session.close();
    }
    found.push({ distance, found: hits, of: count });
    console.error(`needles behind ${distance} tokens: ${hits} of ${count}`);
  }
  return found;
}
