/// <reference lib="esnext.disposable" preserve="true" />
/**
 * The name of `await using`'s method where an engine has none yet (WebKit): the one that compilers which lower `using` look
 * for then.
 * @module
 */
export const ASYNC_DISPOSE: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);
