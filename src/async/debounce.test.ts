import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Debounce } from "./debounce.ts";

describe("Debounce", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("serves requests that come soon after one another by one run", () => {
    const run = vi.fn();
    const debounce = new Debounce(run);
    debounce.request(100);
    vi.advanceTimersByTime(99);
    debounce.request(100);
    expect(debounce.isPending).toBe(true);
    expect(run).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(run).toHaveBeenCalledTimes(1);
    expect(debounce.isPending).toBe(false);
    debounce.request(100);
    vi.advanceTimersByTime(100);
    expect(run).toHaveBeenCalledTimes(2);
  });

  test("does not run what was cancelled, and can be asked again", () => {
    const run = vi.fn();
    using debounce = new Debounce(run);
    debounce.request(100);
    debounce.cancel();
    vi.advanceTimersByTime(1_000);
    expect(run).not.toHaveBeenCalled();
    debounce.request(100);
    vi.advanceTimersByTime(100);
    expect(run).toHaveBeenCalledTimes(1);
  });
});
