/**
 * What a session has forgotten, for people.
 * @module
 */
import type { Session } from "../node/index.ts";
import { formatBytes, oneLine } from "./output.ts";
import { formatTable } from "./table.ts";

/** Characters of a span's text that are shown at each end. */
const SHOWN = 24;

/** A table of the ledger, or a line that says there is nothing in it. */
export function describeLedger(session: Session): string {
  const { ledger, stats } = session;
  if (ledger.length === 0) return "nothing was evicted";
  const heads = session.model.config.nLayers * session.model.config.nKvHeads;
  const rows = ledger.map((entry) => [
    `${entry.first}-${entry.end - 1}`,
    entry.turn + 1,
    entry.policy,
    entry.heads === heads ? "all" : `${entry.heads} of ${heads}`,
    formatBytes(entry.bytes),
    shorten(oneLine(entry.text)),
  ]);
  const table = formatTable(
    ["tokens", "turn", "policy", "heads", "bytes", "text"],
    ["right", "right", "left", "right", "right", "left"],
    rows,
  );
  return `evicted ${stats.evictedTokens} tokens, ${formatBytes(stats.evictedBytes)}\n${table.trimEnd()}`;
}

function shorten(text: string): string {
  const characters = Array.from(text);
  if (characters.length <= 2 * SHOWN + 5) return text;
  return `${characters.slice(0, SHOWN).join("")} ... ${characters.slice(-SHOWN).join("")}`;
}
