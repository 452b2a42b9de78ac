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

/** Pass keys that a session of so many slots names when it is asked for them so many tokens later. */
export async function needles(
  model: Model,
  filler: readonly number[],
  { slots, count, distances }: { slots: number; count: number; distances: readonly number[] },
): Promise<Found[]> {
  const found: Found[] = [];
  for (const distance of distances) {
    let hits = 0;
    for (let n = 0; n < count; ++n) {
      const key = String(10_000 + ((n * 7919 + distance * 104_729) % 90_000));
      const from = (n * 9973 + distance) % Math.max(1, filler.length - distance - BEFORE);
      const head = "<|im_start|>user\nThere is important information hidden in this text. Find it and remember it.\n\n";
      const needle = ` The pass key is ${key}. Remember it. ${key} is the pass key.`;
      const asked = "\n\nWhat is the pass key?<|im_end|>\n<|im_start|>assistant\nThe pass key is";
      const encode = (text: string): number[] => encodeParts(model.tokenizer, [text])[0]!;
      const ids = [
        ...encode(head),
        ...filler.slice(from, from + BEFORE),
        ...encode(needle),
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
