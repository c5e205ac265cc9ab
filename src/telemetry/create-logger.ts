// The agent's log: pino, written to stderr synchronously so that the last line before a crash is there.
// Text for people by default, one JSON object a line on request; both carry `event`.
import { pino } from "pino";
import { describeError } from "../errors.ts";
import { writeToStderr } from "../sys/standard-streams.ts";
import { oneLine, printableJson } from "../terminal/foreign-text.ts";
import type { LogLevel } from "./events/definition.ts";
import type { LogEvent } from "./events.ts";
import type { LogFields, Logger } from "./logger.ts";

export type LogFormat = "text" | "json";

export interface AgentLogger extends Logger {
  /** Changes what `verbose` shows, while running (SIGHUP). */
  setVerbosity(level: number): void;
  readonly verbosity: number;
  /** Hands every event to `onEvent` from now on, also those that are too verbose to be shown. It must not log or throw. */
  follow(onEvent: (event: LoggedEvent) => void): Disposable;
}

export interface LoggedEvent {
  readonly level: LogLevel;
  readonly event: LogEvent;
  /** A function where it costs something to make. */
  readonly message: string | (() => string);
  readonly fields: LogFields;
}

export interface LoggerOptions {
  readonly format: LogFormat;
  /** `-v`: highest `verbose` level that is shown. */
  readonly verbosity: number;
  /** Defaults to stderr. */
  readonly write?: (line: string) => void;
}

export function createLogger(options: LoggerOptions): AgentLogger {
  const write = options.write ?? writeToStderr;
  const sink = (line: string) => write(options.format === "json" ? printableJson(line) : textLine(line));
  const log = pino(
    {
      level: "trace",
      base: null,
      messageKey: "message",
      formatters: { level: (label) => ({ level: label }) },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
    },
    { write: sink },
  );
  let verbosity = options.verbosity;
  const fieldsOf = (event: LogEvent, fields: LogFields = {}) => ({ event, ...plainFields(fields) });
  const followers = new Set<(event: LoggedEvent) => void>();
  const publish = (level: LogLevel, event: LogEvent, message: LoggedEvent["message"], fields: LogFields = {}) => {
    for (const follower of followers) follower({ level, event, message, fields });
  };
  const say = (level: "error" | "warn" | "info") => (event: LogEvent, message: string, fields?: LogFields) => {
    log[level](fieldsOf(event, fields), "%s", message);
    publish(level, event, message, fields);
  };
  return {
    error: say("error"),
    warn: say("warn"),
    info: say("info"),
    verbose: (level, event, message, fields) => {
      publish("verbose", event, message, fields);
      if (level > verbosity) return;
      log.debug(fieldsOf(event, fields), "%s", typeof message === "string" ? message : message());
    },
    setVerbosity: (level) => {
      verbosity = level;
    },
    get verbosity() {
      return verbosity;
    },
    follow: (onEvent) => {
      followers.add(onEvent);
      return { [Symbol.dispose]: () => void followers.delete(onEvent) };
    },
  };
}

/** Errors become their text, bigints decimal text, and names pino uses itself get a tail. */
function plainFields(fields: LogFields): Record<string, unknown> {
  const reserved = new Set(["event", "level", "time", "message"]);
  return Object.fromEntries(
    Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [reserved.has(key) ? `${key}_` : key, plainValue(value)]),
  );
}

function plainValue(value: unknown): unknown {
  if (value instanceof Error) return describeError(value);
  return typeof value === "bigint" ? value.toString() : value;
}

/** `2026-01-02T03:04:05.678Z INFO message event=lease.acquired subnet=10.5.34.0/24`: the first `event=` begins the fields. */
function textLine(json: string): string {
  const { level, time, message, event, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const pairs = Object.entries({ event, ...fields }).map(([key, value]) => `${key}=${textValue(value)}`);
  return `${String(time)} ${String(level).toUpperCase().padEnd(5)} ${withoutFields(oneLine(String(message)))} ${pairs.join(" ")}\n`;
}

/** Values from outside (lease keys, kernel texts) must not be able to forge a line or a field. */
function textValue(value: unknown): string {
  const plain = Array.isArray(value) ? value.join(",") : value;
  const text = typeof plain === "string" ? plain : (JSON.stringify(plain) ?? String(plain));
  return /^[\w.:/@%+,&[\]-]+$/.test(text) ? text : printableJson(JSON.stringify(text));
}

/** What looks like a field, names of flags and sysctls not among it: `event=` becomes `event\x3d`. */
function withoutFields(message: string): string {
  return message.replaceAll(/(?<![\w.-])([a-z]\w*)=/g, "$1\\x3d");
}
