import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { EventDefinition } from "./events/definition.ts";
import { type LogEvent, logEvents } from "./events.ts";
import { type Logger, silentLogger } from "./logger.ts";

const source = fileURLToPath(new URL("..", import.meta.url));
const texts = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && !name.startsWith("telemetry/events"))
  .map((name) => readFileSync(`${source}/${name}`, "utf8"));
const definitions: [string, EventDefinition][] = Object.entries(logEvents);

/** Names that the source puts together: those of `retryUntilDone`, whose parts are looked for here. */
function isSpelledInParts(event: string): boolean {
  const recovered = event.replace(/\.recovered$/, "");
  return recovered !== event && texts.some((text) => text.includes(`event: "${recovered}"`));
}

/** `level event` (a verbose one with its number) for each call of a logger with the name in place. */
function loggedInSource(): Set<string> {
  const found = new Set<string>();
  for (const text of texts) {
    for (const [, level, event] of text.matchAll(/\.(error|warn|info)\(\s*"([a-z0-9-]+(?:\.[a-z0-9-]+)*)",/g)) {
      found.add(`${level} ${event}`);
    }
    for (const [, level, event] of text.matchAll(/\.verbose\(\s*(\d+),\s*"([^"]+)",/g)) found.add(`${level} ${event}`);
  }
  return found;
}

describe("the registry of log events", () => {
  it.each(definitions)("%s is used in the source", (event) => {
    const isSpelled = texts.some((text) => text.includes(`"${event}"`));
    expect(isSpelled || isSpelledInParts(event)).toBe(true);
  });

  it("has what the source logs, at the levels of the source, and no level that the source does not use", () => {
    const logged = loggedInSource();
    expect(logged.size).toBeGreaterThan(70);
    const registered = new Set(
      definitions.flatMap(([event, { levels, verbosity }]) => levels.map((level) => `${verbosity ?? level} ${event}`)),
    );
    expect([...logged].filter((entry) => !registered.has(entry))).toEqual([]);
    const unused = [...registered].filter((entry) => !logged.has(entry)).map((entry) => entry.split(" ")[1] ?? "");
    // Logged through a parameter: their levels are checked by the compiler.
    const indirect =
      /^(doctor\.found|agent\.(degraded|not-ready)|certificate\.(ends|renewed|replaced)|(config|lease)\.unavailable(\.recovered)?|extension\.not-started(\.recovered)?)$/;
    expect(unused.filter((event) => !indirect.test(event))).toEqual([]);
  });

  it("keeps an unregistered name, and a registered one at another level, from compiling", () => {
    const logger: Logger = silentLogger;
    // @ts-expect-error not registered
    logger.info("agent.sings", "la");
    // @ts-expect-error a piece of information, not a warning
    logger.warn("agent.ready", "ready");
    const known: LogEvent = "agent.ready";
    expect(logEvents[known].levels).toEqual(["info"]);
  });

  it.each(definitions)(
    "%s has a dotted name, whole sentences, and a verbosity exactly when verbose",
    (event, definition) => {
      expect(event).toMatch(/^[a-z]+(-[a-z][a-z0-9]*)*(\.[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*)*$/);
      expect(definition.meaning).toMatch(/^[A-Z].*\.$/);
      if (definition.remedy !== "") expect(definition.remedy).toMatch(/^([A-Z].*\.|`[^`]+`.*)$/);
      expect(definition.verbosity !== undefined).toBe(definition.levels.includes("verbose"));
    },
  );
});
