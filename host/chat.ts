/**
 * Messages to a prompt, through the chat template of the model file, and to token ids that the messages cannot forge.
 *
 * `render` gives text. Encoding that text would turn `<|im_end|>` written by a user into the control token, and the
 * user could speak as the system. `encodeChat` therefore keeps apart what the template wrote and what messages wrote, yet
 * gives the very ids of the rendered text whenever no message has a control token in it (cutting at the message instead
 * would change how words merge across its edges):
 *
 * 1. In the template's source every control token is replaced by a stand-in, a private-use character that occurs
 *    nowhere else, and the changed template is rendered with the messages as they are. A stand-in in the result is a
 *    control token that the template wrote; all text between stand-ins is encoded literally. Messages contain no
 *    stand-ins, so whatever the template does to them (trim, split, replace) cannot make a control token of them.
 * 2. Text between stand-ins may still spell a control token: written by a message, or put together by the template
 *    (`'<|' + role + '|>'`). Then the template is rendered once more with every visible character of the contents
 *    masked. If that result agrees with the first, character by character outside the masks, then it shows where
 *    contents went, and a token found in it was put together without them: it counts. If not (the template looks
 *    into contents), text between stand-ins stays literal.
 *
 * A template that strips control tokens from contents itself finds none, since it looks for stand-ins; they come
 * out literal instead.
 * @module
 */
import { ThimbleError } from "./errors.ts";
import { wrongOption } from "./options.ts";
import { parseTemplate, runTemplate } from "./template.ts";
import { DEFAULT_LIMITS, type TemplateLimits } from "./template-limits.ts";
import { literalPattern, type Tokenizer } from "./tokenizer.ts";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant" | "tool";
  readonly content: string;
}

export interface RenderOptions {
  /** End with the opening of the assistant's turn. Default true. */
  readonly addGenerationPrompt?: boolean;
  /** Text of the BOS token, for templates that write it. Default empty. */
  readonly bosToken?: string;
  /** Text of the EOS token, for templates that write it. Default empty. */
  readonly eosToken?: string;
}

export interface ChatTemplate {
  readonly source: string;
  readonly limits: TemplateLimits;
  /**
   * @throws ThimbleError template_failed when the template throws or exceeds a limit
   * @throws ThimbleError invalid_option for messages that are none
   */
  render(messages: readonly ChatMessage[], options?: RenderOptions): string;
}

const ROLES: readonly string[] = ["system", "user", "assistant", "tool"];

/**
 * @param source - the Jinja text, `tokenizer.chat_template` of the file
 * @throws ThimbleError template_failed when the source cannot be parsed
 */
export function createChatTemplate(source: string, limits: Partial<TemplateLimits> = {}): ChatTemplate {
  const program = parseTemplate(source);
  const allLimits = { ...DEFAULT_LIMITS, ...limits };
  return {
    source,
    limits: allLimits,
    render(messages, { addGenerationPrompt = true, bosToken = "", eosToken = "" } = {}) {
      const plain = checkMessages(messages);
      const inputSize = plain.reduce((sum, { content }) => sum + content.length, 0);
      const variables = {
        messages: plain,
        add_generation_prompt: addGenerationPrompt,
        bos_token: bosToken,
        eos_token: eosToken,
        tools: null,
        documents: null,
      };
      return runTemplate(program, variables, inputSize, allLimits);
    },
  };
}

/** Copies of the messages with nothing but the two fields. */
function checkMessages(messages: readonly ChatMessage[]): ChatMessage[] {
  const invalid = (what: string) => wrongOption("messages", what);
  if (!Array.isArray(messages)) throw invalid("messages must be an array of { role, content }");
  return messages.map((message: ChatMessage, index) => {
    const { role, content } = message ?? {};
    if (!ROLES.includes(role)) throw invalid(`message ${index} has no role of ${ROLES.join(", ")}`);
    if (typeof content !== "string") throw invalid(`the content of message ${index} is not a text`);
    return { role, content };
  });
}

/** A control token's id, or text between two of them, which is to be encoded literally. */
export type ChatPiece = number | string;

