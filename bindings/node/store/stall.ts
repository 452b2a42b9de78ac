/**
 * An abort that also comes when nothing has come for a while.
 * @module
 */

export interface Stall {
  /** Aborts with the caller's signal, or on silence. */
  readonly signal: AbortSignal;
  /** Silence was the reason. */
  isStalled(): boolean;
  /** Something came. */
  touch(): void;
  /** No more is awaited. */
  end(): void;
}

export function watchStall(signal: AbortSignal | undefined, stallMs: number): Stall {
  const controller = new AbortController();
  let isStalled = false;
  const expire = (): void => {
    isStalled = true;
    controller.abort();
  };
  const forward = (): void => controller.abort(signal?.reason);
  let timer = setTimeout(expire, stallMs);
  if (signal?.aborted === true) forward();
  signal?.addEventListener("abort", forward, { once: true });
  return {
    signal: controller.signal,
    isStalled: () => isStalled,
    touch() {
      clearTimeout(timer);
      timer = setTimeout(expire, stallMs);
    },
    end() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", forward);
    },
  };
}
