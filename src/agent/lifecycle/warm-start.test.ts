import { expect, it, vi } from "vitest";
import { DEADLINE_MS } from "../../../lab/wait.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { WarmStart } from "./warm-start.ts";

const eventually = (check: () => void) => vi.waitFor(check, DEADLINE_MS);

it("starts after the wait, tries again while that fails, and says each reason once", async () => {
  const warn = vi.fn();
  const start = vi.fn<() => Promise<void>>();
  start.mockRejectedValueOnce(new Error("no eth0")).mockRejectedValueOnce(new Error("no eth0")).mockResolvedValue();
  using _warm = new WarmStart(start, { ...silentLogger, warn }, { firstMs: 5, restMs: 5 });
  expect(start).not.toHaveBeenCalled();
  await eventually(() => expect(start).toHaveBeenCalledTimes(3));
  expect(warn).toHaveBeenCalledOnce();
});

it("does nothing any more once the store has answered", async () => {
  const start = vi.fn(() => Promise.reject(new Error("no eth0")));
  const warm = new WarmStart(start, silentLogger, { firstMs: 5, restMs: 5 });
  await eventually(() => expect(start).toHaveBeenCalled());
  warm[Symbol.dispose]();
  const calls = start.mock.calls.length;
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(start).toHaveBeenCalledTimes(calls);
});
