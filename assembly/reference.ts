/** Entry of the `test` and `debug` targets: the product's exports, every kernel and every scalar reference. */

export { append, closeFull } from "./cache/append";
export { closeSquares, keySquare } from "./cache/key-squares";
export { firstFreePage, firstFreeSession } from "./cache/free-lists";
export { writeSlot } from "./cache/page";
export { copyCodes, copyCodesRef, scaleCodes, scaleCodesRef } from "./cache/slot-codes";
export * from "./index";
export { addProducts, addProductsRef, addVector } from "./kernels/add-products";
export { addRow, addRowRef, addScaled, addScaledRef } from "./kernels/add";
export { attend, attendRef, attendScratch } from "./kernels/attend";
export { checksumRef } from "./kernels/checksum";
export { cosSin64, exp64 } from "./kernels/double";
export { expRow, expRowRef } from "./kernels/exp";
export { brainToFloat, floatToHalf, halfToFloat, roundToHalf } from "./kernels/f16";
export { geglu, gegluRef } from "./kernels/geglu";
export { gemmFloat, gemmFloatRef, gemvFloat, gemvFloatRef } from "./kernels/gemm-float";
export { gemmQuantized, gemmQuantizedRef } from "./kernels/gemm-quantized";
export { gemvQuantized, gemvQuantizedRef } from "./kernels/gemv-quantized";
export { decodeBlock } from "./kernels/gguf-block";
export { hadamard, hadamardRef } from "./kernels/hadamard";
export { layerNorm, layerNormRef } from "./kernels/layernorm";
export { expWeightsRef, logSumExpRef } from "./kernels/log-sum-exp";
export { formOf, rowBytes, tileBytes } from "./kernels/pack";
export { poolHeads, poolHeadsRef } from "./kernels/pool-heads";
export {
  activationBytes,
  quantizeActivations,
  quantizeActivationsRef,
  quantizeBytes,
  quantizeBytesRef,
} from "./kernels/quantize-activations";
export { rmsNorm, rmsNormRef } from "./kernels/rmsnorm";
export { rope, ropeAngles, ropeRef } from "./kernels/rope";
export { ropeFrequencies } from "./kernels/rope-frequencies";
export { scaleRow, scaleRowRef } from "./kernels/scale";
export { softcapRow, softcapRowRef } from "./kernels/softcap";
export { softmaxSpan, softmaxSpanRef } from "./kernels/softmax-span";
export { fillTurns, turnAngles, turnAnglesRef, turnsBytes } from "./kernels/turn-angles";
export { swiglu, swigluRef } from "./kernels/swiglu";
export { sectionScratch } from "./sections/add";
export { arenaAlloc } from "./memory/arena";
export { keyDrivenShares } from "./model/key-driven";
export { scoreRows, scoreRowsRef, softmaxRow, softmaxRowRef } from "./kernels/row-attention";
export { unpackTile } from "./policy/criticalkv";
