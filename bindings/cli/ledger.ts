/**
 * What a session has forgotten, for people.
 * @module
 */
import { ThimbleError } from "../../host/errors.ts";
import type { Forgotten, Session } from "../node/index.ts";
import { failureLine } from "./command.ts";
import { formatBytes, oneLine } from "./output.ts";
import { formatTable } from "./table.ts";

/** Characters of a span's text that are shown at each end. */
const SHOWN = 24;

/** A table of the ledger, its entries numbered from 1, or a line that says there is nothing in it. */
export function describeLedger(session: Session): string {
  const { ledger, stats } = session;
  if (ledger.length === 0) return "nothing was evicted";
  const heads = session.model.config.nLayers * session.model.config.nKvHeads;
  const rows = ledger.map((entry, i) => [
    i + 1,
    `${entry.first}-${entry.end - 1}`,
    entry.turn + 1,
    entry.policy,
    entry.heads === heads ? "all" : `${entry.heads} of ${heads}`,
    formatBytes(entry.bytes),
    [...new Set(entry.recalls.map(({ turn }) => turn + 1))].join(", "),
    shorten(oneLine(entry.text)),
  ]);
  const table = formatTable(
    ["", "tokens", "turn", "policy", "heads", "bytes", "recalled", "text"],
    ["right", "right", "right", "left", "right", "right", "right", "left"],
    rows,
  );
  return `evicted ${stats.evictedTokens} tokens, ${formatBytes(stats.evictedBytes)}\n${table.trimEnd()}`;
}

/** `/recall N ...`: what the next message brings back then, and what was refused, in words. */
export function recallByNumber(session: Session, numbers: readonly string[]): string {
  try {
    const { ledger } = session;
    if (numbers.join() === "none") session.unrecall();
    else for (const span of numbers.map((number) => spanOf(ledger, number))) session.recall(span);
    return describeRecalling(session);
  } catch (error) {
    return `${failureLine(error)}\n${describeRecalling(session)}`;
  }
}

/** @throws ThimbleError invalid_option */
function spanOf(ledger: readonly Forgotten[], number: string): Forgotten {
  const entry = /^\d{1,9}$/.test(number) ? ledger[Number(number) - 1] : undefined;
  if (entry !== undefined) return entry;
  throw new ThimbleError("invalid_option", `there is no span ${number}; /forgotten lists them`, { name: "recall" });
}

function describeRecalling({ recalling }: Session): string {
  if (recalling.length === 0) return "(the next message recalls nothing; /recall N takes a number of /forgotten)";
  const tokens = recalling.reduce((sum, { first, end }) => sum + end - first, 0);
  const spans = recalling.map(({ first, end }) => `${first}-${end - 1}`).join(", ");
  return `(the next message brings back tokens ${spans}: ${tokens} in all; /recall none takes that back)`;
}

function shorten(text: string): string {
  const characters = Array.from(text);
  if (characters.length <= 2 * SHOWN + 5) return text;
  return `${characters.slice(0, SHOWN).join("")} ... ${characters.slice(-SHOWN).join("")}`;
}
