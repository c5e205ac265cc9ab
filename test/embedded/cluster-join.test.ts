// Joining a cluster: what a token is good for and what not, against the real store.
import { expect, test } from "vitest";
import { never } from "../etcd/fixture.ts";
import { ClusterWorld } from "./cluster-world.ts";

test("a host joins with a token, and then reads and writes the store", async () => {
  await using world = await ClusterWorld.start();
  const host = await world.joined("h1");
  expect(await host.control("put", "key", "value")).toBe("OK\n");
  expect(await host.control("get", "key", "--print-value-only")).toBe("value\n");
  const [listed] = await world.administrator.listHosts(never);
  expect(listed).toMatchObject({ name: "h1", addresses: ["127.0.0.1"] });
});
