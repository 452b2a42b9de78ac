/**
 * The tensor types a GGUF file may hold: ggml's numbers, names and block sizes. A tensor's bytes follow from its type
 * and shape alone, so every known type is listed here, computed by this build or not; the loader decides which it takes.
 * @module
 */

/** ggml type ids by name. The gaps (4, 5, 31-33, 36-38) are types that ggml removed. */
export const GGUF_TYPE = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q8_1: 9,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  Q8_K: 15,
  IQ2_XXS: 16,
  IQ2_XS: 17,
  IQ3_XXS: 18,
  IQ1_S: 19,
  IQ4_NL: 20,
  IQ3_S: 21,
  IQ2_S: 22,
  IQ4_XS: 23,
  I8: 24,
  I16: 25,
  I32: 26,
  I64: 27,
  F64: 28,
  IQ1_M: 29,
  BF16: 30,
  TQ1_0: 34,
  TQ2_0: 35,
  MXFP4: 39,
} as const;

/** A ggml type's name, quoted as GGUF tools print it. */
export type GgufTypeName = keyof typeof GGUF_TYPE;

/** A known ggml type id. */
export type GgufType = (typeof GGUF_TYPE)[GgufTypeName];

/** How a tensor of one type is stored: fixed runs of `blockLength` values along a row, `blockBytes` bytes each. */
export interface TensorType {
  readonly id: GgufType;
  readonly name: GgufTypeName;
  /** Values in one quantization block; a row holds a whole number of blocks. */
  readonly blockLength: number;
  /** Bytes of one block, scales included. */
  readonly blockBytes: number;
}

/** [values, bytes] of one block. */
const BLOCK: Readonly<Record<GgufTypeName, readonly [number, number]>> = {
  F32: [1, 4],
  F16: [1, 2],
  Q4_0: [32, 18],
  Q4_1: [32, 20],
  Q5_0: [32, 22],
  Q5_1: [32, 24],
  Q8_0: [32, 34],
  Q8_1: [32, 36],
  Q2_K: [256, 84],
  Q3_K: [256, 110],
  Q4_K: [256, 144],
  Q5_K: [256, 176],
  Q6_K: [256, 210],
  Q8_K: [256, 292],
  IQ2_XXS: [256, 66],
  IQ2_XS: [256, 74],
  IQ3_XXS: [256, 98],
  IQ1_S: [256, 50],
  IQ4_NL: [32, 18],
  IQ3_S: [256, 110],
  IQ2_S: [256, 82],
  IQ4_XS: [256, 136],
  I8: [1, 1],
  I16: [1, 2],
  I32: [1, 4],
  I64: [1, 8],
  F64: [1, 8],
  IQ1_M: [256, 56],
  BF16: [1, 2],
  TQ1_0: [256, 54],
  TQ2_0: [256, 66],
  MXFP4: [32, 17],
};

/** The type with ggml's number `id`; undefined when this build does not know it. */
export function tensorType(id: number): TensorType | undefined {
  for (const name of Object.keys(GGUF_TYPE) as GgufTypeName[]) {
    if (GGUF_TYPE[name] !== id) continue;
    const [blockLength, blockBytes] = BLOCK[name];
    return { id: GGUF_TYPE[name], name, blockLength, blockBytes };
  }
  return undefined;
}
