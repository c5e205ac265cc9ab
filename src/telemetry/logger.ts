// The port through which everything logs. Implementation: create-logger.ts (pino).

/** Facts of a log line; never secrets. Errors are passed as `error`. */
export type LogFields = Readonly<Record<string, unknown>>;

/** `event` is a stable key (`lease.acquired`): people grep for it, tests wait for it. The message is for reading. */
export interface Logger {
  error(event: string, message: string, fields?: LogFields): void;
  warn(event: string, message: string, fields?: LogFields): void;
  info(event: string, message: string, fields?: LogFields): void;
  /**
   * Shown when `-v` is at least `level` (1 details, 2 leases, 4 each kernel object, 6 everything); only then is a
   * message that costs something to make, given as a function, made.
   */
  verbose(level: number, event: string, message: string | (() => string), fields?: LogFields): void;
}

export const silentLogger: Logger = {
  error: () => undefined,
  warn: () => undefined,
  info: () => undefined,
  verbose: () => undefined,
};
