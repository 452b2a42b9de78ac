/**
 * Runs a Jinja chat template that nobody vouched for: it comes with the model file. `@huggingface/jinja` interprets it;
 * it has no access to host objects (attributes are looked up in maps, never on JavaScript objects), but nothing in it
 * ends a loop or a recursion, or bounds a string. That is done here, around `evaluate`, through which all its recursion
 * goes:
 *
 * - every evaluation counts as a step, and `range(n)` as n steps; time is looked at in every step;
 * - strings may not exceed `characters` plus the input; all strings and lists that operators, calls and filters make
 *   may together have 16 times that;
 * - lists count by their full text, so that `[a, a]` repeated cannot become exponential when printed; a namespace, the
 *   one mutable value, may not be put into another value;
 * - single operations that can multiply a string or search it for long (`replace`, `split`, `join`, `indent`, `tojson`,
 *   `in`) get their operands evaluated first and are refused when the result would be too large. String methods cannot
 *   be stored, only called, so that none escapes this.
 *
 * Parsing cannot be interrupted; the source is limited to 128 Ki characters and 1,024 white-space characters in a row,
 * because the library's lexer is quadratic in such a run.
 *
 * `strftime_now` is not provided: the same messages must give the same tokens tomorrow. Templates test for it.
 * @module
 */
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { ThimbleError } from "./errors.ts";
import { type ArgumentValues, failed, TemplateBudget, type Value } from "./template-budget.ts";
import type { TemplateLimits } from "./template-limits.ts";

const MAX_SOURCE = 128 << 10;
const MAX_BLANK_RUN = 1024;
/** Nesting of template nodes and of calls; about six JavaScript frames each. */
const MAX_DEPTH = 256;
export type Program = ReturnType<typeof parse>;
type Node = NonNullable<Parameters<Interpreter["evaluate"]>[0]>;

/** The fields of the library's nodes that are looked at here; which ones are there depends on `type`. */
interface Shape {
  readonly type: string;
  readonly args: readonly Node[];
  readonly argument: Node;
  readonly body: readonly Node[];
  readonly call: Node;
  readonly callee: Node;
  readonly computed: boolean;
  readonly filter: Node;
  readonly key: { readonly value: string };
  readonly left: Node;
  readonly object: Node;
  readonly operand: Node;
  readonly operator: { readonly value: string };
  readonly property: Node;
  readonly right: Node;
  readonly value: unknown;
}

/** A node whose value is known. */
class Ready {
  readonly type = "Ready";
  constructor(readonly value: Value) {}
}

const shapeOf = (node: Node) => node as unknown as Shape;
const asNode = (node: object) => node as unknown as Node;

/** @throws ThimbleError template_failed for syntax errors and oversized sources */
export function parseTemplate(source: string): Program {
  if (typeof source !== "string") throw failed("the chat template is not a text");
  if (source.length > MAX_SOURCE) throw failed(`the chat template has more than ${MAX_SOURCE} characters`);
  if (/\s{1025}/.test(source)) throw failed(`the chat template has more than ${MAX_BLANK_RUN} blanks in a row`);
  try {
    return parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
  } catch (cause) {
    throw failed(`the chat template cannot be parsed: ${reason(cause)}`, cause);
  }
}

/**
 * Runs the program with these variables, plain data of `inputSize` characters.
 * @throws ThimbleError template_failed when the template throws or exceeds a limit
 */
export function runTemplate(
  program: Program,
  variables: Readonly<Record<string, unknown>>,
  inputSize: number,
  limits: TemplateLimits,
): string {
  const environment = new Environment();
  const budget = new TemplateBudget(limits, inputSize);
  const constants = { true: true, false: false, none: null, True: true, False: false, None: null };
  const functions = {
    range: (...bounds: unknown[]) => budget.range(bounds),
    raise_exception: (message: unknown) => {
      throw failed(`the chat template refuses the messages: ${String(message).slice(0, 500)}`);
    },
  };
  try {
    for (const [name, value] of Object.entries({ ...constants, ...functions, ...variables }))
      environment.set(name, value);
    const { value } = new BoundedInterpreter(environment, budget).run(program);
    if (typeof value !== "string") throw failed("the chat template gave no text");
    return value;
  } catch (cause) {
    if (cause instanceof ThimbleError) throw cause;
    throw failed(`the chat template failed: ${reason(cause)}`, cause);
  }
}

function reason(cause: unknown): string {
  if (cause instanceof RangeError && /call stack/i.test(cause.message)) return "it is nested too deeply";
  // The library's signals for break and continue are errors without a message.
  const message = cause instanceof Error ? cause.message.slice(0, 500) : "";
  return message === "" ? "break or continue outside of a loop" : message;
}

class BoundedInterpreter extends Interpreter {
  private depth = 0;

  constructor(
    environment: Environment,
    private readonly budget: TemplateBudget,
  ) {
    super(environment);
  }

