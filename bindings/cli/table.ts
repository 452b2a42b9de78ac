/**
 * Tables for people: framed on a terminal, bare columns elsewhere.
 * @module
 */
import Table from "cli-table3";
import { oneLine } from "./output.ts";

export type Align = "left" | "right";
export type Row = readonly (string | number)[];

/** Lines of a table; `head` may be empty. */
export function formatTable(head: readonly string[], aligns: readonly Align[], rows: readonly Row[]): string {
  const isPlain = !process.stdout.isTTY || Boolean(process.env.NO_COLOR);
  const table = new Table({
    head: [...head],
    colAligns: [...aligns],
    style: isPlain
      ? { head: [], border: [], "padding-left": 0, "padding-right": 0, compact: true }
      : { head: ["bold"], border: ["gray"], compact: true },
    ...(isPlain ? { chars: PLAIN } : {}),
  });
  for (const row of rows) table.push(row.map((cell) => oneLine(String(cell))));
  const lines = table.toString().split("\n");
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

const NO_LINE = { left: "", mid: "", "mid-mid": "", right: "" } as const;
const PLAIN = {
  ...NO_LINE,
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  "left-mid": "",
  "right-mid": "",
  middle: "  ",
} as const;
