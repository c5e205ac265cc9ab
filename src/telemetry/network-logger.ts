// The log of one of several networks: each line says which.
import type { AgentLogger } from "./create-logger.ts";
import type { LogFields } from "./logger.ts";

/** `network` is a field of some events already: there it is addresses. */
export function networkLogger(logger: AgentLogger, networkName: string): AgentLogger {
  const named = (fields: LogFields = {}): LogFields => ({ networkName, ...fields });
  return {
    error: (event, message, fields) => logger.error(event, message, named(fields)),
    warn: (event, message, fields) => logger.warn(event, message, named(fields)),
    info: (event, message, fields) => logger.info(event, message, named(fields)),
    verbose: (level, event, message, fields) => logger.verbose(level, event, message, named(fields)),
    follow: (listener) => logger.follow(listener),
    setVerbosity: (level) => logger.setVerbosity(level),
    get verbosity() {
      return logger.verbosity;
    },
  };
}
