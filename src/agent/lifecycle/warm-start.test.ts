import { expect, it, vi } from "vitest";
import { silentLogger } from "../../telemetry/logger.ts";
import { WarmStart } from "./warm-start.ts";

it("starts after the wait, tries again while that fails, and says each reason once", async () => {
  const warn = vi.fn();
  const start = vi.fn<() => Promise<void>>();
  start.mockRejectedValueOnce(new Error("no eth0")).mockRejectedValueOnce(new Error("no eth0")).mockResolvedValue();
  using _warm = new WarmStart(start, { ...silentLogger, warn }, { firstMs: 5, restMs: 5 });
  expect(start).not.toHaveBeenCalled();
  await vi.waitFor(() => expect(start).toHaveBeenCalledTimes(3));
  expect(warn).toHaveBeenCalledOnce();
});

it("does nothing any more once the store has answered", async () => {
  const start = vi.fn(() => Promise.reject(new Error("no eth0")));
  const warm = new WarmStart(start, silentLogger, { firstMs: 5, restMs: 5 });
  await vi.waitFor(() => expect(start).toHaveBeenCalled());
  warm[Symbol.dispose]();
  const calls = start.mock.calls.length;
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(start).toHaveBeenCalledTimes(calls);
});
