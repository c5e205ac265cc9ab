// The port through which everything logs. Implementation: create-logger.ts (pino).
import type { EventAt } from "./events.ts";

/** Facts of a log line; never secrets. Errors are passed as `error`. */
export type LogFields = Readonly<Record<string, unknown>>;

/** `event` is a name of the registry (events.ts), at a level that is registered for it. The message is for reading. */
export interface Logger {
  error(event: EventAt<"error">, message: string, fields?: LogFields): void;
  warn(event: EventAt<"warn">, message: string, fields?: LogFields): void;
  info(event: EventAt<"info">, message: string, fields?: LogFields): void;
  /**
   * Shown when `-v` is at least `level` (1 details, 2 leases, 4 each kernel object, 6 everything); only then is a
   * message that costs something to make, given as a function, made.
   */
  verbose(level: number, event: EventAt<"verbose">, message: string | (() => string), fields?: LogFields): void;
}

export const silentLogger: Logger = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  verbose: () => undefined,
};
