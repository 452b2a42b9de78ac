/**
 * A chat template as a table: what it writes around a system prompt and a user's message, found by rendering the real
 * template with marks for contents, and cut at the marks. Whether the template is such a table is tried out: other contents
 * (blanks around them, control tokens in them, switches that templates look for, none at all) must come out as the table says,
 * piece for piece. A template that does anything else with a content is refused; the command then takes raw text only.
 * @module
 */
import { Chat, ChatKind, Piece } from "../../assembly/wasi/format.ts";
import { type ChatMessage, type ChatPiece, type ChatTemplate, chatPieces } from "../chat.ts";
import { ThimbleError } from "../errors.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { ByteWriter } from "./byte-writer.ts";

const USER = "Qz1useRz1Q";
const SYSTEM = "Qz2systeMz2Q";

/** Text, a control token's id, or a place. */
type Cell = string | number | { readonly place: "user" | "system" };

export interface TemplateTable {
  readonly user: readonly Cell[];
  /** Undefined: the template takes no system prompt. */
  readonly system: readonly Cell[] | undefined;
  /** White space around contents is dropped. */
  readonly trims: boolean;
}

/** Contents that a template might treat in a way of its own. */
const TRIALS: readonly string[] = [
  "Hello",
  "  blanks around  ",
  "\n\nlines\n",
  "\u00a0\u3000wide\u2003",
  "a\tb\r\nc",
  "{{ messages }} {% if %} {# #}",
  "/think",
  "/no_think",
  "<think>\nso\n</think>\n\nthen",
  "<tool_call>{}</tool_call>",
  "system\nuser\nassistant",
  "\u00e9\u4f60\u597d \u{1f600}",
  "True None 12.50",
  "null",
  "x".repeat(3000),
  USER + SYSTEM,
];

/** @throws ThimbleError template_failed, with what keeps it from being a table */
export function templateTable(tokenizer: Tokenizer, template: ChatTemplate): TemplateTable {
  const render = (messages: readonly ChatMessage[]): ChatPiece[] => chatPieces(tokenizer, template, messages);
  const user = cut(render([{ role: "user", content: USER }]));
  if (!user.some((cell) => isPlace(cell, "user"))) throw refused("it does not write the user's message");
  const system = cutSystem(render);
  const names = [...tokenizer.controls.keys()].slice(0, 8).map((name) => `before ${name} behind`);
  for (const trims of [false, true]) {
    const table = { user, system, trims };
    if ([...TRIALS, ...names].every((content) => agrees(table, render, content))) return table;
  }
  throw refused("what it writes depends on what messages say");
}

function refused(why: string): ThimbleError {
  return new ThimbleError("template_failed", `the chat template cannot be made a table: ${why}`);
}

const isPlace = (cell: Cell, place: "user" | "system"): boolean => typeof cell === "object" && cell.place === place;

/** Undefined where the template refuses system prompts. */
function cutSystem(render: (messages: readonly ChatMessage[]) => ChatPiece[]): readonly Cell[] | undefined {
  try {
    const cells = cut(
      render([
        { role: "system", content: SYSTEM },
        { role: "user", content: USER },
      ]),
    );
    // One that leaves it out without a word would not do what was asked for.
    return cells.some((cell) => isPlace(cell, "system")) ? cells : undefined;
  } catch (error) {
    if (error instanceof ThimbleError && error.code === "template_failed") return undefined;
    throw error;
  }
}

function cut(pieces: readonly ChatPiece[]): Cell[] {
  return pieces.flatMap((piece) => (typeof piece === "number" ? [piece] : cutText(piece)));
}

function cutText(text: string): Cell[] {
  return text
    .split(new RegExp(`(${USER}|${SYSTEM})`))
    .filter((part) => part !== "")
    .map((part) => (part === USER ? { place: "user" } : part === SYSTEM ? { place: "system" } : part));
}

/** What the table makes of contents, texts joined as the template's are. */
function fill(
  cells: readonly Cell[],
  trims: boolean,
  contents: Readonly<Record<"user" | "system", string>>,
): ChatPiece[] {
  const pieces: ChatPiece[] = [];
  let text = "";
  for (const cell of cells) {
    if (typeof cell === "number") {
      if (text !== "") pieces.push(text);
      text = "";
      pieces.push(cell);
    } else if (typeof cell === "string") text += cell;
    else text += trims ? contents[cell.place].trim() : contents[cell.place];
  }
  return text === "" ? pieces : [...pieces, text];
}

function agrees(
  { user, system, trims }: TemplateTable,
  render: (messages: readonly ChatMessage[]) => ChatPiece[],
  content: string,
): boolean {
  const same = (a: readonly ChatPiece[], b: readonly ChatPiece[]): boolean =>
    a.length === b.length && a.every((piece, i) => piece === b[i]);
  const isSame = (cells: readonly Cell[], messages: readonly ChatMessage[]): boolean => {
    const [first, last] = [messages[0]!.content, messages.at(-1)!.content];
    try {
      return same(fill(cells, trims, { system: first, user: last }), render(messages));
    } catch (error) {
      if (error instanceof ThimbleError) return false;
      throw error;
    }
  };
  const message: ChatMessage = { role: "user", content };
  if (!isSame(user, [message])) return false;
  if (system === undefined) return true;
  const other: ChatMessage = { role: "user", content: "Why?" };
  return [content, ""].every(
    (text) =>
      isSame(system, [{ role: "system", content: text }, message]) &&
      isSame(system, [{ role: "system", content: text }, other]),
  );
}

/** The chat section; undefined is a model without a template, "refused" one whose template is no table. */
export function chatSection(table: TemplateTable | "refused" | undefined): Uint8Array {
  if (table === undefined || table === "refused") {
    const kind = table === undefined ? ChatKind.NONE : ChatKind.REFUSED;
    return new ByteWriter().words(Array.from({ length: Chat.HEAD }, (_, i) => (i === Chat.KIND ? kind : 0))).finish();
  }
  const encoder = new TextEncoder();
  const cells = [...table.user, ...(table.system ?? [])];
  const texts: Uint8Array[] = [];
  let end = 0;
  const pieces = cells.map((cell): readonly number[] => {
    if (typeof cell === "number") return [Piece.CONTROL, cell, 0];
    if (typeof cell === "object") return [cell.place === "user" ? Piece.USER : Piece.SYSTEM, 0, 0];
    const text = encoder.encode(cell);
    const start = end;
    texts.push(text);
    end += text.length;
    return [Piece.TEXT, start, text.length];
  });
  const head = new Uint32Array(Chat.HEAD);
  head[Chat.KIND] = ChatKind.TABLE;
  head[Chat.N_USER] = table.user.length;
  head[Chat.N_SYSTEM] = table.system?.length ?? 0;
  head[Chat.TRIM] = table.trims ? 1 : 0;
  head[Chat.TEXT_BYTES] = end;
  const writer = new ByteWriter().words(head).words(pieces.flat());
  for (const text of texts) writer.bytes(text);
  return writer.align().finish();
}
