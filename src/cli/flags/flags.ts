// Command-line flags by the rules of Go's flag package, with flannel's environment variables. Pure.
// The table of definitions is the one source for parsing, help and the docs (flags-text.ts).

import { FlannelError } from "../../errors.ts";
import { didYouMean } from "../../json/nearest.ts";
import { tryParseGoBool, tryParseGoInt } from "./go-values.ts";

export type FlagValue = boolean | number | string | readonly string[];

interface FlagBase {
  /** Without dashes. */
  readonly name: string;
  readonly group: string;
  /** One or more sentences for help and docs. */
  readonly description: string;
  /** What stands for the value in help: `MINUTES`. */
  readonly valueName?: string;
  /** False: cannot be set by an environment variable. */
  readonly fromEnvironment?: false;
  /** Never shown back, neither in errors nor in logs. */
  readonly isSecret?: true;
  /** Accepted for the sake of flannel's command lines; a value is checked, warned about and not used. */
  readonly hasNoEffect?: true;
}

/** `validate` returns what the value must be ("must be ..."), or undefined when it is fine. */
export type FlagDefinition = FlagBase &
  (
    | { readonly kind: "bool"; readonly default: boolean }
    | { readonly kind: "int"; readonly default: number; readonly validate?: (value: number) => string | undefined }
    | { readonly kind: "string"; readonly default: string; readonly validate?: (value: string) => string | undefined }
    | { readonly kind: "strings" }
  );

export type FlagSource = "flag" | "environment";

export interface ParsedFlags {
  /** Value given, else default, for every flag of the table. */
  readonly values: ReadonlyMap<string, FlagValue>;
  readonly sources: ReadonlyMap<string, FlagSource>;
  /** `-h` or `-help` was given: what stands behind it was not read. */
  readonly helpRequested: boolean;
  readonly versionRequested: boolean;
  /** Environment variables with our prefix that no flag reads; flags and variables that have no effect. */
  readonly warnings: readonly string[];
}

export type Environment = Readonly<Record<string, string | undefined>>;

const ENVIRONMENT_PREFIX = "FLANNELD_";

export function environmentName(flag: string): string {
  return ENVIRONMENT_PREFIX + flag.toUpperCase().replaceAll("-", "_");
}

/**
 * Reads `argv` (without program name), then the environment for flags that were not given. Throws `USAGE` with one
 * sentence for an unknown flag, a bad value and a left-over argument.
 * The flags named `help` and `version` end the reading as in flannel: environment and left-overs do not matter then.
 */
export function parseFlags(
  definitions: readonly FlagDefinition[],
  argv: readonly string[],
  env: Environment,
): ParsedFlags {
  const parser = new FlagParser(definitions);
  const leftOver = parser.readArguments(argv);
  if (!parser.helpRequested && !parser.versionRequested) {
    if (leftOver !== undefined) throw usage(leftOverMessage(leftOver, parser.lastBool));
    parser.readEnvironment(env);
  }
  return {
    values: parser.values,
    sources: parser.sources,
    helpRequested: parser.helpRequested,
    versionRequested: parser.versionRequested,
    warnings: parser.warnings,
  };
}

class FlagParser {
  readonly values = new Map<string, FlagValue>();
  readonly sources = new Map<string, FlagSource>();
  readonly warnings: string[] = [];
  helpRequested = false;
  /** The boolean flag read last, when nothing came after it: what follows may have been meant as its value. */
  lastBool: string | undefined;
  readonly #definitions: ReadonlyMap<string, FlagDefinition>;

  constructor(definitions: readonly FlagDefinition[]) {
    this.#definitions = new Map(definitions.map((definition) => [definition.name, definition]));
    for (const definition of definitions) {
      this.values.set(definition.name, definition.kind === "strings" ? [] : definition.default);
    }
  }

  get versionRequested(): boolean {
    return this.values.get("version") === true;
  }

