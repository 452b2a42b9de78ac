/**
 * Names of control tokens that end a turn even where no metadata key says so. The list is llama.cpp's
 * (src/llama-vocab.cpp, end of generation) and a few more chat markers.
 * @module
 */

export const TURN_ENDS: ReadonlySet<string> = new Set([
  "<|im_end|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end|>",
  "<|end_of_turn|>",
  "<|endofturn|>",
  "<|return|>",
  "<|call|>",
  "<|calls|>",
  "<|flush|>",
  "<|EOT|>",
  "<EOT>",
  "_<EOT>",
  "[EOT]",
  "[EOS]",
  "[e~[",
  "<eos>",
  "</s>",
  "<end_of_turn>",
  "<end_of_utterance>",
  "<turn|>",
  "<|tool_response>",
  "<\uff5cend\u2581of\u2581sentence\uff5c>",
]);

/** @param controls - all control tokens: where there are `<|return|>` and `<|call|>`, `<|end|>` ends a part only */
export function isTurnEnd(name: string, controls: ReadonlyMap<string, number>): boolean {
  if (!TURN_ENDS.has(name) || (name === "</s>" && controls.has("<|tool_response>"))) return false;
  const calls = controls.has("<|call|>") || controls.has("<|calls|>");
  return name !== "<|end|>" || !calls || !(controls.has("<|return|>") || controls.has("<|flush|>"));
}
