/** The prompt: an argument or stdin, in the model's chat template or as it is, to token ids. */
import { lengthOfArgument } from "./arguments";
import { chatKind, encodeChat, takesSystem } from "./chat";
import { ChatKind } from "./format";
import { fail, Fd, need, put, putNumber, readSome, Exit, exit } from "./io";
import { Options } from "./options";
import { appendBos, encodeText, idCount } from "./tokenizer";
import { firstInvalid } from "./utf8";

const MOST_BYTES: u32 = 1 << 24;

let text: usize = 0;
let length: u32 = 0;

/** All of stdin less one newline at its end; a byte order mark is dropped. */
function readStdin(): void {
  let room: u32 = 1 << 16;
  text = need(room);
  for (;;) {
    const got = readSome(Fd.STDIN, text + length, room - length);
    if (got < 0) fail("stdin could not be read");
    length += <u32>got;
    if (length < room) break;
    if (room == MOST_BYTES) fail("the prompt on stdin is longer than 16 MiB");
    room *= 4;
    const larger = need(room);
    memory.copy(larger, text, length);
    text = larger;
  }
  if (length >= 3 && load<u8>(text) == 0xef && load<u8>(text, 1) == 0xbb && load<u8>(text, 2) == 0xbf) {
    text += 3;
    length -= 3;
  }
  if (length > 0 && load<u8>(text + length - 1) == 10) {
    --length;
    if (length > 0 && load<u8>(text + length - 1) == 13) --length;
  }
}

function refuseText(what: string, from: usize, at: usize): void {
  put("thimble: ");
  put(what);
  put(" is not valid UTF-8 at byte ");
  putNumber(at - from);
  exit(Exit.FAILED);
}

/** Finds the prompt; before the model is read, so that a wrong one is noticed at once. */
export function readPrompt(options: Options): void {
  const given = options.prompt;
  if (given == 0 || (lengthOfArgument(given) == 1 && load<u8>(given) == 45)) readStdin();
  else {
    text = given;
    length = lengthOfArgument(given);
  }
  const wrong = firstInvalid(text, text + length);
  if (wrong != text + length) refuseText("the prompt", text, wrong);
  if (options.system == 0) return;
  const end = options.system + lengthOfArgument(options.system);
  const wrongSystem = firstInvalid(options.system, end);
  if (wrongSystem != end) refuseText("the system prompt", options.system, wrongSystem);
}

/** Appends the prompt's ids, as the host API does for a string: in the template where there is one. */
export function encodePrompt(options: Options): void {
  const kind = chatKind();
  if (options.raw != 0 || (kind == ChatKind.NONE && options.system == 0)) {
    appendBos();
    if (!encodeText(text, length, true)) fail("the prompt is not valid UTF-8");
  } else {
    if (kind == ChatKind.NONE) fail("the model has no chat template, and so no place for a system prompt");
    if (kind == ChatKind.REFUSED) fail("the model's chat template could not be made a table; use --raw");
    if (options.system != 0 && !takesSystem()) fail("the model's chat template takes no system prompt");
    if (length == 0) fail("the prompt is empty; give a text to answer");
    const nSystem = options.system == 0 ? 0 : lengthOfArgument(options.system);
    if (!encodeChat(text, length, options.system, nSystem)) fail("the chat template has a text that is not valid UTF-8");
  }
  if (idCount() == 0) fail("the prompt is empty; give a text to continue");
}
