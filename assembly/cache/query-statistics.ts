/**
 * Sums over a prompt's queries as they are before RoPE, for policies that expect more queries of the kind. They lie in the
 * session, row after row in the order of positions, so that neither chunks nor other sessions nor threads change a bit.
 *
 *   | u32 first position that counts | u32 rows so far | 8 bytes |
 *   of each layer and query head:  | f64 [keyDim] sums | f64 [keyDim (keyDim + 2) / 2] products, where queryStatistics is 2 |
 */
import { addProducts, addVector } from "../kernels/add-products";
import { Engine, engine, Layer, Row, Session } from "../memory/records";
import { evictorBytes } from "./evict";

/** The first position where none counts. */
const NEVER: u32 = 0xffffffff;
const HEADER: u32 = 16;

/** Bytes of one query head. */
function headBytes(e: Engine): u32 {
  return (e.queryStatistics > 1 ? e.keyDim + (e.keyDim * (e.keyDim + 2)) / 2 : e.keyDim) << 3;
}

/** Bytes of a session's statistics; 0 where no policy asks for them. */
export function statisticsBytes(e: Engine): u64 {
  return e.queryStatistics == 0 ? 0 : HEADER + <u64>e.nLayers * e.nHeads * headBytes(e);
}

/** They lie behind what the evictor has. */
function statisticsOf(e: Engine, session: Session): usize {
  return session.pins + <usize>evictorBytes(e);
}

/** Sums of query head h (counted in the layer), then the products. */
export function querySums(e: Engine, session: Session, layer: Layer, h: u32): usize {
  const head = (layer.firstHead / e.nKvHeads) * e.nHeads + h;
  return statisticsOf(e, session) + HEADER + <usize>head * headBytes(e);
}

/** Rows that have been counted. */
export function countedRows(e: Engine, session: Session): u32 {
  return load<u32>(statisticsOf(e, session), 4);
}

/** A region holds nothing. */
export function openStatistics(e: Engine, session: Session): void {
  if (e.queryStatistics != 0) store<u64>(statisticsOf(e, session), NEVER);
}

/** A fork goes on counting. */
export function copyStatistics(e: Engine, to: Session, from: Session): void {
  if (e.queryStatistics == 0 || load<u32>(statisticsOf(e, from)) == NEVER) return;
  memory.copy(statisticsOf(e, to), statisticsOf(e, from), <usize>statisticsBytes(e));
}

/** Counts a row's queries in a layer: q f32 [nHeads][keyDim], before RoPE. */
export function collect(e: Engine, layer: Layer, row: Row, q: usize): void {
  const session = changetype<Session>(row.session);
  const header = statisticsOf(e, session);
  if (row.position < load<u32>(header)) return;
  if (layer.firstHead == 0) store<u32>(header, load<u32>(header, 4) + 1, 4);
  for (let h: u32 = 0; h < e.nHeads; ++h, q += e.keyDim << 2) {
    const sums = querySums(e, session, layer, h);
    addVector(sums, q, e.keyDim);
    if (e.queryStatistics > 1) addProducts(sums + (e.keyDim << 3), q, e.keyDim, e.policyScratch);
  }
}

/** A session's queries count anew, from position `from` on; from 2^32 - 1 on: none do. */
export function collectQueries(address: usize, from: u32): void {
  const e = engine();
  if (e.queryStatistics == 0) return;
  const at = statisticsOf(e, changetype<Session>(address));
  memory.fill(at, 0, <usize>statisticsBytes(e));
  store<u32>(at, from);
}
