/** As workerd and its bundlers import a file by a rule of type Data: its bytes. */
declare module "*.gguf" {
  const bytes: ArrayBuffer;
  export default bytes;
}
declare module "*.pack" {
  const bytes: ArrayBuffer;
  export default bytes;
}
