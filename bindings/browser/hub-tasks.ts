/**
 * Stands in for `@huggingface/tasks` in the browser build (an alias in package.json): `@huggingface/gguf` re-exports names
 * of quantizations from there, none of which the header parser uses, and the package would add 150 KB.
 * @module
 */
export const GGMLQuantizationType: Readonly<Record<string, number>> = {};
export const GGMLFileQuantizationType: Readonly<Record<string, number>> = {};
export const GGUF_QUANT_ORDER: readonly number[] = [];
export const GGUF_QUANT_RE = /(?!)/;
export const GGUF_QUANT_RE_GLOBAL = /(?!)/g;
export const parseGGUFQuantLabel = (): undefined => undefined;
export const findNearestQuantType = (): undefined => undefined;
