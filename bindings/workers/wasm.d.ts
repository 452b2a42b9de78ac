/** As workerd and its bundlers import a module: compiled when the worker is deployed. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
