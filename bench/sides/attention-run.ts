/**
 * Attention of one token as decoding does it: all 30 layers x 3 KV heads of SmolLM2-135M, 3 query heads of 64 dims each,
 * over pages of their own. So 128 slots read 6 MB, 2,048 slots 94 MB and 7,168 slots 330 MB.
 * @module
 */
import { createEngine, createHead, SMALL, TASK_BYTES } from "../../test/cache/engine.ts";
import type { Instance, Region } from "../../test/kernel/instance.ts";
import { bells, draws } from "../../test/kernel/values.ts";
import type { Run } from "./run.ts";

const HEADS = 90;
const GROUP = 3;
const DIM = 64;

export function attentionRun(slots: number): Run {
  const nPages = Math.ceil(slots / 32);
  const instance = createEngine({ ...SMALL, keyDim: DIM, valueDim: DIM, slabBytes: 1 << 22 });
  const { attend, attendScratch, poolReserve } = instance.exports;
  if (!poolReserve(HEADS * nPages)) throw new Error("no memory for the pages");
  const scratch = instance.output(attendScratch(DIM, DIM)).address;
  const tasks = Array.from({ length: HEADS }, () => {
    const task = instance.output(TASK_BYTES);
    task.u32.fill(0);
    task.u32.set([headOf(instance, slots).address, 0, slots, GROUP, DIM, DIM, 0, 0, 64, scratch]);
    task.f32.set([1 / Math.sqrt(DIM), 0], 6);
    return task.address;
  });
  const q = instance.input(bells(GROUP * DIM, draws(4))).address;
  const out = instance.output(GROUP * DIM * 4).address;
  const call = (): void => {
    for (const task of tasks) attend(out, q, task);
  };
  return { macs: HEADS * GROUP * slots * 2 * DIM, call };
}

/** A head with keys and values of ordinary size in all its slots. */
function headOf(instance: Instance, slots: number): Region {
  const head = createHead(instance, { keyDim: DIM, valueDim: DIM }, Math.ceil(slots / 32));
  const token = instance.input(bells(2 * DIM, draws(3))).address;
  for (let slot = 0; slot < slots; ++slot) {
    instance.exports.append(head.address, token, token + DIM * 4, DIM, DIM);
    instance.exports.closeFull(head.address);
  }
  return head;
}
