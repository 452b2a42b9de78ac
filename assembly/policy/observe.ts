/**
 * The queries of a prompt's last rows, as attention uses them, for policies that ask which slots those look at. They belong
 * to one session at a time: the host runs the last chunks of a prompt and what follows without letting another in.
 *
 *   observed: f32 [layers][observeRows][nHeads][keyDim]
 */
import { Engine, engine, Layer, Row, Session } from "../memory/records";

/** Address of a layer's queries of row `r`. */
// @ts-ignore: decorator
@inline
export function observedAt(e: Engine, layer: Layer, r: u32): usize {
  const row = (<usize>(layer.firstHead / e.nKvHeads) * e.observeRows + r) * e.nHeads;
  return e.observed + ((row * e.keyDim) << 2);
}

/** Keeps a row's queries where it is one of the last. */
export function observe(e: Engine, layer: Layer, row: Row, q: usize): void {
  if (row.session != e.observedSession || row.position < e.observedFrom) return;
  const r = row.position - e.observedFrom;
  if (r < e.observeRows) memory.copy(observedAt(e, layer, r), q, (<usize>e.nHeads * e.keyDim) << 2);
}

/** The next rows of a session from position `from` on are observed, `observeRows` of them; session 0: none. */
export function observeRows(session: usize, from: u32): void {
  const e = engine();
  e.observedSession = session;
  e.observedFrom = from;
}

/** Where the observed queries lie; for calibration. */
export function observedAddress(): usize {
  return engine().observed;
}

/** Rows of a session that were observed, all of the newest tokens. */
export function observedCount(e: Engine, session: Session): u32 {
  if (e.observedSession != changetype<usize>(session) || session.nextPosition < e.observedFrom) return 0;
  return min<u32>(e.observeRows, session.nextPosition - e.observedFrom);
}
