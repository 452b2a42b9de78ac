/** Waiting that a signal or a limit can end. @module */

/**
 * Waits for `work`, for `ms` (then `late` is thrown) or for the signal, whichever comes first; the work itself goes on.
 */
export async function within<T>(work: Promise<T>, ms: number, late: Error, signal?: AbortSignal): Promise<T> {
  work.catch(() => {}); // it may fail when nobody waits any more
  let timer: ReturnType<typeof setTimeout> | undefined;
  let onAbort = () => {};
  const ended = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal?.reason);
    timer = setTimeout(() => reject(late), ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
  try {
    signal?.throwIfAborted();
    return await Promise.race([work, ended]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** @throws the signal's reason */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  const late = new Error("slept");
  await within(new Promise<void>(() => {}), ms, late, signal).catch((error: unknown) => {
    if (error !== late) throw error;
  });
}
