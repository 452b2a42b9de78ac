/**
 * A prompt's end: layer by layer, a policy scores the slots of each KV head, what is protected is lifted above all, the
 * highest stay, and the head is compacted. https://github.com/NVIDIA/kvpress does the same on the GPU, by ratio.
 *
 *   policyParameters: streaming -, key norm -, key diff -, snapkv [kernel], tova -, lagkv [sinks, lag],
 *                     finch -, chunkkv [kernel, chunk], observed and h2o [share of the budget that is recent],
 *                     compactor [sinks, recent, weight of leverage, weight of attention], kvzip [sinks, recent],
 *                     expected [sinks, future, covariance, vnorm, epsilon], q-filter -, simlayerkv [threshold, window];
 *                     with CRITICAL the last two: [first, epsilon]
 *   policyBudgets:    slots that each KV head keeps; adaptive: their sum over the layer's heads is dealt by score
 *
 * AdaKV (https://arxiv.org/abs/2407.11550): each head keeps its best `safeguard` of the budget, the rest goes to the highest
 * scores of all heads.
 */
import { compactHead, compactPages } from "../cache/compact";
import { headOf } from "../cache/heads";
import { NOBODY, observedCount } from "../cache/observation";
import { countedRows } from "../cache/query-statistics";
import { positionOf } from "../cache/slots";
import { Engine, engine, HeadView, Layer, layerAt, Session } from "../memory/records";
import { Observed, Option, Policy, Size, Status } from "../memory/status";
import { scoreChunkKv } from "./chunkkv";
import { scoreCompactor } from "./compactor";
import { keepCritical } from "./criticalkv";
import { scoreExpected, timesValueNorm } from "./expected-attention";
import { scoreFinch } from "./finch";
import { scoreKeyDiff } from "./key-diff";
import { scoreKeyNorm } from "./key-norm";
import { scoreLagKv } from "./lagkv";
import { scoreObserved } from "./observed-attention";
import { protect } from "./protect";
import { scoreQFilter } from "./q-filter";
import { scoreRepeated } from "./repeat-attention";
import { keepHighest } from "./select";
import { isLazy } from "./simlayerkv";
import { isUsed, scoresOf } from "./slots";
import { scoreSnapKv } from "./snapkv";
import { scoreTova } from "./tova";

// @ts-ignore: decorator
@inline
function parameter(e: Engine, i: u32): f32 {
  return load<f32>(e.policyParameters + (i << 2));
}

/** Whether a policy looks at the last queries. */
function looksBack(policy: Policy): bool {
  return policy == Policy.SNAPKV || policy == Policy.TOVA || policy == Policy.FINCH || policy == Policy.CHUNKKV || policy == Policy.SIMLAYER;
}

function isObserved(policy: Policy): bool {
  return policy == Policy.OBSERVED || policy == Policy.H2O;
}

/** What all rows must have added up for a policy. */
function addedUp(e: Engine, policy: Policy): Observed {
  if (isObserved(policy)) return Observed.ATTENTION;
  if (policy == Policy.KVZIP) return Observed.LARGEST;
  return policy == Policy.COMPACTOR && parameter(e, 3) != 0 ? Observed.CHUNKS : Observed.NOTHING;
}

/** Whether something is missing for a policy to score by. */
function lacks(e: Engine, session: Session, policy: Policy): bool {
  if (looksBack(policy)) return observedCount(e, session) == 0;
  if (policy == Policy.EXPECTED) return e.queryStatistics < (parameter(e, 2) != 0 ? 2 : 1);
  if (policy == Policy.Q_FILTER) return e.filters == 0;
  if (policy == Policy.COMPACTOR && parameter(e, 2) != 0 && e.sketch == 0) return true;
  const sums = addedUp(e, policy);
  return sums != Observed.NOTHING && (e.observedKind != sums || session.observedFrom == NOBODY);
}

/** Whether the heads of a layer have the same scores. */
function choosesTogether(policy: Policy): bool {
  return policy == Policy.TOVA || policy == Policy.CHUNKKV;
}