/**
 * The token ids of a conversation. Control tokens come from the template only, never from contents. BOS is there if the
 * template writes it.
 * @throws ThimbleError template_failed, invalid_option, invalid_text
 */
export function encodeChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: Pick<RenderOptions, "addGenerationPrompt"> = {},
): number[] {
  const ids: number[] = [];
  for (const piece of chatPieces(tokenizer, template, messages, options)) {
    if (typeof piece === "number") ids.push(piece);
    else for (const id of tokenizer.encode(piece, { special: false })) ids.push(id);
  }
  return ids;
}

/** What `encodeChat` encodes. @throws ThimbleError template_failed, invalid_option */
export function chatPieces(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: Pick<RenderOptions, "addGenerationPrompt"> = {},
): ChatPiece[] {
  const plain = checkMessages(messages);
  const nameOf = (id: number | undefined) => (id === undefined ? "" : tokenizer.decode([id]));
  const names = [nameOf(tokenizer.bosId), nameOf(tokenizer.eosId)];
  const scope = [template.source, ...names, ...plain.map(({ content }) => content)].join("\n");
  const used = [...tokenizer.controls.keys()].filter((name) => isMarkable(name) && scope.includes(name));
  const [mask, ...marks] = unusedCharacters(used.length + 1, scope);
  const markOf = new Map(used.map((name, index) => [name, marks[index]!]));
  const nameOfMark = new Map([...markOf].map(([name, mark]) => [mark, name]));
  const usedPattern = literalPattern(used);
  const mark = (text: string) =>
    usedPattern === undefined ? text : text.replace(usedPattern, (name) => markOf.get(name)!);

  const marked = createChatTemplate(mark(template.source), template.limits);
  const markedOptions = { ...options, bosToken: mark(names[0]!), eosToken: mark(names[1]!) };
  const text = marked.render(plain, markedOptions);
  // Names that are left over: their origin shows in a masked rendering.
  const leftOver = literalPattern(tokenizer.controls.keys())?.test(text) ?? false;
  const masked = leftOver ? maskedRender(marked, plain, markedOptions, text, mask!) : undefined;
  const cuts = literalPattern([...nameOfMark.keys(), ...(masked === undefined ? [] : tokenizer.controls.keys())]);

  const pieces: ChatPiece[] = [];
  const append = (from: number, to: number) => {
    if (to > from) pieces.push(text.slice(from, to));
  };
  let start = 0;
  for (const match of cuts === undefined ? [] : (masked ?? text).matchAll(cuts)) {
    append(start, match.index);
    pieces.push(tokenizer.controls.get(nameOfMark.get(match[0]) ?? match[0])!);
    start = match.index + match[0].length;
  }
  append(start, text.length);
  return pieces;
}

/** The rendering with masked contents if it agrees with `text` outside the masks. */
function maskedRender(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: RenderOptions,
  text: string,
  mask: string,
): string | undefined {
  const masked = messages.map(({ role, content }) => ({ role, content: content.replace(/\S/g, mask) }));
  try {
    const result = template.render(masked, options);
    if (result.length !== text.length) return undefined;
    for (let at = 0; at < text.length; at++) if (result[at] !== mask && result[at] !== text[at]) return undefined;
    return result;
  } catch (error) {
    if (error instanceof ThimbleError) return undefined; // the template insists on something in a content
    throw error;
  }
}

/** A name that could be part of the template language itself is left to the masked rendering. */
const isMarkable = (name: string) => name.length > 2 && /\W/.test(name) && !/[{}%#]/.test(name);

/** Private-use characters that do not occur in `text`. */
function unusedCharacters(count: number, text: string): string[] {
  const taken = new Set(text.match(/[\uE000-\uF8FF]/g));
  const free: string[] = [];
  for (let unit = 0xe000; unit <= 0xf8ff && free.length < count; unit++) {
    const character = String.fromCharCode(unit);
    if (!taken.has(character)) free.push(character);
  }
  if (free.length < count) throw new ThimbleError("template_failed", "the messages use up all private-use characters");
  return free;
}