  override evaluate(node: Node | undefined, environment: Environment): Value {
    if (node instanceof Ready) return node.value;
    this.budget.spend(1);
    if (this.depth >= MAX_DEPTH) throw failed(`the chat template is nested deeper than ${MAX_DEPTH} levels`);
    this.depth++;
    try {
      const prepared = node && this.prepare(node, environment);
      const value = prepared instanceof Ready ? prepared.value : super.evaluate(prepared, environment);
      this.budget.weigh(value);
      if (node !== undefined && makesSomething(node)) this.budget.charge(value);
      return value;
    } finally {
      this.depth--; // break and continue are thrown
    }
  }

  /** Replaces the operands of operations that can explode by their values, having checked these. */
  private prepare(node: Node, environment: Environment): Node {
    const shape = shapeOf(node);
    switch (shape.type) {
      case "BinaryExpression": {
        if (shape.operator.value !== "in" && shape.operator.value !== "not in") return node;
        const left = this.evaluate(shape.left, environment);
        const right = this.evaluate(shape.right, environment);
        if (typeof left.value === "string" && typeof right.value === "string") this.budget.checkNeedle(left.value);
        return asNode({ ...shape, left: new Ready(left), right: new Ready(right) });
      }
      case "FilterExpression":
        return this.prepareFilter(shape, shape.operand, environment);
      case "FilterStatement":
        return this.prepareFilter(shape, asNode({ type: "Program", body: shape.body }), environment);
      case "CallExpression":
        return this.prepareCall(shape, environment);
      case "CallStatement":
        return asNode({ ...shape, call: this.prepareCall(shapeOf(shape.call), environment) });
      case "MemberExpression": {
        const value = super.evaluate(node, environment);
        if (value.type === "FunctionValue") throw failed("the chat template uses a method without calling it");
        return asNode(new Ready(value));
      }
      default:
        return node;
    }
  }

  private prepareFilter(shape: Shape, operandNode: Node, environment: Environment): Node {
    const operand = this.evaluate(operandNode, environment);
    const filter = shapeOf(shape.filter);
    if (filter.type !== "CallExpression") {
      if (filter.value === "tojson" || filter.value === "string") this.budget.checkJson(operand, new Map());
      return asNode({ type: "FilterExpression", operand: new Ready(operand), filter });
    }
    const args = this.prepareArguments(filter.args, environment);
    this.budget.checkOperation(String(shapeOf(filter.callee).value), operand, args);
    const call = { ...filter, args: args.nodes };
    return asNode({ type: "FilterExpression", operand: new Ready(operand), filter: call });
  }

  private prepareCall(shape: Shape, environment: Environment): Node {
    const args = this.prepareArguments(shape.args, environment);
    const callee = shapeOf(shape.callee);
    if (callee.type !== "MemberExpression") return asNode({ ...shape, args: args.nodes });
    const object = this.evaluate(callee.object, environment);
    const property = callee.computed ? new Ready(this.evaluate(callee.property, environment)) : callee.property;
    const member = { ...callee, object: new Ready(object), property };
    const name = String(property instanceof Ready ? property.value.value : shapeOf(property).value);
    this.budget.checkOperation(name, object, args);
    const method = super.evaluate(asNode(member), environment);
    return asNode({ ...shape, args: args.nodes, callee: new Ready(method) });
  }

  /** Evaluates arguments in the library's order: all positional ones, then the named ones. */
  private prepareArguments(nodes: readonly Node[], environment: Environment): Arguments {
    const positional: Value[] = [];
    const named = new Map<string, Value>();
    const isNamed = (node: Node) =>
      node.type === "KeywordArgumentExpression" || node.type === "KeywordSpreadExpression";
    const ready = nodes.map((node): Node => {
      if (isNamed(node)) return node;
      const shape = shapeOf(node);
      const spread = shape.type === "SpreadExpression";
      const value = this.evaluate(spread ? shape.argument : node, environment);
      if (!spread) positional.push(value);
      else if (Array.isArray(value.value)) for (const item of value.value) positional.push(item);
      if (spread) return asNode({ ...shape, argument: new Ready(value) });
      return shape.type === "StringLiteral" ? node : asNode(new Ready(value)); // selectattr wants its literals
    });
    const withNamed = ready.map((node): Node => {
      if (!isNamed(node)) return node;
      const shape = shapeOf(node);
      const single = shape.type === "KeywordArgumentExpression";
      const value = this.evaluate(single ? asNode(shape.value as object) : shape.argument, environment);
      if (single) named.set(shape.key.value, value);
      else if (value.value instanceof Map) for (const [key, item] of value.value) named.set(key, item);
      return asNode(single ? { ...shape, value: new Ready(value) } : { ...shape, argument: new Ready(value) });
    });
    return { nodes: withNamed, positional, named };
  }
}

/** Whether evaluating the node makes a new value; reading a variable does not. */
function makesSomething(node: Node): boolean {
  if (node.type === "Identifier" || node.type === "Ternary" || node.type.endsWith("Literal")) return false;
  return node.type !== "MemberExpression" || shapeOf(shapeOf(node).property).type === "SliceExpression";
}

interface Arguments extends ArgumentValues {
  /** The argument nodes with their values in place. */
  readonly nodes: readonly Node[];
}
