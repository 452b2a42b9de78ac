/**
 * Sessions that nothing ever disturbs: the same model without a budget, a fresh session for every question. What a session
 * says after any life must be what such a one says.
 * @module
 */
import * as assert from "uvu/assert";
import { openFile } from "../../bindings/node/file-source.ts";
import type { GenerateOptions, GenerationResult } from "../../host/generation.ts";
import { readHeader } from "../../host/gguf.ts";
import { type LoadOptions, loadEngine } from "../../host/load-engine.ts";
import { Model } from "../../host/model.ts";
import type { Platform } from "../../host/platform.ts";
import type { Pin, SessionOptions } from "../../host/token-turn.ts";
import { bits } from "../model/load.ts";

/** A chat template, so that a turn can be told another way; the small models have none. */
const TEMPLATE = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}";

/** The model of a file that has a tokenizer, with a chat template. */
export async function loadTalking(platform: Platform, path: string, options: LoadOptions): Promise<Model> {
  const source = await openFile(path);
  try {
    const header = await readHeader(source);
    const metadata = { "tokenizer.chat_template": TEMPLATE, ...header.metadata };
    const talking = { ...header, metadata };
    return new Model({ ...(await loadEngine(platform, source, talking, options)), header: talking, headerMs: 0 });
  } finally {
    await source.close();
  }
}

/** How a session came to where it is. */
export interface Way {
  readonly rule: SessionOptions;
  /** From its beginning on. */
  readonly pins: readonly Pin[];
  /** Its turns before this one: what a session keeps of a prompt depends on where the prompt ended. */
  readonly turns: readonly { readonly ids: readonly number[]; readonly options: GenerateOptions }[];
}

function undisturbed({ cpuMs: _, signal: __, ...same }: GenerateOptions): GenerateOptions {
  return same;
}

/** As assert.equal, which takes minutes to say how two long lists differ. */
function same(given: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(given), JSON.stringify(expected)];
  const at = [...a].findIndex((character, i) => character !== b[i]);
  if (a !== b) throw new Error(`${what}: ${a.slice(at - 40, at + 40)} where ${b.slice(at - 40, at + 40)} is expected`);
}

/** Whether what a session holds depends on where its prompts ended, or how they were told: a policy chooses. */
export function chooses({ engine }: Model, { keep, overflow }: SessionOptions): boolean {
  return keep !== undefined || (overflow === "evict" && engine.sizes.cache.policy !== undefined);
}

export class Oracle {
  /** @param model without a budget, with the forms and sizes of the one that has it */
  constructor(readonly model: Model) {}

  /** A finished turn says what a session says that is told the same turns, or everything at once where that is the same. */
  async checkTurn(result: GenerationResult, options: GenerateOptions, { rule, pins, turns }: Way): Promise<void> {
    const session = this.model.session({ ...rule, tenant: undefined });
    for (const pin of pins) session.pin(pin);
    for (const turn of chooses(this.model, rule) ? turns : []) {
      await session.complete({ ids: [...turn.ids] }, undisturbed(turn.options));
    }
    const ids = result.promptIds.slice(session.tokens.length);
    const alone = await session.complete({ ids }, undisturbed(options));
    session.close();
    const isCut = result.overflow === "budget";
    const n = isCut ? result.completionIds.length : alone.completionIds.length;
    same(result.completionIds, alone.completionIds.slice(0, n), "the tokens of an undisturbed session");
    // What was resumed knows the log-probabilities of its own tokens only, the last ones.
    const said = result.logprobs!;
    same(said, alone.logprobs!.slice(n - said.length, n), "its log-probabilities");
    if (!isCut) assert.equal([result.finishReason, result.overflow], [alone.finishReason, alone.overflow]);
  }

  /** Logits after `ids` are those of an undisturbed session, to the bit. */
  checkLogits(ids: readonly number[], logits: Float32Array): void {
    const { engine } = this.model;
    const session = engine.openSession();
    const { maxRows } = engine.sizes;
    for (let at = 0; at < ids.length; at += maxRows) {
      const rows = ids.slice(at, at + maxRows).map((input, i) => ({ session, input, position: at + i }));
      const isLast = at + maxRows >= ids.length;
      engine.forward(rows.map((row, i) => ({ ...row, logits: isLast && i === rows.length - 1 })));
    }
    const differs = bits(logits).findIndex((word, i) => word !== bits(engine.logits(0))[i]);
    engine.runtime.exports.sessionClose(session);
    assert.is(differs, -1, `the logit of token ${differs} after ${ids.length} tokens`);
  }
}
