// One place that tells a person, or a program, why a verb failed. Standard output stays for results.
import { describeError, type ErrorCode, FlannelError } from "../../../errors.ts";
import { printable } from "../../../terminal/foreign-text.ts";
import type { Terminal } from "./invocation.ts";
import { OUTPUT_VERSION } from "./output-version.ts";

/** One line on standard error: `flannelctl: <reason>`, or with `json` an object as docs/schemas/error.json says. */
export function reportError(terminal: Terminal, json: boolean, error: unknown): void {
  const code: ErrorCode = error instanceof FlannelError ? error.code : "INTERNAL";
  const message = printable(describeError(error));
  terminal.writeErr(
    json ? `${JSON.stringify({ version: OUTPUT_VERSION, error: { code, message } })}\n` : `flannelctl: ${message}\n`,
  );
}
