/**
 * One turn as run and chat do it: the prompt's progress on stderr, the text to where it goes, and the first token's time.
 * @module
 */
import type { GenerateOptions, GenerationResult, Prompt, Session } from "../node/index.ts";
import { createProgress } from "./progress.ts";

export interface Turn {
  readonly result: GenerationResult;
  /** From the start to the first piece of text; to the end of the prompt where there was none. */
  readonly firstTokenMs: number;
}

export async function takeTurn(
  session: Session,
  prompt: Prompt,
  options: GenerateOptions,
  { write, isQuiet }: { readonly write: (piece: string) => void; readonly isQuiet: boolean },
): Promise<Turn> {
  const progress = await createProgress("Reading", "tokens", isQuiet);
  const start = performance.now();
  let firstTokenMs: number | undefined;
  try {
    const generation = session.generate(prompt, { ...options, onPrefill: progress.update });
    for await (const piece of generation) {
      firstTokenMs ??= performance.now() - start;
      write(piece);
    }
    const result = await generation.result;
    return { result, firstTokenMs: firstTokenMs ?? result.timings.prefillMs };
  } finally {
    progress.stop();
  }
}
