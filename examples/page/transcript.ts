/**
 * The messages as they are written, and the same for screen readers: an answer is read out sentence by sentence, since a
 * live region that grows piece by piece is read as a stammer.
 * @module
 */
import { byId, make } from "./element.ts";

/** How near the end a reader must be for new text to keep the end in view, in CSS pixels. */
const NEAR = 60;

export class Transcript {
  readonly #list = byId("messages");
  readonly #scroller = byId("scroller");
  readonly #announcer = byId("announcer");
  #answer: HTMLParagraphElement | undefined;
  /** Of the answer, what has not been read out. */
  #unread = "";

  clear(): void {
    this.#list.replaceChildren();
    this.#announcer.replaceChildren();
    this.#answer = undefined;
  }

  addUser(text: string): void {
    this.#add("you", "You", text);
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  beginAnswer(): void {
    this.#answer = this.#add("model", "Thimble", "");
    this.#announcer.replaceChildren();
    this.#unread = "";
  }

  addPiece(piece: string): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    this.#answer?.append(piece);
    if (isAtEnd) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#unread += piece;
    const end = this.#unread.search(/[.!?…]["')\]]?\s|\n/);
    if (end >= 0) this.#read(end + 2);
  }

  /** @param note - why it ended where that was not its end */
  endAnswer(note = ""): void {
    this.#read(this.#unread.length);
    if (note !== "") this.#answer?.parentElement?.append(make("p", "note", note));
    this.#answer = undefined;
  }

  #read(length: number): void {
    const text = this.#unread.slice(0, length).trim();
    this.#unread = this.#unread.slice(length);
    if (text !== "") this.#announcer.append(make("p", "", text));
  }

  #add(className: string, who: string, text: string): HTMLParagraphElement {
    const item = make("li", className);
    const content = make("p", "", text);
    content.dir = "auto";
    item.append(make("span", "who", who), content);
    this.#list.append(item);
    return content;
  }
}
