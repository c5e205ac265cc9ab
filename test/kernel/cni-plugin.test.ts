// The CNI plugin `flannel` with its real delegates, bridge and host-local: containers one by one and twenty at once, and
// nothing left of them.
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { boxNamespace as box } from "../../lab/namespace.ts";

const plugin = fileURLToPath(new URL("../../cni/flannel", import.meta.url));
const directory = "/run/cni-test";
const addresses = `${directory}/networks/cbr0`;

const config = {
  cniVersion: "1.0.0",
  name: "cbr0",
  type: "flannel",
  subnetFile: `${directory}/subnet.env`,
  dataDir: `${directory}/flannel`,
  ipam: { dataDir: `${directory}/networks` },
  delegate: { hairpinMode: true, isDefaultGateway: true },
};

/** Made by the plugin for container `id`, in a network namespace of that name. */
async function call(command: string, id: string, more: object = {}): Promise<string> {
  const env = { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: `/run/netns/${id}`, CNI_IFNAME: "eth0" };
  return box.run([plugin], {
    input: JSON.stringify({ ...config, ...more }),
    env: { ...process.env, ...env, CNI_PATH: "/usr/lib/cni" },
  });
}

/** What host-local holds as in use. */
function inUse(): string[] {
  return readdirSync(addresses).filter((name) => /^[\d.:_a-f]+$/.test(name) && !name.startsWith("last"));
}

it("attaches containers, checks them, and leaves nothing", async () => {
  mkdirSync(directory, { recursive: true });
  writeFileSync(
    config.subnetFile,
    "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.7.1/24\nFLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:7::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
  );
  const ids = Array.from({ length: 20 }, (_, index) => `c${index}`);
  await box.ipBatch(ids.map((id) => `netns add ${id}`));
  const results = await Promise.all(ids.map((id) => call("ADD", id)));
  const given = results.map((text) => (JSON.parse(text).ips as { address: string }[]).map(({ address }) => address));
  expect(new Set(given.flat()).size).toBe(40);
  expect(inUse()).toHaveLength(40);
  for (const [index, id] of ids.slice(0, 3).entries()) {
    const shown = await box.run(["ip", "-n", id, "-o", "addr", "show", "dev", "eth0"]);
    for (const address of given[index] ?? []) expect(shown).toContain(address);
    expect(await box.run(["ip", "-n", id, "link", "show", "dev", "eth0"])).toContain("mtu 1450");
    expect(await box.run(["ip", "netns", "exec", id, "ping", "-n", "-c", "1", "-W", "5", "10.5.7.1"])).toContain(
      "1 received",
    );
    // Without routes: bridge of Debian's version looks for them without the gateway that it gave them itself.
    const prevResult = { ...JSON.parse(results[index] ?? ""), routes: [] };
    await call("CHECK", id, { prevResult });
    await box.run(["ip", "-n", id, "addr", "flush", "dev", "eth0"]);
    await expect(call("CHECK", id, { prevResult })).rejects.toThrow(/"code": \d+/);
  }
  await Promise.all(ids.map((id) => call("DEL", id)));
  await Promise.all(ids.map((id) => call("DEL", id))); // runtimes repeat it
  expect(inUse()).toEqual([]);
  expect(readdirSync(config.dataDir)).toEqual([]);
  expect(await box.run(["ip", "-br", "link", "show", "type", "veth"])).toBe("");
  await box.ipBatch([...ids.map((id) => `netns del ${id}`), "link del cni0"]);
});
