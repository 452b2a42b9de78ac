/**
 * A bar on stderr while something long goes on: only on a terminal, and gone when it ends.
 * @module
 */
import type { SingleBar } from "cli-progress";
import { formatBytes } from "./output.ts";

/** Work that ends sooner shows no bar. */
const DELAY_MS = 250;

export interface Progress {
  update(done: number, total: number): void;
  /** Clears the bar; at `done === total` it goes by itself. */
  stop(): void;
}

const SILENT: Progress = { update() {}, stop() {} };

/** `unit` is what is counted: bytes are shown in human units. */
export async function createProgress(label: string, unit: "bytes" | "tokens", isQuiet: boolean): Promise<Progress> {
  if (isQuiet || !process.stderr.isTTY) return SILENT;
  const { default: cliProgress } = await import("cli-progress");
  const amounts = (done: number, total: number): string =>
    unit === "bytes" ? `${formatBytes(done)} of ${formatBytes(total)}` : `${done} of ${total} tokens`;
  const start = performance.now();
  let bar: SingleBar | undefined;
  const stop = (): void => {
    bar?.stop();
    bar = undefined;
    process.off("exit", stop);
  };
  return {
    update(done, total) {
      if (done >= total) return stop();
      if (bar === undefined) {
        if (performance.now() - start < DELAY_MS) return;
        bar = new cliProgress.SingleBar({
          stream: process.stderr,
          clearOnComplete: true,
          hideCursor: false,
          barsize: 30,
          barCompleteChar: "\u2588",
          barIncompleteChar: "\u2591",
          format: `${label} {bar} {percentage}%, {amounts}`,
        });
        process.once("exit", stop);
        bar.start(total, done, { amounts: amounts(done, total) });
      }
      bar.update(done, { amounts: amounts(done, total) });
    },
    stop,
  };
}
