/**
 * Attention of one token of SmolLM2-135M, 30 layers x 3 KV heads x 3 query heads of 64 dims, over pages of their own: 32,768
 * slots are 1.5 GB in f32, 390 MB in 8 bits and 207 MB in 4 bits. Pages of one head are made by the cache; those of the
 * others are copies of them, in memory as a pool has them: ascending, head after head.
 * @module
 */
import { KvForm } from "../../assembly/memory/status.ts";
import { createEngine, createHead, pageBytesOf, pagesAt, SMALL, TASK_BYTES } from "../../test/cache/engine.ts";
import { bells, draws } from "../../test/kernel/values.ts";

const HEADS = 90;
const GROUP = 3;
const DIM = 64;

/** Of keys and values. */
const FORMS: Record<string, readonly [KvForm, KvForm]> = {
  f32: [KvForm.F32, KvForm.F32],
  q8: [KvForm.Q8, KvForm.Q8],
  q4: [KvForm.Q4_CHANNELS, KvForm.Q4],
  "q4-tokens": [KvForm.Q4, KvForm.Q4],
  q3: [KvForm.Q3_CHANNELS, KvForm.Q3],
};

export interface ColdAttention {
  /** Of all heads' pages. */
  readonly bytes: number;
  /** One token's attention in all heads. */
  attend(): void;
  /** Reads all pages and does nothing with them. */
  read(): void;
}

/** @param roof - the loop of lib/roof-module.ts, with imported memory */
export function coldAttention(formName: string, slots: number, roof: WebAssembly.Module): ColdAttention {
  const forms = FORMS[formName];
  if (forms === undefined) throw new RangeError(`no form "${formName}"`);
  const [keyForm, valueForm] = forms;
  const isAging = keyForm > KvForm.Q8;
  const shape = { keyDim: DIM, valueDim: DIM, keyForm, valueForm, group: 64 };
  const aging = { ...shape, recentPages: isAging ? 2 : 0, sinkPages: isAging ? 1 : 0 };
  const nPages = Math.ceil(slots / 32);
  const pageBytes = pageBytesOf(shape);
  const instance = createEngine({ ...SMALL, ...aging, slabBytes: 1 << 23 });
  const { exports } = instance;
  if (!exports.poolReserve(nPages)) throw new Error("no memory for the pages of a head");
  const model = createHead(instance, aging, nPages);
  const draw = draws(3);
  const token = instance.output(2 * DIM * 4);
  for (let slot = 0; slot < slots; ++slot) {
    if (slot % 32 === 0) token.f32.set(bells(2 * DIM, draw));
    exports.append(model.address, token.address, token.address + DIM * 4, DIM, DIM);
    exports.closeFull(model.address);
  }
  const bytes = HEADS * nPages * pageBytes;
  const start = exports.arenaAlloc(BigInt(bytes)) >>> 0;
  if (start === 0) throw new Error(`no memory for ${bytes} bytes of pages`);
  const memory = new Uint8Array(exports.memory.buffer);
  const pages = pagesAt(instance, model.address);
  // Sinks and recent pages are larger and stay the model's: a few of a thousand.
  const isPooled = (p: number): boolean => !isAging || (p >= aging.sinkPages && p < nPages - aging.recentPages);
  const scratch = instance.output(exports.attendScratch(DIM, DIM)).address;
  const extra = instance.output(exports.sectionScratch(DIM, DIM)).address;
  const tasks = Array.from({ length: HEADS }, (_, h) => {
    const table = instance.output(nPages * 4);
    pages.forEach((page, p) => {
      const copy = start + (h * nPages + p) * pageBytes;
      memory.copyWithin(copy, page, page + pageBytes);
      table.u32[p] = isPooled(p) ? copy : page;
    });
    const head = instance.output(model.u32.byteLength);
    head.u32.set(model.u32);
    head.u32[3] = table.address;
    const task = instance.output(TASK_BYTES);
    task.u32.fill(0);
    task.u32.set([head.address, 0, slots, GROUP, DIM, DIM, 0, 0, 64, scratch]);
    task.f32.set([1 / Math.sqrt(DIM), 0], 6);
    task.u32[18] = extra;
    return task.address;
  });
  const q = instance.input(bells(GROUP * DIM, draws(4))).address;
  const out = instance.output(GROUP * DIM * 4).address;
  const { sum } = new WebAssembly.Instance(roof, { env: { memory: exports.memory } }).exports as {
    sum(at: number, n: number): bigint;
  };
  return {
    bytes,
    attend() {
      for (const task of tasks) exports.attend(out, q, task);
    },
    read() {
      sum(start, bytes & ~63);
    },
  };
}
