// What is registered of a log event, and short ways to write it down.

export type LogLevel = "error" | "warn" | "info" | "verbose";

export interface EventDefinition<Level extends LogLevel = LogLevel> {
  /** Where it is logged; more than one where the level depends on the case. */
  readonly levels: readonly Level[];
  /** Of a `verbose` event: the number that `-v` must reach. */
  readonly verbosity?: number;
  /** What has happened: one sentence for an operator. */
  readonly meaning: string;
  /** What the operator does about it; empty where nothing is to be done. */
  readonly remedy: string;
}

export function error(meaning: string, remedy = ""): EventDefinition<"error"> {
  return { levels: ["error"], meaning, remedy };
}

export function warn(meaning: string, remedy = ""): EventDefinition<"warn"> {
  return { levels: ["warn"], meaning, remedy };
}

export function info(meaning: string, remedy = ""): EventDefinition<"info"> {
  return { levels: ["info"], meaning, remedy };
}

/** An error or a warning, by what was found. */
export function finding(meaning: string, remedy: string): EventDefinition<"error" | "warn"> {
  return { levels: ["error", "warn"], meaning, remedy };
}

/** A warning or a piece of information, by the case. */
export function notice(meaning: string, remedy: string): EventDefinition<"warn" | "info"> {
  return { levels: ["warn", "info"], meaning, remedy };
}

export function verbose(verbosity: number, meaning: string): EventDefinition<"verbose"> {
  return { levels: ["verbose"], verbosity, meaning, remedy: "" };
}
