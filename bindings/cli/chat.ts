/**
 * `thimble run --chat`: a conversation in a terminal. Answers go to stdout, all else to stderr, so that a redirected chat
 * leaves the answers alone.
 *
 * Ctrl-C ends the turn that is running, and the conversation stays as it was before it; pressed again with nothing typed
 * in between it ends the program, as Ctrl-D does.
 * @module
 */
import { createInterface } from "node:readline";
import type { Pack, Prompt, Session } from "../node/index.ts";
import { EXIT, failureLine } from "./command.ts";
import { describeLedger, recallByNumber } from "./ledger.ts";
import { generateOptions, openModel, type RunValues, sessionOptions, warn } from "./options.ts";
import { closeLine, note, oneLine, printModelText, printText } from "./output.ts";
import { openPackFile, promptFor } from "./pack-file.ts";
import { describeTurn } from "./stats.ts";
import { takeTurn } from "./turn.ts";

const HELP = `/reset         forget the conversation
/forgotten     what of it was evicted (--overflow evict, --policy), by number
/recall N ...  quote these spans of it in front of the next message; none takes that back
/exit          leave; so does Ctrl-D
/help          this help
Ctrl-C         stops the answer; twice, it leaves
Anything else goes to the model.`;

/** Gives the exit code. */
export async function chat(path: string, values: RunValues, firstPrompt: string | undefined): Promise<number> {
  await using model = await openModel(path, values);
  const isTerminal = process.stdin.isTTY === true && process.stderr.isTTY === true;
  if (!values.quiet) {
    warn(model, values.raw);
    if (isTerminal) note(`${oneLine(model.name)}. /help tells what can be done here.`);
  }
  const pack = values.pack === undefined ? undefined : await openPackFile(model, values.pack);
  const begin = (): Session => pack?.session(sessionOptions(values)) ?? model.session(sessionOptions(values));
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: isTerminal, prompt: "> " });
  let turn: AbortController | undefined;
  let wasInterrupted = false;
  let exitCode: number = EXIT.ok;
  lines.on("SIGINT", () => {
    if (wasInterrupted) {
      exitCode = EXIT.interrupted;
      lines.close();
    } else if (turn === undefined) {
      note("\n(Ctrl-C again or Ctrl-D to leave)");
      lines.prompt();
    }
    turn?.abort();
    wasInterrupted = true;
  });
  const prompt = (): void => {
    if (isTerminal) lines.prompt();
  };

  let session = begin();
  const answer = async (line: string): Promise<void> => {
    turn = new AbortController();
    try {
      await answerLine(session, line, values, pack, turn.signal);
    } finally {
      turn = undefined;
    }
  };
  // The iterator is taken before the first turn, so that no line typed during it is lost.
  const typed = lines[Symbol.asyncIterator]();
  if (firstPrompt !== undefined) await answer(firstPrompt);
  prompt();
  for await (const line of typed) {
    wasInterrupted = false;
    const word = line.trim();
    if (word === "/exit") break;
    if (word === "/help") note(HELP);
    else if (word === "/forgotten" || word === "/ledger") note(describeLedger(session));
    else if (/^\/recall( |$)/.test(word)) note(recallByNumber(session, word.split(/ +/).slice(1)));
    else if (word === "/reset") {
      session.close();
      session = begin();
      if (!values.quiet) note("(forgotten)");
    } else if (word.startsWith("/")) note(`There is no ${oneLine(word)}.\n${HELP}`);
    else if (word !== "") await answer(line);
    prompt();
  }
  lines.close();
  if (isTerminal && exitCode === EXIT.ok) note("");
  return exitCode;
}

/** A turn that fails or is stopped leaves the conversation as it was, and the chat goes on. */
async function answerLine(
  session: Session,
  line: string,
  values: RunValues,
  pack: Pack | undefined,
  signal: AbortSignal,
): Promise<void> {
  try {
    const options = { ...generateOptions(values), signal };
    const turn = await takeTurn(session, promptFor(pack, chatPrompt(session, line, values)), options, {
      write: printModelText,
      isQuiet: values.quiet,
    });
    printText("\n");
    if (turn.result.finishReason === "length" && !values.quiet) {
      note(`(cut after ${turn.result.usage.completionTokens} tokens)`);
    }
    if (values.stats) note(describeTurn(session, turn));
    if (values.ledger) note(describeLedger(session));
  } catch (error) {
    closeLine();
    if (signal.aborted) note("(stopped; the model forgets this turn)");
    else note(failureLine(error));
  }
}

function chatPrompt(session: Session, line: string, { raw, system }: RunValues): Prompt {
  if (raw) return { text: line };
  if (system === undefined || session.messages.length > 0) return line;
  return [
    { role: "system", content: system },
    { role: "user", content: line },
  ];
}
