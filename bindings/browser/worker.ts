/** A worker of a page: part of every task, until the pool stops. See host/threads.ts. */
import type { WorkerStart } from "../../host/threads.ts";

globalThis.addEventListener("message", ({ data }: MessageEvent<WorkerStart>) => {
  const { module, memory, part } = data;
  (new WebAssembly.Instance(module, { env: { memory } }).exports as { work: (part: number) => void }).work(part);
});