function scoreHead(e: Engine, session: Session, layer: Layer, kv: u32, policy: Policy, budget: u32): void {
  const head = headOf(session, layer.firstHead + kv);
  const out = scoresOf(e, kv);
  const rows = observedCount(e, session);
  if (policy == Policy.KEY_NORM) scoreKeyNorm(e, head, out);
  else if (policy == Policy.KEY_DIFF) scoreKeyDiff(e, session, layer, head, out);
  else if (policy == Policy.SNAPKV) scoreSnapKv(e, session, layer, head, kv, rows, <u32>parameter(e, 0), out);
  else if (policy == Policy.FINCH) scoreFinch(e, session, layer, head, kv, rows, out);
  else if (policy == Policy.Q_FILTER) scoreQFilter(e, session, layer, head, kv, out);
  else if (policy == Policy.LAGKV) scoreLagKv(e, session, layer, head, <u32>parameter(e, 0), <u32>parameter(e, 1), out);
  else if (policy == Policy.EXPECTED) {
    scoreExpected(e, session, layer, head, kv, <u32>parameter(e, 0), <u32>parameter(e, 1), parameter(e, 2) != 0, out);
    if (parameter(e, 3) != 0) timesValueNorm(e, head, parameter(e, 4), out);
  } else if (policy == Policy.KVZIP) {
    scoreRepeated(e, session, layer, head, kv, <u32>parameter(e, 0), <u32>parameter(e, 1), out);
  } else if (isObserved(policy)) {
    scoreObserved(e, session, layer, head, kv, policy == Policy.OBSERVED, <u32>(<f32>budget * parameter(e, 0)), out);
  } else if (policy == Policy.STREAMING || policy == Policy.SIMLAYER) {
    for (let j: u32 = 0; j < head.length; ++j) store<f32>(out + (j << 2), <f32>j);
  }
}

// @ts-ignore: decorator
@inline
function budgetOf(e: Engine, layer: Layer, kv: u32): u32 {
  return load<u32>(e.policyBudgets + (<usize>(layer.firstHead + kv) << 2));
}

/** Slots of the layer's head that has most. */
function longest(session: Session, layer: Layer): u32 {
  let n: u32 = 0;
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) n = max<u32>(n, headOf(session, layer.firstHead + kv).length);
  return n;
}

/** Slots of a head that stay whatever its budget is. */
function protectedSlots(e: Engine, kv: u32, n: u32): u32 {
  let slots: u32 = 0;
  for (let j: u32 = 0; j < n; ++j) if (load<f32>(scoresOf(e, kv) + (j << 2)) == Infinity) slots += 1;
  return slots;
}

/** Lifts each head's `safe` highest scores above all. */
function safeguard(e: Engine, layer: Layer, n: u32, safe: u32): void {
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    keepHighest(e, kv, kv + 1, n, safe);
    const keep = e.keepMap + <usize>kv * e.policySlots;
    for (let j: u32 = 0; j < n; ++j) if (load<u8>(keep + j) != 0) store<f32>(scoresOf(e, kv) + (j << 2), Infinity);
  }
}

/** Puts all but each head's `most` highest scores below all; what is protected stays. */
function bound(e: Engine, layer: Layer, n: u32, most: u32): void {
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    keepHighest(e, kv, kv + 1, n, max<u32>(most, protectedSlots(e, kv, n)));
    const keep = e.keepMap + <usize>kv * e.policySlots;
    for (let j: u32 = 0; j < n; ++j) if (load<u8>(keep + j) == 0) store<f32>(scoresOf(e, kv) + (j << 2), -Infinity);
  }
}

/** The scores of a layer's heads as policies and protection have them. */
function scoreLayer(e: Engine, session: Session, layer: Layer, policy: Policy, sinks: u32, window: u32, most: u32): void {
  const rows = observedCount(e, session);
  const together = choosesTogether(policy) || policy == Policy.COMPACTOR;
  if (policy == Policy.COMPACTOR) {
    scoreCompactor(e, session, layer, <u32>parameter(e, 0), <u32>parameter(e, 1), parameter(e, 2), parameter(e, 3));
  } else if (policy == Policy.TOVA) scoreTova(e, session, layer, rows);
  else if (policy == Policy.CHUNKKV) {
    const budget = budgetOf(e, layer, 0);
    const bounded = most != 0 ? min<u32>(budget, most) : budget;
    scoreChunkKv(e, session, layer, rows, <u32>parameter(e, 0), <u32>parameter(e, 1), bounded, sinks, window);
  }
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    if (!together) scoreHead(e, session, layer, kv, policy, budgetOf(e, layer, kv));
    const head = headOf(session, layer.firstHead + kv);
    protect(e, session, head, scoresOf(e, kv), sinks, window);
    for (let j = head.length; j < longest(session, layer); ++j) store<f32>(scoresOf(e, kv) + (j << 2), -Infinity);
  }
}

/** Slots of a head that are to stay. */
function keptSlots(e: Engine, kv: u32, n: u32): u32 {
  let slots: u32 = 0;
  for (let j: u32 = 0; j < n; ++j) slots += load<u8>(e.keepMap + <usize>kv * e.policySlots + j);
  return slots;
}

