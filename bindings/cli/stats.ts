/**
 * What a turn took: tokens, time and memory, for people.
 * @module
 */
import type { Session } from "../node/index.ts";
import { formatBytes, formatTime } from "./output.ts";
import type { Turn } from "./turn.ts";

/** Lines of "name value". */
export function describeTurn(session: Session, { result, firstTokenMs }: Turn): string {
  const { usage, timings } = result;
  const { stats, header } = session.model;
  const rate = (perSecond: number): string => `${perSecond.toFixed(1)} tokens/s`;
  const recalled = usage.recalledTokens > 0 ? `, ${usage.recalledTokens} recalled` : "";
  const lines = [
    ["prompt", `${usage.promptTokens} tokens, ${usage.reusedTokens} of them reused${recalled}`],
    ["completion", `${usage.completionTokens} tokens, ended by ${result.finishReason}; seed ${result.seed}`],
    ["load", formatTime(stats.headerMs + stats.weightsMs)],
    ["first token", formatTime(firstTokenMs)],
    ["prefill", `${formatTime(timings.prefillMs)}, ${rate(timings.prefillPerSecond)}`],
    ["decode", `${formatTime(timings.decodeMs)}, ${rate(timings.decodePerSecond)}`],
    ...Object.entries(memoryParts(session)).map(([part, bytes]) => [
      MEMORY_NAMES[part as MemoryPart],
      formatBytes(bytes),
    ]),
    ["keys and values", `${stats.keys} and ${stats.values}, context of ${stats.contextLength} tokens`],
    ...(stats.budget === undefined ? [] : [["budget", formatBytes(stats.budget)]]),
    ...(header.size === undefined ? [] : [["model file", formatBytes(header.size)]]),
    [
      "variant",
      `${stats.variant}, ${stats.threads} ${stats.threads === 1 ? "thread" : "threads"}, ${stats.activations} activations`,
    ],
  ];
  return lines.map(([name, value]) => `${name!.padEnd(18)}${value}`).join("\n");
}

type MemoryPart = keyof ReturnType<typeof memoryParts>;

const MEMORY_NAMES: Readonly<Record<MemoryPart, string>> = {
  wasmPeakBytes: "wasm memory, peak",
  weightsBytes: "  weights",
  runStateBytes: "  run state",
  sessionBytes: "  session tables",
  pageBytes: "  KV pages",
  otherBytes: "  other",
  processBytes: "process RSS",
  processPeakBytes: "process RSS, peak",
};

/** Bytes of WebAssembly memory by part, and of the process. WebAssembly memory never shrinks: what it has is its peak. */
export function memoryParts(session: Session) {
  const { plan, peakBytes, pageBytes } = session.model.stats;
  const { weights, runState, session: sessionBytes } = plan;
  return {
    wasmPeakBytes: peakBytes,
    weightsBytes: weights,
    runStateBytes: runState,
    sessionBytes,
    pageBytes,
    otherBytes: peakBytes - weights - runState - sessionBytes - pageBytes,
    processBytes: process.memoryUsage.rss(),
    processPeakBytes: process.resourceUsage().maxRSS * 1024,
  };
}
