/**
 * Stop strings over streamed text. Text that may be the beginning of a stop string is held back until it is decided.
 *
 * The match that ends first wins, because generation can then end at once; of matches that end together the longest,
 * which is the one that began first. So the result does not depend on how the text was cut into pieces. The search is
 * an Aho-Corasick automaton over UTF-16 units: time is linear in the text, whatever the stop strings.
 * @module
 */
import { wrongOption } from "./options.ts";

export interface StopMatch {
  /** Text that is safe to show: it precedes any stop string and is no beginning of one. */
  readonly text: string;
  /** The stop string that was found, once and for all later calls. It is not part of any text. */
  readonly stopped: string | undefined;
}

export interface StopMatcher {
  push(piece: string): StopMatch;
  /** The text held back, when generation ended without a stop string. The matcher can be used again. */
  flush(): string;
}

interface Node {
  readonly children: Map<number, Node>;
  /** Length of the text that leads here: the longest end of the input that begins a stop string. */
  readonly depth: number;
  /** Where to go on when no child fits: the node of the longest proper suffix. */
  fail: Node | undefined;
  /** The longest stop string that ends here. */
  stop: string | undefined;
}

/** @throws ThimbleError invalid_option for an empty stop string */
export function createStopMatcher(stops: readonly string[]): StopMatcher {
  const root = buildAutomaton(stops);
  let node = root;
  let held = "";
  let stopped: string | undefined;
  return {
    push(piece) {
      if (stopped !== undefined) return { text: "", stopped };
      const text = held + piece;
      for (let at = held.length; at < text.length; at++) {
        node = step(root, node, text.charCodeAt(at));
        if (node.stop === undefined) continue;
        stopped = node.stop;
        held = "";
        return { text: text.slice(0, at + 1 - stopped.length), stopped };
      }
      held = text.slice(text.length - node.depth);
      return { text: text.slice(0, text.length - node.depth), stopped: undefined };
    },
    flush() {
      const rest = held;
      node = root;
      held = "";
      stopped = undefined;
      return rest;
    },
  };
}

function step(root: Node, from: Node, unit: number): Node {
  for (let node: Node | undefined = from; node !== undefined; node = node.fail) {
    const child = node.children.get(unit);
    if (child !== undefined) return child;
  }
  return root;
}

function buildAutomaton(stops: readonly string[]): Node {
  const create = (depth: number): Node => ({ children: new Map(), depth, fail: undefined, stop: undefined });
  const root = create(0);
  for (const stop of stops) {
    if (typeof stop !== "string" || stop === "") {
      throw wrongOption("stop", "a stop string must be a text of at least one character");
    }
    let node = root;
    for (let at = 0; at < stop.length; at++) {
      const unit = stop.charCodeAt(at);
      const child = node.children.get(unit) ?? create(at + 1);
      node.children.set(unit, child);
      node = child;
    }
    node.stop = stop;
  }
  // By depth, so that the node of a suffix is finished before it is needed.
  const queue = [root];
  for (const node of queue) {
    for (const [unit, child] of node.children) {
      child.fail = node === root ? root : step(root, node.fail ?? root, unit);
      child.stop ??= child.fail.stop;
      queue.push(child);
    }
  }
  return root;
}
