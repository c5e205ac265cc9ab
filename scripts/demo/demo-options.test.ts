import { expect, it } from "vitest";
import { DemoUsageError, parseDemoOptions } from "./demo-options.ts";

it("has defaults", () => {
  expect(parseDemoOptions([])).toEqual({ backend: "vxlan", store: "embedded", hosts: 3, once: false, help: false });
});

it("takes every option in both spellings", () => {
  const parsed = parseDemoOptions(["--backend=host-gw", "--hosts", "16", "--store=etcd", "--once", "--yes"]);
  expect(parsed).toEqual({ backend: "host-gw", store: "etcd", hosts: 16, once: true, help: false });
  expect(parseDemoOptions(["--backend", "HOST-GW", "-h"])).toMatchObject({ backend: "host-gw", help: true });
});

it.each([
  [["--backend=nosuch"], /^--backend=nosuch: there is no such backend; choose one of vxlan, host-gw, udp, alloc\.$/],
  [["--backend=wireguard"], /^--backend=wireguard: the demo does not show this backend; choose one of vxlan, /],
  [["--store=consul"], /^--store=consul: there is no such store; choose embedded or etcd\.$/],
  [["--hosts=1"], /^--hosts=1: must be a number from 2 to 16\.$/],
  [["--hosts=17"], /from 2 to 16/],
  [["--hosts=2.5"], /from 2 to 16/],
  [["--hosts="], /from 2 to 16/],
  [["--hots=3"], /^Unknown option '--hots'\.$/],
  [["--once=1"], /--once/],
  [["extra"], /'extra'/],
  [["--backend"], /--backend/],
])("refuses %j with one sentence", (argv, message) => {
  expect(() => parseDemoOptions(argv)).toThrow(DemoUsageError);
  expect(() => parseDemoOptions(argv)).toThrow(message);
  expect(() => parseDemoOptions(argv)).toThrow(/^[^\n]+\.$/);
});
