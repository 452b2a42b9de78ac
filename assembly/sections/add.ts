/**
 * What the sections of a page add when it is read: to the 32 scores of each query head, and to each head's output.
 *
 * Scratch (AttendTask.extra): | queries x 3, of planes or channels | sums f32 x 3, whole sixteens of dims |
 */
import { isFew, packedBytes } from "../cache/packed-page";
import { keyFormOf, keysOf } from "../cache/page";
import { queryBytes } from "../kernels/quantize-query";
import { SCORES_BYTES } from "../kernels/scores-f32";
import { valuesPacked, valuesPackedRef } from "../kernels/values-packed";
import { AttendTask } from "../memory/records";
import { KvForm, KvSection } from "../memory/status";
import { addFactored, addFactoredRef, factorBytes } from "./factors";
import { addMean, addMeanRef, meanBytes } from "./mean";
import { addOutliers, addOutliersRef, outlierBytes } from "./outliers";
import { addSalientScores, addSalientScoresRef, addSalientValues, addSalientValuesRef } from "./salient";
import { outliersOf, salientOf } from "./sections";

// @ts-ignore: decorator
@inline
function sumsStride(valueDim: u32): usize {
  return ((valueDim + 15) & ~15) << 2;
}

/** Bytes of a task's scratch for sections and for forms that change the query. */
export function sectionScratch(keyDim: u32, valueDim: u32): usize {
  return 3 * (queryBytes(keyDim) + sumsStride(valueDim));
}

/** To the scores of `nHeads` heads, SCORES_BYTES apart; q f32 and `queries` codes of each. */
export function addToScores(scores: usize, q: usize, queries: usize, page: usize, task: AttendTask, nHeads: u32): void {
  const form = keyFormOf(page);
  if (!isFew(form)) return;
  const dim = task.keyDim;
  const sections = task.sections;
  const outliers = outliersOf(sections);
  const salient = salientOf(sections);
  for (let h: u32 = 0; h < nHeads; ++h, scores += SCORES_BYTES, q += dim << 2, queries += queryBytes(dim)) {
    let section = keysOf(page) + packedBytes(form, dim, task.group);
    if (sections & KvSection.MEAN) {
      addMean(scores, section, q, dim, task.scale);
      section += meanBytes(dim);
    }
    if (outliers != 0) addOutliers(scores, section, outliers, q, task.scale);
    section += outlierBytes(outliers);
    if (salient != 0) addSalientScores(scores, section, salient, queries, dim, task.group);
  }
}

/** One head. */
export function addToScoresRef(scores: usize, q: usize, query: usize, page: usize, task: AttendTask): void {
  const form = keyFormOf(page);
  if (!isFew(form)) return;
  const dim = task.keyDim;
  const sections = task.sections;
  let section = keysOf(page) + packedBytes(form, dim, task.group);
  if (sections & KvSection.MEAN) {
    addMeanRef(scores, section, q, dim, task.scale);
    section += meanBytes(dim);
  }
  addOutliersRef(scores, section, outliersOf(sections), q, task.scale);
  section += outlierBytes(outliersOf(sections));
  addSalientScoresRef(scores, section, salientOf(sections), query, dim, task.group);
}

/** As valuesPacked of kernels/values-packed.ts, with the sections of values of fewer than 8 bits. */
export function addToValues(
  out: usize, stride: usize, weights: usize, values: usize, form: KvForm, task: AttendTask, nHeads: u32, scratch: usize, work: usize,
): void {
  const dim = task.valueDim;
  const group = task.group;
  const salient = salientOf(task.sections);
  let section = values + packedBytes(form, dim, group);
  if (task.sections & KvSection.FACTORS) {
    const sums = task.extra + 3 * queryBytes(task.keyDim);
    memory.fill(sums, 0, nHeads * stride);
    valuesPacked(sums, stride, weights, values, form, dim, group, nHeads, scratch, work);
    for (let h: usize = 0; h < nHeads; ++h) addFactored(out + h * stride, sums + h * stride, section, dim);
    section += factorBytes(dim);
  } else valuesPacked(out, stride, weights, values, form, dim, group, nHeads, scratch, work);
  if (salient == 0) return;
  for (let h: usize = 0; h < nHeads; ++h) addSalientValues(out + h * stride, section, salient, weights + h * SCORES_BYTES, dim, group);
}

/** One head; out [dim]. */
export function addToValuesRef(out: usize, weights: usize, values: usize, form: KvForm, task: AttendTask): void {
  const dim = task.valueDim;
  let section = values + packedBytes(form, dim, task.group);
  if (task.sections & KvSection.FACTORS) {
    const sums = task.extra + 3 * queryBytes(task.keyDim);
    memory.fill(sums, 0, dim << 2);
    valuesPackedRef(sums, weights, values, form, dim, task.group);
    addFactoredRef(out, sums, section, dim);
    section += factorBytes(dim);
  } else valuesPackedRef(out, weights, values, form, dim, task.group);
  addSalientValuesRef(out, section, salientOf(task.sections), weights, dim, task.group);
}
