/**
 * Types of the web platform that projects may lack which have no DOM types (Node's have no WebAssembly and no CryptoKey):
 * the real ones where they are there, anything of the kind where not.
 * @module
 */
type Instance<Name extends string> = typeof globalThis extends Record<Name, { prototype: infer T }> ? T : object;
type Wasm<Name extends string> = typeof globalThis extends { WebAssembly: Record<Name, { prototype: infer T }> }
  ? T
  : object;

export type WasmModule = Wasm<"Module">;
export type WasmMemory = Wasm<"Memory">;
export type WebCryptoKey = Instance<"CryptoKey">;
export type HeaderValues = ConstructorParameters<typeof Headers>[0];
