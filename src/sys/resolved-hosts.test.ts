import { expect, test, vi } from "vitest";
import { DEADLINE_MS } from "../../lab/wait.ts";
import { ResolvedHosts } from "./resolved-hosts.ts";

test("addresses are known at once, and no name is looked up for them", () => {
  const never = () => Promise.reject(new Error("nobody asks"));
  const hosts = new ResolvedHosts(["192.0.2.7", "2001:DB8::7", "192.0.2.7"], never);
  expect(hosts.current()).toEqual(["192.0.2.7", "2001:db8::7"]);
});

test("names are resolved to all their addresses of both families", async () => {
  const answers: Record<string, string[]> = { "a.example": ["192.0.2.1", "2001:db8::1"], "b.example": ["192.0.2.2"] };
  const addresses = new ResolvedHosts(["a.example", "b.example", "192.0.2.9"], (name) =>
    Promise.resolve(answers[name] ?? []),
  );
  await addresses.ready;
  expect(addresses.current().toSorted()).toEqual(["192.0.2.1", "192.0.2.2", "192.0.2.9", "2001:db8::1"]);
});

test(
  "a name that cannot be resolved any more keeps its addresses, and a later answer is added",
  async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    try {
      let answer: Promise<string[]> = Promise.resolve(["192.0.2.1"]);
      const addresses = new ResolvedHosts(["a.example"], () => answer);
      await addresses.ready;
      const asked = async () => {
        vi.advanceTimersByTime(120_000);
        addresses.current();
        await new Promise(setImmediate);
        return addresses.current();
      };
      answer = Promise.reject(new Error("no resolver"));
      answer.catch(() => undefined);
      expect(await asked()).toEqual(["192.0.2.1"]);
      answer = Promise.resolve(["192.0.2.2"]);
      expect(await asked()).toEqual(["192.0.2.1", "192.0.2.2"]);
    } finally {
      vi.useRealTimers();
    }
  },
  DEADLINE_MS,
);