  /** Returns the first argument that is not a flag. */
  readArguments(argv: readonly string[]): string | undefined {
    let next = 0;
    while (next < argv.length && !this.helpRequested) {
      const argument = argv[next] ?? "";
      if (argument.length < 2 || !argument.startsWith("-")) return argument;
      next++;
      if (argument === "--") return argv[next];
      if (this.#readFlag(argument, argv[next])) next++;
      if (this.values.get("help") === true) this.helpRequested = true;
    }
    return undefined;
  }

  /** Whether `following`, the argument behind it, is its value. */
  #readFlag(argument: string, following: string | undefined): boolean {
    const { name, value } = splitArgument(argument);
    const definition = this.#find(name, argument);
    this.lastBool = undefined;
    if (definition === undefined) {
      this.helpRequested = true;
    } else if (value !== undefined) {
      this.#set(definition, value, "flag");
    } else if (definition.kind === "bool") {
      this.#set(definition, "true", "flag");
      this.lastBool = name;
    } else {
      if (following === undefined) throw usage(`--${name} needs a value`);
      this.#set(definition, following, "flag");
      return true;
    }
    return false;
  }

  readEnvironment(env: Environment): void {
    const flags = [...this.#definitions.values()].filter((definition) => definition.fromEnvironment !== false);
    const byVariable = new Map(flags.map((definition) => [environmentName(definition.name), definition]));
    for (const [variable, value] of Object.entries(env)) {
      if (value === undefined || value === "" || !variable.startsWith(ENVIRONMENT_PREFIX)) continue;
      const definition = byVariable.get(variable);
      if (definition === undefined) {
        const shown = variable.length > 60 ? `${variable.slice(0, 57)}...` : variable;
        this.warnings.push(`environment variable ${shown} is not known${didYouMean(variable, byVariable.keys())}`);
      } else if (!this.sources.has(definition.name)) {
        this.#set(definition, value, "environment");
      }
    }
  }

  /** Undefined for the help that Go provides unasked. */
  #find(name: string, argument: string): FlagDefinition | undefined {
    const definition = this.#definitions.get(name);
    if (definition !== undefined) return definition;
    if (name === "h" || name === "help") return undefined;
    const shown = JSON.stringify(argument.split("=", 1)[0]?.slice(0, 60));
    throw usage(`unknown flag ${shown}${didYouMean(name, this.#definitions.keys(), "--")}`);
  }

  #set(definition: FlagDefinition, text: string, source: FlagSource): void {
    const { name } = definition;
    const value = convert(definition, text, source);
    if (definition.hasNoEffect === true) this.#warnOfNoEffect(definition, source);
    const before = this.values.get(name);
    this.values.set(name, Array.isArray(value) && Array.isArray(before) ? [...before, ...value] : value);
    this.sources.set(name, source);
  }

  #warnOfNoEffect({ name }: FlagDefinition, source: FlagSource): void {
    if (this.sources.has(name)) return; // given twice, told once
    const from = source === "flag" ? `--${name}` : environmentName(name);
    this.warnings.push(`${from} has no effect in this version`);
  }
}

function splitArgument(argument: string): { readonly name: string; readonly value?: string } {
  const body = argument.slice(argument.startsWith("--") ? 2 : 1);
  if (body === "" || body.startsWith("-") || body.startsWith("=")) {
    throw usage(`${JSON.stringify(argument.slice(0, 60))} is not a flag: flags are written --name=value`);
  }
  const equals = body.indexOf("=");
  return equals < 0 ? { name: body } : { name: body.slice(0, equals), value: body.slice(equals + 1) };
}

function convert(definition: FlagDefinition, text: string, source: FlagSource): FlagValue {
  switch (definition.kind) {
    case "bool":
      return tryParseGoBool(text) ?? refuse(definition, text, source, "must be true or false");
    case "int": {
      const value = tryParseGoInt(text) ?? refuse(definition, text, source, "must be a whole number");
      const rule = definition.validate?.(value);
      return rule === undefined ? value : refuse(definition, text, source, rule);
    }
    case "string": {
      const rule = definition.validate?.(text);
      return rule === undefined ? text : refuse(definition, text, source, rule);
    }
    case "strings":
      return [text];
  }
}

function refuse(definition: FlagDefinition, text: string, source: FlagSource, rule: string): never {
  const from = source === "flag" ? `--${definition.name}` : environmentName(definition.name);
  const shown =
    definition.isSecret === true ? "(hidden)" : JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
  throw usage(`${from} ${rule}, not ${shown}`);
}

function leftOverMessage(argument: string, lastBool: string | undefined): string {
  const shown = JSON.stringify(argument.length > 60 ? `${argument.slice(0, 57)}...` : argument);
  const hint =
    lastBool !== undefined && tryParseGoBool(argument) !== undefined ? `; did you mean --${lastBool}=${argument}?` : "";
  return `unexpected argument ${shown}${hint}`;
}

function usage(message: string): FlannelError {
  return new FlannelError("USAGE", message);
}
