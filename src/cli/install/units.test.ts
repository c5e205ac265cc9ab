import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { hostPaths } from "./host-paths.ts";
import { agentUnit, storeUnit, type UnitContext } from "./units.ts";

const template = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../../deploy/${name}.service`, import.meta.url)), "utf8");
const storeArguments = ["--cluster", "--data-dir", "/var/lib/flannel-store", "--listen", "192.0.2.1:2379"];

function units(context: Partial<UnitContext> = {}, root = "") {
  const full = { paths: hostPaths(root), directory: "/opt/flannel", isOpenToRoot: true, ...context };
  return {
    agent: agentUnit(template("flanneld"), full).split("\n"),
    store: storeUnit(template("flannel-store"), storeArguments, full).split("\n"),
  };
}

test("a host of its own: the file of init is read, the certificate may be renewed, the store is one of a cluster", () => {
  const { agent, store } = units();
  expect(agent).toEqual(
    expect.arrayContaining([
      "EnvironmentFile=/etc/flannel/flanneld.env",
      "EnvironmentFile=-/etc/default/flanneld",
      "ExecStart=/opt/flannel/bin/flanneld",
      "ReadWritePaths=/run/flannel /etc/flannel -/run/xtables.lock",
      "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW",
      "ProtectHome=yes",
      "PrivateTmp=yes",
    ]),
  );
  // What is read later wins: settings of an earlier life must not lead to another store.
  expect(agent.indexOf("EnvironmentFile=-/etc/default/flanneld")).toBeLessThan(
    agent.indexOf("EnvironmentFile=/etc/flannel/flanneld.env"),
  );
  expect(store).toEqual(
    expect.arrayContaining([
      `ExecStart=/opt/flannel/bin/flannel-store ${storeArguments.join(" ")} $FLANNEL_STORE_FLAGS`,
      "CapabilityBoundingSet=",
    ]),
  );
});

test("below --root all that is written and read lies there", () => {
  const { agent, store } = units({}, "/srv/one");
  expect(agent).toEqual(
    expect.arrayContaining([
      "EnvironmentFile=/srv/one/etc/flannel/flanneld.env",
      "EnvironmentFile=-/srv/one/etc/default/flanneld",
      "ReadWritePaths=/run/flannel /srv/one/etc/flannel /srv/one/run/flannel /srv/one/var/lib/flannel -/run/xtables.lock",
      "ExecStartPost=/opt/flannel/bin/mk-docker-opts -f /srv/one/run/flannel/subnet.env -d /srv/one/run/flannel/docker -c",
    ]),
  );
  expect(store).toContain("ReadWritePaths=/srv/one/var/lib/flannel-store");
});

test("below a --root that begins like where programs are expected", () => {
  const { agent, store } = units({ directory: "/srv/flannel" }, "/opt/flannel-data");
  expect(agent).toContain("EnvironmentFile=/opt/flannel-data/etc/flannel/flanneld.env");
  expect(agent).toContain("ExecStart=/srv/flannel/bin/flanneld");
  expect(store).toContain("ReadWritePaths=/opt/flannel-data/var/lib/flannel-store");
});

test("programs in a home directory or in /tmp are not hidden from the services, nor closed to them", () => {
  const { agent, store } = units({ directory: "/home/me/flannel", isOpenToRoot: false });
  for (const unit of [agent, store]) expect(unit).toContain("ProtectHome=read-only");
  expect(agent).toContain("ExecStart=/home/me/flannel/bin/flanneld");
  expect(agent).toContain("CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_DAC_READ_SEARCH");
  expect(store).toContain("CapabilityBoundingSet=CAP_DAC_READ_SEARCH");
  expect(units({}, "/tmp/one").agent).toContain("PrivateTmp=no");
  expect(units({ node: "/root/.nvm/node" }).agent).toEqual(
    expect.arrayContaining(["Environment=FLANNEL_NODE=/root/.nvm/node", "ProtectHome=read-only"]),
  );
});

test("a template that has become another one is noticed", () => {
  const context = { paths: hostPaths(""), directory: "/opt/flannel", isOpenToRoot: true };
  const other = template("flanneld").replace("ReadWritePaths=", "ReadOnlyPaths=");
  expect(() => agentUnit(other, context)).toThrow("lacks ReadWritePaths=/run/flannel");
});