/** The end of a range of layers; 0 stands for all. */
// @ts-ignore: decorator
@inline
function endOf(e: Engine, end: u32): u32 {
  return end == 0 ? e.nLayers : end;
}

/** Free pages that `promptEvict` needs for layers [first, end); end 0: all from there on. */
export function promptPages(address: usize, first: u32, end: u32): u32 {
  const e = engine();
  const session = changetype<Session>(address);
  let pages: u32 = 0;
  for (let i = first * e.nKvHeads; i < endOf(e, end) * e.nKvHeads; ++i) pages += compactPages(e, headOf(session, i));
  return pages;
}

/**
 * Evicts at the end of a prompt, in layers [first, end) (end 0: all from there on), down to policyBudgets. `safe`: share of a head's budget that it keeps where the layer's is
 * dealt by score, above 1 where each head has its own. BAD_ARGUMENT without positions, in layers with windows or shares by
 * key norms, or where the policy needs queries that were not observed or counted; NO_PAGE without `promptPages` free pages.
 */
export function promptEvict(address: usize, scoring: u32, sinks: u32, window: u32, safe: f32, first: u32, end: u32, most: u32): Status {
  const e = engine();
  const policy: Policy = scoring & ~Policy.CRITICAL;
  const isCritical = (scoring & Policy.CRITICAL) != 0;
  const session = changetype<Session>(address);
  const rows = observedCount(e, session);
  if (e.slotPositions == 0 || (e.options & Option.KEY_DRIVEN) != 0 || lacks(e, session, policy)) return Status.BAD_ARGUMENT;
  if (policy == Policy.EXPECTED && countedRows(e, session) == 0) return Status.OK; // there are sinks only
  if (choosesTogether(policy) && safe <= 1) return Status.BAD_ARGUMENT; // its heads have the same scores
  if (isCritical && e.policyScratch == 0) return Status.BAD_ARGUMENT;
  if (promptPages(address, first, end) > e.nFreePages) return Status.NO_PAGE;
  for (let i = first; i < endOf(e, end); ++i) {
    const layer = layerAt(e, i);
    if (layer.window != 0) continue;
    const n = longest(session, layer);
    if (looksBack(policy) && n <= rows) continue;
    if (policy == Policy.SIMLAYER) {
      if (!isLazy(e, session, layer, rows, <u32>parameter(e, 1), sinks, budgetOf(e, layer, 0), parameter(e, 0))) continue;
    }
    scoreLayer(e, session, layer, policy, sinks, window, most);
    if (most != 0) bound(e, layer, n, most);
    if (safe <= 1) {
      let k: u32 = 0;
      for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) k += budgetOf(e, layer, kv);
      let least: u32 = 0;
      for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) least += protectedSlots(e, kv, n);
      safeguard(e, layer, n, <u32>(<f32>budgetOf(e, layer, 0) * safe));
      keepHighest(e, 0, layer.nKvHeads, n, max<u32>(least, most != 0 ? min<u32>(k, layer.nKvHeads * most) : k));
    } else {
      for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
        const k = policy == Policy.CHUNKKV ? 0 : budgetOf(e, layer, kv); // its chunks are chosen already
        keepHighest(e, kv, kv + 1, n, max<u32>(protectedSlots(e, kv, n), most != 0 ? min<u32>(k, most) : k));
      }
    }
    for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
      const head = headOf(session, layer.firstHead + kv);
      if (isCritical) keepCritical(e, layer, head, kv, n, keptSlots(e, kv, n), parameter(e, 6), parameter(e, 7));
      compactHead(e, session, head, layer.firstHead + kv, e.keepMap + <usize>kv * e.policySlots);
    }
  }
  return Status.OK;
}

/** Slots of a head, empty ones among them. */
export function headSlots(address: usize, index: u32): u32 {
  const head = headOf(changetype<Session>(address), index);
  return head.length - head.base;
}

/** Position of a head's slot, counted from the first it still has a page for; -1: the slot is empty. */
export function slotPosition(address: usize, index: u32, slot: u32): i32 {
  const head = headOf(changetype<Session>(address), index);
  if (!isUsed(head, slot)) return -1;
  const page: usize = load<u32>(head.pages + (<usize>(slot / Size.PAGE_SLOTS) << 2));
  return positionOf(engine(), page, slot % Size.PAGE_SLOTS);
}

export function policyBudgetsAddress(): usize {
  return engine().policyBudgets;
}

export function policyParametersAddress(): usize {
  return engine().policyParameters;
}
