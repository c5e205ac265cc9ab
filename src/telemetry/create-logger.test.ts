import { describe, expect, it } from "vitest";
import { createLogger, type LogFormat } from "./create-logger.ts";

function capture(format: LogFormat, verbosity = 0) {
  const lines: string[] = [];
  return { lines, logger: createLogger({ format, verbosity, write: (line) => lines.push(line) }) };
}

describe("createLogger", () => {
  it("writes text with the event and the fields", () => {
    const { lines, logger } = capture("text");
    logger.info("lease.acquired", "leased 10.5.34.0/24", { subnet: "10.5.34.0/24", revision: 7n });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^\d{4}-\d\d-\d\dT[\d:.]+Z INFO {2}leased 10\.5\.34\.0\/24 event=lease\.acquired subnet=10\.5\.34\.0\/24 revision=7\n$/,
    );
  });

  it("writes a list as an operator would", () => {
    const { lines, logger } = capture("text");
    logger.info("config.applied", "applied", { keys: ["Backend.MTU", "Backend.Learning"] });
    expect(lines[0]).toContain("keys=Backend.MTU,Backend.Learning\n");
  });

  it("writes one JSON object a line on request", () => {
    const { lines, logger } = capture("json");
    logger.error("store.restart-failed", "no store", { error: new Error("a", { cause: new Error("b") }) });
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "error",
      event: "store.restart-failed",
      message: "no store",
      error: "a: b",
    });
  });

  it("does not let a value forge a line or a field", () => {
    const { lines, logger } = capture("text");
    logger.warn("lease.unreadable", "key\n2026 ERROR x", { key: 'a b\nevent="x"' });
    expect(lines[0]?.trimEnd().split("\n")).toHaveLength(1);
    expect(lines[0]).toContain('key="a b\\nevent=\\"x\\""');
  });

  it("does not read format directives in a message", () => {
    const { lines, logger } = capture("text");
    logger.info("store.opened", "100 %d %s of it");
    expect(lines[0]).toContain("100 %d %s of it event=store.opened");
  });

  it("shows verbose lines up to the level, which can change", () => {
    const { lines, logger } = capture("text", 1);
    logger.verbose(2, "lease.seen", "hidden");
    logger.setVerbosity(2);
    logger.verbose(2, "lease.seen", "shown");
    logger.verbose(3, "host.object", () => expect.fail("made though it is not shown"));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain("DEBUG shown");
  });
});
