/** A worker thread of Node: part of every task, until the pool stops. See host/threads.ts. */
import { workerData } from "node:worker_threads";
import type { WorkerStart } from "../../host/threads.ts";

const { module, memory, part } = workerData as WorkerStart;
(new WebAssembly.Instance(module, { env: { memory } }).exports as { work: (part: number) => void }).work(part);
