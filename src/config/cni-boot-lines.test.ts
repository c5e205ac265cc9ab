import { expect, test } from "vitest";
import { bootFileRule, cniFileRule, isBootFile, renderBootFile } from "./cni-boot-lines.ts";

test("one line names the CNI configuration, and nothing but that file", () => {
  const text = renderBootFile("/etc/cni/net.d/10-flannel.conflist");
  const lines = text.trimEnd().split("\n");
  expect(lines.filter((line) => !line.startsWith("#"))).toEqual(["r! /etc/cni/net.d/10-flannel.conflist"]);
  expect(isBootFile(text)).toBe(true);
  expect(isBootFile(`r! /etc/cni/net.d/10-flannel.conflist\n${text}`)).toBe(false);
  expect(isBootFile("")).toBe(false);
});

test("paths that systemd would not read, or not take as they are written, are refused", () => {
  const read = ["/etc/tmpfiles.d/flannel-cni.conf", "/host/etc/tmpfiles.d/x.conf", "/usr/local/lib/tmpfiles.d/x.conf"];
  for (const path of read) expect(bootFileRule(path), path).toBeUndefined();
  const notRead = [
    ...["/run/tmpfiles.d/x.conf", "/var/run/tmpfiles.d/x.conf", "/etc/tmpfiles.d/x", "/etc/tmpfiles.d/.conf/x"],
    ...["etc/tmpfiles.d/x.conf", "/etc/cni/net.d/x.conf", "/etc/tmpfiles.d/../passwd.conf", "/etc/tmpfiles.d/a b.conf"],
  ];
  for (const path of notRead) expect(bootFileRule(path), path).toMatch(/^must be /);
  expect(cniFileRule("/var/lib/rancher/k3s/agent/etc/cni/net.d/10-flannel.conflist")).toBeUndefined();
  const meant = [
    "/etc/cni/*",
    "/etc/cni/%m",
    "/etc/cni/a b",
    "/etc/cni/a\nR /",
    "/etc/../etc/x",
    "/etc/./x",
    "x",
    "/",
    "",
  ];
  for (const path of meant) expect(cniFileRule(path), path).toMatch(/^must be /);
});
