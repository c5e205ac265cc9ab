// What every verb is given: options resolved from flags and environment, the terminal, and the signal that ends it.
import type { ZodType } from "zod";
import type { KubernetesOptions } from "../../../config/agent-options.ts";
import { printable, printableDeep, printableJson } from "../../../terminal/foreign-text.ts";
import { makePaint, type Paint } from "../../../terminal/text.ts";
import type { HostPaths } from "../../install/host-paths.ts";
import { OUTPUT_VERSION } from "./output-version.ts";

// biome-ignore lint/suspicious/noControlCharactersInRegex: what makePaint writes
const PAINT = /(\u001b\[\d+m)/;

/** The outer world of the program; tests bring their own. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Colours are used only on a terminal. */
  readonly stdoutIsTty: boolean;
  /** Results. */
  writeOut(text: string): void;
  /** Messages. */
  writeErr(text: string): void;
  /** All of standard input. */
  readInput(): Promise<string>;
  /** The line that a person types after the question; undefined where nobody can: standard input is no terminal. */
  readonly askLine?: (question: string) => Promise<string | undefined>;
  nowMs(): number;
  /** Aborts when nobody reads standard output any more. */
  readonly outputGone?: AbortSignal;
  /** In characters; missing where the output is no terminal. */
  readonly size?: () => { readonly rows: number; readonly columns: number };
}

export interface GlobalOptions {
  /** `--network`: one of several networks that the agent serves. */
  readonly network?: string;
  /** The agent of this host serves several networks: for those that are not named. */
  readonly several?: { readonly subnetDirectory: string; readonly prefix: string };
  /** Where the agent may answer: the first with a listener counts. Never empty. */
  readonly socketPaths: readonly string[];
  readonly subnetFile: string;
  readonly stateDirectory: string;
  readonly cniStateDirectory: string;
  readonly json: boolean;
  /** Below `--root`. */
  readonly paths: HostPaths;
  readonly etcd: EtcdFlags;
  /** False: `etcd` has the default endpoints, and an embedded store that runs on this host goes before them. */
  readonly isStoreNamed: boolean;
  /** Present where the Nodes of a Kubernetes cluster are the store; then `etcd` does not matter. */
  readonly kubernetes?: KubernetesOptions;
}

/** The connection flags shared with flanneld, as text; empty means not given. */
export interface EtcdFlags {
  readonly endpoints: string;
  readonly prefix: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly username: string;
  readonly password: string;
  readonly passwordFile: string;
}

export interface Invocation {
  readonly options: GlobalOptions;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}

/**
 * Writes the one result of a verb to standard output: JSON checked against its published schema with `--json`,
 * else the lines of `render`, which sees no control characters.
 */
export function present<T extends object>(
  invocation: Invocation,
  schema: ZodType<T>,
  value: T,
  render: (value: T, paint: Paint) => readonly string[],
): void {
  const { terminal, options } = invocation;
  if (options.json) {
    const json = JSON.stringify({ version: OUTPUT_VERSION, ...schema.parse(value) }, undefined, 2);
    terminal.writeOut(`${printableJson(json)}\n`);
    return;
  }
  const paint = paintOf(terminal);
  const lines = render(printableDeep(value), paint);
  terminal.writeOut(lines.map((line) => `${printableBesidesPaint(line)}\n`).join(""));
}

/** Colours only on a terminal that knows them. */
export function paintOf({ stdoutIsTty, env }: Pick<Terminal, "stdoutIsTty" | "env">): Paint {
  return makePaint(stdoutIsTty && env["TERM"] !== "dumb" && (env["NO_COLOR"] ?? "") === "");
}

/** What a line has from elsewhere than `value`: an argument, a file. */
function printableBesidesPaint(line: string): string {
  const pieces = line.split(PAINT);
  return pieces.map((piece, index) => (index % 2 === 1 ? piece : printable(piece))).join("");
}

/** Of an invocation, what remarks need. */
export interface Remarks {
  readonly options: { readonly json: boolean };
  readonly terminal: Pick<Invocation["terminal"], "writeErr">;
}

/** A remark for people on standard error; left out with `--json`, where the result says it. */
export function remark(invocation: Remarks, text: string): void {
  if (!invocation.options.json) invocation.terminal.writeErr(`flannelctl: ${printable(text)}\n`);
}
