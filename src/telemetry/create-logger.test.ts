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

  it("does not let a message forge a field, and keeps what only resembles one", () => {
    const { lines, logger } = capture("text");
    logger.warn("lease.unreadable", "the key x) event=agent.failed code=LEASE_LOST: see --iface=eth0, a.b_c=1, X=2");
    expect(lines[0]?.match(/event=\S+/g)).toEqual(["event=lease.unreadable"]);
    expect(lines[0]).toContain(
      " the key x) event\\x3dagent.failed code\\x3dLEASE_LOST: see --iface=eth0, a.b_c=1, X=2 event=",
    );
  });

  const hostile = "a\u001b[2J\u0007 \u0085b\u009b31m\u202ec\u007f";

  it.each(["text", "json"] as const)("lets nothing through that drives a terminal (%s)", (format) => {
    const { lines, logger } = capture(format);
    logger.warn("lease.unreadable", hostile, { key: hostile, list: [hostile], inner: { [hostile]: hostile } });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(lines[0]?.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    if (format === "json") expect(JSON.parse(lines[0] ?? "")).toMatchObject({ message: hostile, key: hostile });
    else expect(lines[0]).toContain("a\\x1b[2J\\x07 \\x85b\\x9b31m\\u202ec\\x7f event=");
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
