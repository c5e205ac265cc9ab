// Several networks in one agent under a real systemd: none loses a packet when the agent is restarted or killed, of whatever
// backend. For udp, systemd holds device and sockets of each network meanwhile.
import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { EmbeddedStore } from "../../../lab/embedded-store.ts";
import { createLan } from "../../../lab/lan.ts";
import { carriedWhile } from "../../../lab/packet-probe.ts";
import { attachPod, type Pod } from "../../../lab/pod.ts";
import { untilAllPing } from "../../../lab/probe.ts";
import { readSubnetEnv } from "../../../lab/subnet-env.ts";
import { SystemdHost } from "../../../lab/systemd-host.ts";
import { until } from "../../../lab/wait.ts";

const flanneld = fileURLToPath(new URL("../../../bin/flanneld", import.meta.url));
const configs = {
  red: { Network: "10.1.0.0/16", Backend: { Type: "vxlan", VNI: 11 } },
  green: { Network: "10.2.0.0/16", Backend: { Type: "host-gw" } },
  blue: { Network: "10.3.0.0/16", Backend: { Type: "udp" } },
  white: { Network: "10.4.0.0/16", Backend: { Type: "udp", Port: 8286 } },
};
/** What comes during a second fits into a device's queue of 500 packets. */
const EVERY_US = 10_000;

const resources = new AsyncDisposableStack();
const hosts: SystemdHost[] = [];
const pods = new Map<string, readonly Pod[]>();

beforeAll(async () => {
  const lan = resources.use(await createLan({ hosts: 2 }));
  const store = resources.use(await EmbeddedStore.start(lan.storeAddress));
  for (const [name, config] of Object.entries(configs)) {
    await store.put(`/coreos.com/network/${name}/config`, JSON.stringify(config));
  }
  const networks = Object.keys(configs).join(",");
  const unit = `[Service]
Type=notify
Environment=PATH=${process.env["PATH"]}
ExecStart=${flanneld} --networks=${networks} --etcd-endpoints=${store.endpoints}
Restart=always
RestartSec=0
FileDescriptorStoreMax=1024
`;
  for (const number of [1, 2]) {
    const host = resources.use(await SystemdHost.boot(lan.host(number)));
    hosts.push(host);
    await writeFile(host.file("/etc/systemd/system/flanneld.service"), unit);
    await host.run(["systemctl", "start", "flanneld"], { timeoutMs: 90_000 });
  }
  for (const name of Object.keys(configs)) {
    const made: Pod[] = [];
    for (const host of hosts) {
      const env = await until(() => readSubnetEnv(host.file(`/run/flannel/networks/${name}.env`)), { what: name });
      const devices = { bridge: `br-${name}`, port: `port-${name}` };
      made.push(await attachPod(host.host, env, `${host.host.name}-${name}`, devices));
    }
    pods.set(name, made);
  }
  for (const list of pods.values()) await untilAllPing(list);
});

afterAll(() => resources.disposeAsync());

const second = () => hosts[1] ?? expect.fail("no second host");
const show = async (property: string) =>
  (await second().run(["systemctl", "show", "--value", `--property=${property}`, "flanneld"])).trim();

it.each([
  ["restarted", () => second().run(["systemctl", "restart", "flanneld"], { timeoutMs: 90_000 })],
  ["killed", async () => second().run(["kill", "-KILL", await show("MainPID")])],
])("no network loses a packet when the agent is %s", async (_, replace) => {
  const before = await show("MainPID");
  const isAnother = async () =>
    !["0", before].includes(await show("MainPID")) && (await show("ActiveState")) === "active";
  const replaced = Promise.withResolvers<void>();
  const carried = [...pods].flatMap(([name, [first, other]]) => {
    if (first === undefined || other === undefined) throw new Error(`no containers in ${name}`);
    return [
      [first, other],
      [other, first],
    ].map(async ([from, to]) => {
      if (from === undefined || to === undefined) throw new Error("no container");
      const { sent, arrived } = await carriedWhile(
        ...([from.namespace, to.namespace, to.ipv4 ?? "", EVERY_US] as const),
        () => replaced.promise,
      );
      return { name, from: from.name, sent, lost: sent - arrived };
    });
  });
  await replace();
  await until(isAnother, { what: "another agent to be ready" }).finally(replaced.resolve);
  const found = await Promise.all(carried);
  expect(found).toHaveLength(8);
  for (const { sent, lost, ...of } of found)
    expect({ ...of, lost, isCarried: sent > 20 }).toMatchObject({ lost: 0, isCarried: true });
  // Device and socket of each udp network, once each.
  expect(await show("NFileDescriptorStore")).toBe("4");
});
