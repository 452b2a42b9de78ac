/**
 * A chat in the web view of an app. The app's system may stop it at any time: it keeps the conversation after every turn and when
 * it is hidden, gives its memory back when the app says that memory is short, and goes on where it was when it is opened again.
 *
 * `npm run examples:build` makes build/examples/webview, the `webDir` of a Capacitor project; docs/hosts.md has the app's side.
 * @module
 */
import { loadInWorker, type PageSession, ThimbleError, watchApp } from "thimble/webview";

const TEMPERATURE = Number(new URLSearchParams(location.search).get("temperature") ?? 0.7);
const list = document.querySelector("ol")!;
const status = document.querySelector("#status")!;
const form = document.querySelector("form")!;
const message = document.querySelector("textarea")!;
const send = document.querySelector("button")!;

/** One object in IndexedDB, which every web view has: the conversation as a capsule. */
async function kept<T>(mode: IDBTransactionMode, use: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const settled = <R>(request: IDBRequest<R>): Promise<R> =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const opening = indexedDB.open("conversations", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("capsules");
  const database = await settled(opening);
  try {
    return await settled(use(database.transaction("capsules", mode).objectStore("capsules")));
  } finally {
    database.close();
  }
}

function show(who: string, text = ""): HTMLElement {
  const item = document.createElement("li");
  item.className = who;
  item.textContent = text;
  list.append(item);
  return item;
}

const model = await loadInWorker("model.gguf", { contextLength: 1024, budget: "32MB" });
const begin = (): Promise<PageSession> => model.session({ overflow: "evict" });
const capsule = await kept<Uint8Array | undefined>("readonly", (store) => store.get("last"));
// Damaged, or of another version of the model: the app begins anew.
const session = await (capsule === undefined ? begin() : model.restore(capsule).catch(begin));
for (const { role, content } of session.messages) show(role, content);

const checkpoint = async (): Promise<void> => {
  if (session.isBusy || session.tokens.length === 0) return; // what is under way is kept when it ends
  const bytes = await session.save();
  await kept("readwrite", (store) => store.put(bytes, "last"));
};
watchApp({ checkpoint, trim: () => model.trim() });

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = message.value;
  message.value = "";
  send.disabled = true;
  show("user", text);
  const answer = show("assistant");
  status.textContent = "Writing";
  try {
    for await (const piece of session.generate(text, { temperature: TEMPERATURE })) answer.append(piece);
    await checkpoint();
    status.textContent = "Ready";
  } catch (error) {
    status.textContent = error instanceof ThimbleError ? `${error.message} (${error.code})` : String(error);
  }
  send.disabled = false;
});
status.textContent = "Ready";
send.disabled = false;
