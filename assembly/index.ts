/** The exports of the module; nothing else becomes one. */

export { poolFreePages, poolPages, poolReserve } from "./cache/pool";
export {
  headAdopt,
  headBase,
  headPage,
  headSquares,
  imageHeads,
  isRelative,
  pageRestored,
  pageSize,
  sessionAdopt,
  setPageSlots,
  slotAddress,
  slotRead,
  slotWrite,
} from "./cache/image";
export { evictedLog, evictedPages, sessionEvict, sessionPin, sessionUnpin } from "./cache/evict";
export { collectQueries } from "./cache/query-statistics";
export { sessionMark, sessionTruncate } from "./cache/journal";
export {
  sessionClose,
  sessionFork,
  sessionLength,
  sessionOpen,
  sessionPages,
  sessionPagesNeeded,
  sessionSlots,
} from "./cache/session";
export { checksum } from "./kernels/checksum";
export { log64 } from "./kernels/double";
export { expWeights, logSumExp } from "./kernels/log-sum-exp";
export { dequantizeRow, packRows, unpackRow } from "./kernels/pack";
export { arenaBytes, arenaStart } from "./memory/arena";
export { setConfig, setLayer, setRope } from "./model/configure";
export { forward } from "./model/forward";
export { forwardLayer, layerPagesNeeded } from "./model/forward-layer";
export {
  biasAlloc,
  finishLoad,
  hiddenAddress,
  inputAddress,
  layoutRecords,
  layoutRunState,
  linearAddress,
  linearAlloc,
  logitsAddress,
  rowsAddress,
  scratchAddress,
  stagingAddress,
  stagingSize,
  tieOutput,
  vectorAlloc,
} from "./model/layout";
export { letCallerSleep, stopWorkers, work, workersReady } from "./thread/pool";
export { headKeys, layerAngles, queriesAddress, rowAttention } from "./policy/calibrate";
export { observationImage, observationImageBytes, observedStart, observedSumsAddress, observedUntil, observeRows } from "./cache/observation";
export { filtersAddress } from "./policy/q-filter";
export { observeSpan } from "./policy/repeat-attention";
export {
  headSlots,
  policyBudgetsAddress,
  policyParametersAddress,
  promptEvict,
  promptPages,
  slotPosition,
} from "./policy/prompt-end";
