/**
 * What the rows of a chunk give each other, whoever comes first: attention that is not causal, for policies that look for what
 * a text's parts hold together by. https://arxiv.org/abs/2507.08143 (Compactor)
 *
 *   chunks of `observedChunk` rows from row `observedSinks` of the prompt on, the last one shorter, without the newest rows;
 *   of each chunk C: sum_j += sum over rows r in C and heads of the group of softmax over j in C of (q_r . k_j), not scaled
 *
 * A chunk's products come all at once, when it is whole: of 256 rows, in a session that is thinned, decoding stands still for the
 * time of a dozen tokens once in 256 (docs/benchmarks.md times 32 tokens in which `compactor`, not `non-causal-attention`, has one).
 *
 * As kvpress has it, but that rows which fill the last chunk up take no part. The queries of a chunk are kept until it is
 * whole, and as many more rows have come as stay out of the last one: a ring of `observeRows` of them for each layer.
 */
import { softmaxSpan } from "../kernels/softmax-span";
import { keyFormOf, keysOf } from "../cache/page";
import { headOf } from "../cache/heads";
import { queryAt, sumsOf } from "../cache/observation";
import { readSlot } from "../cache/quantize-group";
import { positionOf } from "../cache/slots";
import { Engine, HeadView, Layer, Row, Session } from "../memory/records";
import { Part, Size } from "../memory/status";
import { smallScratch } from "../model/layout";
import { dotF32, isUsed, readAt } from "./slots";

/** Position of the first row that is in a chunk. */
// @ts-ignore: decorator
@inline
export function firstChunk(e: Engine, session: Session): u32 {
  return max<u32>(session.observedFrom, e.observedSinks);
}

/** The key of a position into place `at` of policyKeys; false where the head does not have it any more. */
function readPosition(e: Engine, head: HeadView, position: u32, at: u32): bool {
  const slot = position + head.lead;
  if (slot >= head.length || !isUsed(head, slot)) return false;
  const page: usize = load<u32>(head.pages + (<usize>(slot / Size.PAGE_SLOTS) << 2));
  if (positionOf(e, page, slot % Size.PAGE_SLOTS) != position) return false;
  readSlot(readAt(e, at, e.keyDim), keysOf(page), keyFormOf(page), Part.KEYS, slot % Size.PAGE_SLOTS, e.keyDim, e.kvGroup);
  return true;
}

/** Adds up a chunk [first, end) of positions, all heads of a layer. */
function addChunk(e: Engine, session: Session, layer: Layer, first: u32, end: u32): void {
  const group = layer.nHeads / layer.nKvHeads;
  const dim = e.keyDim;
  const n = end - first;
  const weights = e.policyWeights;
  const state = smallScratch(e);
  for (let kv: u32 = 0; kv < layer.nKvHeads; ++kv) {
    const head = headOf(session, layer.firstHead + kv);
    const sums = sumsOf(e, session, layer.firstHead + kv);
    let gone: u32 = 0; // the oldest may have been evicted
    for (let i: u32 = 0; i < n; ++i) if (!readPosition(e, head, first + i, i)) gone = i + 1;
    for (let r = first + gone; r < end; ++r) {
      for (let h = kv * group; h < (kv + 1) * group; ++h) {
        const q = queryAt(e, session, layer, r) + ((h * dim) << 2);
        for (let i = gone; i < n; ++i) store<f32>(weights + (i << 2), dotF32(q, readAt(e, i, dim), dim));
        softmaxSpan(weights, gone, n, state);
        const inverse: f32 = <f32>1 / load<f32>(state, 4);
        for (let i = gone; i < n; ++i) {
          const at = sums + ((first + i + head.lead) << 2);
          store<f32>(at, load<f32>(at) + load<f32>(weights + (i << 2)) * inverse);
        }
      }
    }
  }
}

/** Keeps a row's queries, and adds a chunk up when that may be done; rows come in order. */
export function observeChunk(e: Engine, layer: Layer, row: Row, q: usize): void {
  const position = row.position;
  const session = changetype<Session>(row.session);
  memory.copy(queryAt(e, session, layer, position), q, (<usize>e.nHeads * e.keyDim) << 2);
  const recent = e.observeRows - e.observedChunk;
  const start = firstChunk(e, session) + recent;
  if (position < start) return;
  const seen = position + 1 - start;
  if (seen % e.observedChunk != 0 || seen == 0) return;
  const end = position + 1 - recent;
  addChunk(e, session, layer, end - e.observedChunk, end);
}

/** The chunk at a prompt's end, which has the rows that are left. */
export function lastChunk(e: Engine, session: Session, layer: Layer): void {
  const first = firstChunk(e, session);
  const out = e.observeRows - e.observedChunk + first;
  if (session.nextPosition <= out) return;
  const left = (session.nextPosition - out) % e.observedChunk;
  const end = session.nextPosition - out + first;
  if (left != 0) addChunk(e, session, layer, end - left, end);
}
