import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, test } from "vitest";
import { backends } from "../../backend/registry.ts";
import { Rtnetlink } from "../../netlink/rtnetlink/rtnetlink.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import type { ExternalInterface } from "../../underlay/external-interface.ts";
import type { OccupiedPrefix } from "../../underlay/occupied-prefixes.ts";
import { PlanFacts } from "./plan-facts.ts";

const none = { startUpData: undefined, hasKernelEsp: undefined };
const interfaceOf = (name: string, index: number): ExternalInterface => ({ name, index, mtuBytes: 1_500, isUp: true });

test("an external interface that changes while the facts are gathered is not forgotten", async () => {
  await using rtnetlink = Rtnetlink.open();
  const { config } = backends.parseConfig('{"Network":"10.5.0.0/16","Backend":{"Type":"alloc"}}');
  const backend = backends.create(config);
  const externalInterface = interfaceOf("eth0", 2);
  await using facts = new PlanFacts(
    { networks: [], identities: {}, logger: silentLogger, externalInterface, backends, backend, rtnetlink, ...none },
    () => undefined,
  );
  const occupied = Promise.withResolvers<readonly OccupiedPrefix[]>();
  const gathered = facts.gather([], backend, () => occupied.promise);
  await nextTurn();
  const other = interfaceOf("eth1", 3);
  facts.setExternalInterface(other);
  occupied.resolve([]);
  expect((await gathered).externalInterface).toBe(other);
  expect(facts.current.externalInterface).toBe(other);
});
