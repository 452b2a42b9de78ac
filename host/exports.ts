/**
 * The exports of the WebAssembly module as TypeScript sees them; addresses and counts are plain numbers (up to 2^32).
 * test/host/exports.test.ts holds this file against the declarations the compiler generates.
 * @module
 */

import type {
  Config,
  Form,
  LayerField,
  RopeField,
  Slot,
  Status,
  TensorType,
  Vector,
} from "../assembly/memory/status.ts";
import type { WasmMemory } from "./host-types.ts";

export interface EngineExports {
  /** Not in builds with threads, which import theirs: use `Runtime.memoryBytes` and its views. */
  readonly memory: WasmMemory;
  /** Clears the engine; first call of all. */
  arenaStart(): void;
  /** Bytes of the arena in use. */
  arenaBytes(): number;
  setConfig(field: Config, value: number): Status;
  layoutRecords(): Status;
  /** After `layoutRecords`. */
  setLayer(index: number, field: LayerField, value: number): Status;
  setRope(index: number, field: RopeField, value: number): Status;
  /** Run state; it is the staging buffer, of at least `stagingBytes`, until `finishLoad`. */
  layoutRunState(stagingBytes: number): Status;
  stagingAddress(): number;
  stagingSize(): number;
  finishLoad(): void;
  /** Address of a new vector of f32, 0 when memory is out. */
  vectorAlloc(vector: Vector, layer: number, length: number): number;
  biasAlloc(slot: Slot, layer: number, length: number): number;
  linearAddress(slot: Slot, layer: number): number;
  /** Address of the first tile, 0 when memory is out. */
  linearAlloc(address: number, form: Form, nRows: number, nCols: number): number;
  tieOutput(): void;
  /** 0 when a scale is infinite or NaN. */
  packRows(dst: number, src: number, type: TensorType, nRows: number, nCols: number, permute: number): number | boolean;
  dequantizeRow(out: number, src: number, type: TensorType, nCols: number): void;
  unpackRow(out: number, tiles: number, form: Form, row: number, nCols: number): void;
  /** Address of a fresh session, 0 when memory is out. */
  sessionOpen(): number;
  sessionClose(address: number): void;
  /** A session that goes on from the same tokens; 0 when memory is out. */
  sessionFork(address: number): number;
  /** Remembers the session as it is: `sessionTruncate` can come back here. */
  sessionMark(address: number): void;
  /** The new length: less than asked for where the form of the pages, or a window, does not allow it. */
  sessionTruncate(address: number, length: number): number;
  sessionLength(address: number): number;
  /** Slots in use of the head that has most; the capacity is their end. */
  sessionSlots(address: number): number;
  /** Pages of a head at most, and of those that are never evicted; 0: the session ends at its capacity. */
  sessionEvict(address: number, maxPages: number, sinkPages: number, windowPages: number): Status;
  sessionPin(address: number, first: number, end: number): Status;
  sessionUnpin(address: number): void;
  /** A session's rows count for policies from this position on, and nothing has been added up; 2^32 - 1: none do. */
  observeRows(session: number, from: number): void;
  /** Where they begin to, or which are not repeated yet: see cache/observation.ts. */
  observedStart(session: number): number;
  observedUntil(session: number, end: number): void;
  /** What a policy has of a session's rows, as capsules keep it. */
  observationImage(session: number): number;
  observationImageBytes(): number;
  /** What the rows of a fork repeat, from position `from` on; fork 0: nothing. See policy/repeat-attention.ts. */
  observeSpan(session: number, fork: number, from: number, sinks: number, low: number, high: number): void;
  /** f32 of every slot that a head can have, what all rows have added up; 0 where the policy does not ask for it. */
  observedSumsAddress(session: number, head: number): number;
  /** f32 [layers][nKvHeads][keyDim]; 0: no policy takes them. */
  filtersAddress(): number;
  /** A session's queries count from position `from` on, and those before do not any more; 2^32 - 1: none. */
  collectQueries(session: number, from: number): void;
  /** Free pages that `promptEvict` needs. */
  promptPages(session: number, firstLayer?: number, endLayer?: number): number;
  /**
   * Evicts down to the budgets by `scoring`, a policy and perhaps CRITICAL; `safe` above 1: each head its own. In layers from
   * `firstLayer` on, up to `endLayer` where that is not 0. No head keeps more than `most` slots, where that is not 0.
   */
  promptEvict(
    session: number,
    scoring: number,
    sinks: number,
    window: number,
    safe: number,
    firstLayer?: number,
    endLayer?: number,
    most?: number,
  ): Status;
  /** For calibrations: see policy/calibrate.ts. */
  queriesAddress(session: number, layer: number, row: number): number;
  headKeys(session: number, head: number): number;
  rowAttention(session: number, layer: number, queryHead: number, row: number): number;
  layerAngles(layer: number, position: number): number;
  policyBudgetsAddress(): number;
  policyParametersAddress(): number;
  headSlots(session: number, head: number): number;
  /** -1: the slot is empty. */
  slotPosition(session: number, head: number, slot: number): number;
  /** Records of what the last forward call evicted: see cache/evict.ts. */
  evictedLog(address: number): number;
  evictedPages(address: number): number;
  /** Pages a session holds: aged ones, or those of heads that keep 8 bits. */
  sessionPages(address: number, isWide?: boolean): number;
  sessionPagesNeeded(address: number, nTokens: number, isWide?: boolean): number;
  /** Heads of a session over all layers; for capsules, as everything up to `slotWrite`: see cache/image.ts. */
  imageHeads(): number;
  headBase(session: number, head: number): number;
  headSquares(session: number, head: number, closed: boolean): number;
  headPage(session: number, head: number, index: number): number;
  pageSize(page: number): number;
  /** 64 bits (low, high) over n words into `out`; seed is a u32. */
  checksum(out: number, x: number, n: number, seed: number): void;
  pageRestored(page: number, broken: boolean): void;
  /** Bits 0..7: empty slots, bit 8: they have positions. */
  setPageSlots(page: number, slots: number, first: number): void;
  isRelative(session: number): number | boolean;
  sessionAdopt(session: number, length: number, relative: boolean): Status;
  headAdopt(
    session: number,
    head: number,
    base: number,
    length: number,
    keySquares: number,
    closedSquares: number,
  ): Status;
  slotAddress(): number;
  slotRead(session: number, head: number, slot: number): number;
  slotWrite(session: number, head: number, slot: number): void;
  /** 0 when memory is out. */
  poolReserve(nFree: number, isWide?: boolean): number | boolean;
  /** Pages in the pool, and how many of them are free. */
  poolPages(isWide?: boolean): number;
  poolFreePages(isWide?: boolean): number;
  rowsAddress(): number;
  /** Where a row's input vector is written. */
  inputAddress(row: number): number;
  logitsAddress(output: number): number;
  hiddenAddress(output: number): number;
  scratchAddress(): number;
  forward(nRows: number): Status;
  /** The same through one layer, of rows `at` .. of a session's prompt: see model/forward-layer.ts. */
  forwardLayer(layer: number, at: number, nRows: number): Status;
  /** Pages of the pool that so many tokens more need in one layer. */
  layerPagesNeeded(session: number, layer: number, nTokens: number): number;
  /** Of the builds with threads; elsewhere they do nothing. */
  work(part: number): void;
  workersReady(): number;
  stopWorkers(nThreads: number): void;
  letCallerSleep(may: number): void;
  expWeights(x: number, n: number, max: number, invTemperature: number): number;
  logSumExp(x: number, n: number): number;
  log64(x: number): number;
}
