/** What the conversation has lost, newest first, each with a button that brings it back. @module */
import type { Forgotten } from "../../bindings/browser/page.ts";
import { byId, counted, make } from "./element.ts";

/** More entries than anyone reads; under a policy there are thousands. */
const SHOWN = 40;
const EXCERPT = 160;

export interface Recalling {
  isRecalled(span: Forgotten): boolean;
  recall(span: Forgotten): void;
}

/** @param recalling - needed where the ledger has something */
export function showForgotten(ledger: readonly Forgotten[], heads: number, recalling?: Recalling): void {
  const list = byId("forgotten");
  const spans = [...ledger].reverse().sort((a, b) => b.turn - a.turn || b.end - b.first - (a.end - a.first));
  const bytes = ledger.reduce((sum, span) => sum + span.bytes, 0);
  byId("forgotten-text").textContent =
    ledger.length === 0
      ? "Nothing yet."
      : `${counted(ledger.length, "span")}, ${(bytes / 1024).toFixed(0)} KiB of keys and values${
          ledger.length > SHOWN ? `; the ${SHOWN} newest and longest of them` : ""
        }.`;
  const shown = recalling === undefined ? [] : spans.slice(0, SHOWN);
  list.replaceChildren(...shown.map((span) => item(span, heads, recalling!)));
}

function item(span: Forgotten, heads: number, recalling: Recalling): HTMLLIElement {
  const made = make("li");
  const words = span.text
    .replace(/<\|[^|]*\|>/g, " ")
    .replace(/\s+/g, " ")
    .trim();
  const excerpt = words.length > EXCERPT ? `${words.slice(0, EXCERPT)}…` : words;
  const asked = recalling.isRecalled(span);
  const button = make("button", "", asked ? "Asked for" : "Recall");
  button.type = "button";
  button.disabled = asked;
  button.setAttribute("aria-label", `${asked ? "Asked for" : "Recall"}: ${words.slice(0, 40)}`);
  button.addEventListener("click", () => recalling.recall(span));
  const who = span.heads === heads ? "all heads" : `${span.heads} of ${heads} heads`;
  const times = span.recalls.length === 0 ? "" : `; recalled ${counted(span.recalls.length, "time")}`;
  const note = `Tokens ${span.first} to ${span.end - 1}, gone from ${who} in turn ${span.turn + 1}, by ${span.policy}${times}`;
  made.append(make("q", "", excerpt), button, make("span", "note", note));
  return made;
}
