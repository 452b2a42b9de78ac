/**
 * ONNX models of one node, as bytes: y = x W for x f32 [rows][k], with random weights of ordinary size. The schema is the
 * part of onnx.proto3 that such a model needs; protobufjs, from the folder of the peers, encodes it.
 * @module
 */
import { createRandom } from "../../host/random.ts";

const SCHEMA = `syntax = "proto2";
message Attribute { optional string name = 1; optional int64 i = 3; optional int32 type = 20; }
message Node { repeated string input = 1; repeated string output = 2; optional string op_type = 4;
  repeated Attribute attribute = 5; optional string domain = 7; }
message Tensor { repeated int64 dims = 1; optional int32 data_type = 2; optional string name = 8;
  optional bytes raw_data = 9; }
message Dimension { optional int64 dim_value = 1; }
message Shape { repeated Dimension dim = 1; }
message TensorType { optional int32 elem_type = 1; optional Shape shape = 2; }
message ValueType { optional TensorType tensor_type = 1; }
message Value { optional string name = 1; optional ValueType type = 2; }
message Graph { repeated Node node = 1; optional string name = 2; repeated Tensor initializer = 5;
  repeated Value input = 11; repeated Value output = 12; }
message Opset { optional string domain = 1; optional int64 version = 2; }
message Model { optional int64 ir_version = 1; optional Graph graph = 7; repeated Opset opset_import = 8; }`;

const FLOAT = 1;
const UINT8 = 2;
const INT8 = 3;
const BLOCK = 32;

export interface ProductShape {
  readonly rows: number;
  readonly k: number;
  readonly n: number;
}

interface Node {
  readonly op: string;
  readonly attributes: Readonly<Record<string, number>>;
  readonly weights: readonly object[];
}

/** 4-bit weights in blocks of 32 along k, symmetric. `accuracy` 4 lets the operator quantize x to int8, 0 does not. */
export function matMulNBits(protobuf: Protobuf, shape: ProductShape, accuracy: 0 | 4): Uint8Array {
  const { k, n } = shape;
  const weights = [
    tensor("w", UINT8, [n, k / BLOCK, BLOCK / 2], randomBytes((n * k) / 2)),
    tensor("s", FLOAT, [(n * k) / BLOCK], scales((n * k) / BLOCK)),
  ];
  const attributes = { K: k, N: n, bits: 4, block_size: BLOCK, accuracy_level: accuracy };
  return model(protobuf, shape, { op: "MatMulNBits", attributes, weights });
}

/** int8 weights with one scale, x quantized to uint8 inside. */
export function dynamicQuantizeMatMul(protobuf: Protobuf, shape: ProductShape): Uint8Array {
  const { k, n } = shape;
  const weights = [
    tensor("w", INT8, [k, n], randomBytes(n * k)),
    tensor("s", FLOAT, [1], scales(1)),
    tensor("z", INT8, [1], new Uint8Array(1)),
  ];
  return model(protobuf, shape, { op: "DynamicQuantizeMatMul", attributes: {}, weights });
}

/** What is used of protobufjs, which is no dependency of ours. */
export interface Protobuf {
  parse(
    schema: string,
    options: { readonly keepCase: boolean },
  ): {
    readonly root: { lookupType(name: string): MessageType };
  };
}
interface MessageType {
  fromObject(message: object): object;
  encode(message: object): { finish(): Uint8Array };
}

function model(protobuf: Protobuf, { rows, k, n }: ProductShape, node: Node): Uint8Array {
  const type = protobuf.parse(SCHEMA, { keepCase: true }).root.lookupType("Model");
  const names = node.weights.map((each) => (each as { name: string }).name);
  const attribute = Object.entries(node.attributes).map(([name, i]) => ({ name, i, type: 2 }));
  const domain = "com.microsoft";
  const message = {
    ir_version: 8,
    opset_import: [
      { domain: "", version: 17 },
      { domain, version: 1 },
    ],
    graph: {
      name: "product",
      node: [{ input: ["x", ...names], output: ["y"], op_type: node.op, attribute, domain }],
      initializer: node.weights,
      input: [value("x", [rows, k])],
      output: [value("y", [rows, n])],
    },
  };
  return type.encode(type.fromObject(message)).finish();
}

function tensor(name: string, data_type: number, dims: readonly number[], raw_data: Uint8Array): object {
  return { name, data_type, dims, raw_data };
}

function value(name: string, dims: readonly number[]): object {
  const shape = { dim: dims.map((dim_value) => ({ dim_value })) };
  return { name, type: { tensor_type: { elem_type: FLOAT, shape } } };
}

function randomBytes(n: number): Uint8Array {
  const random = createRandom(5);
  return Uint8Array.from({ length: n }, () => random.next() * 256);
}

function scales(n: number): Uint8Array {
  const random = createRandom(6);
  return new Uint8Array(Float32Array.from({ length: n }, () => 0.002 + 0.006 * random.next()).buffer);
}
