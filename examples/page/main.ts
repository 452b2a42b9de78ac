/**
 * The page: a chat with a model that computes in a worker, and what that model holds and has forgotten, live.
 * @module
 */
import type { PageModel } from "../../bindings/browser/page.ts";
import { adviceOn } from "./advice.ts";
import { CacheView } from "./cache-view.ts";
import { Conversation } from "./conversation.ts";
import { byId } from "./element.ts";
import { takeFiles } from "./files.ts";
import { showForgotten } from "./forgotten-view.ts";
import { clearFigures, showMemory, showReading, showTurn, showWriting } from "./memory-view.ts";
import { openModel } from "./open-model.ts";
import { keepSettings, keptSettings, needsLoading } from "./settings.ts";
import { setUpSettings } from "./settings-dialog.ts";
import { Transcript } from "./transcript.ts";

/** Milliseconds between two looks at the cache. */
const LOOK_MS = 250;

const transcript = new Transcript();
const cache = new CacheView();
const message = byId<HTMLTextAreaElement>("message");
const buttons = (["send", "stop", "new-chat"] as const).map((id) => byId<HTMLButtonElement>(id));
let settings = keptSettings();
let file: File | undefined;
let model: PageModel | undefined;
let conversation: Conversation | undefined;
/** Of what is loaded now; a later load ends it. */
let loading = new AbortController();

function tell(text: string, isFailure = false): void {
  const status = byId("status");
  status.classList.toggle("failed", isFailure);
  status.textContent = text;
}

function tellError(error: unknown): void {
  tell(adviceOn(error, file === undefined), true);
}

function showButtons(): void {
  const isWriting = conversation?.isWriting === true;
  const [send, stop, begin] = buttons as [HTMLButtonElement, HTMLButtonElement, HTMLButtonElement];
  send.disabled = conversation === undefined || isWriting;
  stop.disabled = !isWriting;
  begin.disabled = conversation === undefined;
}

/** What does not change many times a second. */
async function showAll(): Promise<void> {
  if (model === undefined || conversation === undefined) return;
  const current = conversation;
  const [map, stats] = await Promise.all([current.cacheMap(), model.refreshStats()]);
  if (current !== conversation) return;
  cache.show(map);
  showMemory(stats);
  const recall = async (span: Parameters<Conversation["recall"]>[0]): Promise<void> => {
    const n = await current.recall(span);
    const isWhole = n === span.end - span.first;
    tell(`Your next message will quote ${isWhole ? "it" : `its last ${n} tokens, for which there is room`}.`);
    await showAll();
    message.focus();
  };
  showForgotten(current.ledger, map.counts.length, {
    isRecalled: (span) => current.isRecalled(span),
    recall: (span) => void recall(span).catch(tellError),
  });
}

async function load(): Promise<void> {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const area = byId("loading");
  const progress = byId<HTMLProgressElement>("load-progress");
  const old = model;
  model = undefined;
  conversation?.stop();
  conversation = undefined;
  transcript.clear();
  cache.clear();
  clearFigures();
  showForgotten([], 0);
  showButtons();
  tell("");
  byId("model-name").textContent = file?.name ?? "";
  area.hidden = false;
  try {
    await old?.close();
    const opened = await openModel(file, settings, signal, (what, share) => {
      byId("loading-what").textContent = what;
      if (share === undefined) progress.removeAttribute("value");
      else progress.value = share;
    });
    if (signal.aborted) return await opened.close();
    model = opened;
    byId("model-name").textContent = opened.name;
    await begin();
  } catch (error) {
    if (!signal.aborted) tellError(error);
  } finally {
    if (!signal.aborted) area.hidden = true;
  }
}

async function begin(): Promise<void> {
  if (model === undefined) return;
  const old = conversation;
  conversation = undefined;
  transcript.clear();
  await old?.close();
  conversation = await Conversation.begin(model);
  showButtons();
  await showAll();
  tell("Ready.");
}

/** Looks at the cache again and again while a turn is under way. */
async function watch(current: Conversation): Promise<void> {
  while (current.isWriting && model !== undefined) {
    const [map, stats] = await Promise.all([current.cacheMap(), model.refreshStats()]);
    if (current !== conversation) return;
    cache.draw(map);
    showMemory(stats);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

async function send(): Promise<void> {
  const text = message.value.trim();
  const current = conversation;
  if (text === "" || current === undefined || current.isWriting) return;
  message.value = "";
  byId("hint").hidden = true;
  transcript.addUser(text);
  transcript.beginAnswer();
  tell("Reading.");
  let pieces = 0;
  let begun = 0;
  const turn = current.send(text, settings.temperature, {
    onPrefill: showReading,
    onPiece(piece) {
      if (pieces === 0) {
        begun = performance.now();
        tell("Writing.");
      }
      pieces += 1;
      transcript.addPiece(piece);
      showWriting(pieces, performance.now() - begun);
    },
  });
  showButtons();
  watch(current).catch(() => {}); // the turn says what is wrong
  let note = "";
  try {
    const result = await turn;
    note = result === undefined ? "stopped" : result.finishReason === "length" ? "cut short: it is long" : "";
    if (result !== undefined) showTurn(result);
    tell(result === undefined ? "Stopped." : "Ready.");
  } catch (error) {
    note = "not answered";
    tellError(error);
  }
  if (current !== conversation) return;
  transcript.endAnswer(note);
  showButtons();
  await showAll().catch(tellError);
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  void send();
});
message.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  void send();
});
byId("stop").addEventListener("click", () => {
  conversation?.stop();
  message.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId<HTMLDialogElement>("settings").open) conversation?.stop();
});
byId("new-chat").addEventListener("click", () => {
  conversation?.stop();
  begin().then(() => message.focus(), tellError);
});
setUpSettings(
  () => settings,
  (chosen) => {
    const isOther = needsLoading(settings, chosen);
    settings = chosen;
    keepSettings(settings);
    if (isOther) void load();
  },
);
takeFiles((given) => {
  file = given;
  void load();
});
navigator.serviceWorker?.register("offline-worker.js", { type: "module" }).catch(() => {}); // the page works without it
void load();
