/** Memory against the budget, and how fast the last turn went. @module */
import type { GenerationResult, ModelStats } from "../../bindings/browser/page.ts";
import { byId, make, megabytes } from "./element.ts";

/** There is no model. */
export function clearFigures(): void {
  byId("speed").textContent = "no answer yet";
  byId("prefill").textContent = "no prompt yet";
  byId<HTMLMeterElement>("memory").value = 0;
  byId("memory").setAttribute("aria-valuetext", "none");
  byId("memory-text").textContent = "none";
  byId("parts").replaceChildren();
}

export function showMemory({ budget, peakBytes, pageBytes, plan, keys, values, variant }: ModelStats): void {
  const meter = byId<HTMLMeterElement>("memory");
  const most = budget ?? plan.total;
  const text = `${megabytes(peakBytes)} of ${megabytes(most)}`;
  meter.max = most;
  meter.value = peakBytes;
  meter.setAttribute("aria-valuetext", text);
  byId("memory-text").textContent = text;
  const parts = [
    ["Weights", megabytes(plan.weights)],
    ["Working memory", megabytes(plan.runState + plan.session)],
    ["Pages of the cache", megabytes(pageBytes)],
    ["Forms of keys, values", `${keys}, ${values}`],
    ["Build", variant],
  ] as const;
  byId("parts").replaceChildren(
    ...parts.map(([name, value]) => {
      const line = make("div");
      line.append(make("dt", "", name), make("dd", "", value));
      return line;
    }),
  );
}

/** While a turn is under way: pieces, which are tokens but for characters that take several. */
export function showWriting(pieces: number, milliseconds: number): void {
  if (pieces > 1 && milliseconds > 0) byId("speed").textContent = perSecond((pieces - 1) / (milliseconds / 1000));
}

export function showReading(done: number, total: number): void {
  byId("prefill").textContent = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} tokens`;
}

export function showTurn({ usage, timings }: GenerationResult): void {
  const read = usage.promptTokens - usage.reusedTokens;
  byId("speed").textContent = perSecond(timings.decodePerSecond);
  byId("prefill").textContent = `${read} tokens, ${perSecond(timings.prefillPerSecond)}`;
}

function perSecond(n: number): string {
  return `${n.toFixed(n < 10 ? 1 : 0)} tokens/s`;
}
