/**
 * What an app's system does to its web views: it hides and freezes them, discards them without another word, and asks for
 * memory. The page hears of the first by events of its own, of memory only from the app (docs/hosts.md).
 * @module
 */

/** Event of the window by which the app says that memory is short. */
export const MEMORY_WARNING = "thimble-memory-warning";

export interface AppWatcher {
  /** Called when the page is hidden or frozen: keep what must not be lost. There may be no later time for it. */
  readonly checkpoint: () => unknown;
  /** Called on a memory warning: `model.trim()` of `loadInWorker`. */
  readonly trim: () => unknown;
  /** What the two threw or rejected with. Default: it is reported to the console. */
  readonly onError?: (error: unknown) => void;
}

/** Returns a function that ends it. */
export function watchApp({ checkpoint, trim, onError = console.error }: AppWatcher): () => void {
  const call = (what: () => unknown) => async (): Promise<void> => {
    try {
      await what();
    } catch (error) {
      onError(error);
    }
  };
  const keep = call(checkpoint);
  const free = call(trim);
  const onVisibility = (): void => void (document.visibilityState === "hidden" && keep());
  window.addEventListener("pagehide", keep);
  document.addEventListener("freeze", keep);
  document.addEventListener("visibilitychange", onVisibility);
  window.addEventListener(MEMORY_WARNING, free);
  return () => {
    window.removeEventListener("pagehide", keep);
    document.removeEventListener("freeze", keep);
    document.removeEventListener("visibilitychange", onVisibility);
    window.removeEventListener(MEMORY_WARNING, free);
  };
}
