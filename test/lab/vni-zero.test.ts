// VNI 0 is a network like any other, as it is with upstream: its device is flannel.0, and 0 stands in its packets.
import { once } from "node:events";
import { expect, it } from "vitest";
import { Cluster } from "../../lab/cluster.ts";
import { link } from "../../lab/kernel-view.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";

it("VNI 0: flannel.0 carries containers' packets, with VNI 0 on the wire and in the lease", async () => {
  const config = { Network: "10.5.0.0/16", Backend: { Type: "vxlan", VNI: 0 } };
  await using cluster = await Cluster.start({ hosts: 2, config });
  const { namespace } = cluster.lan.host(1);
  expect((await link(namespace, "flannel.0"))?.settings["id"]).toBe(0);
  expect(await link(namespace, "flannel.1")).toBeUndefined();
  for (const { value } of await cluster.etcd.list("/coreos.com/network/subnets/")) {
    expect(JSON.parse(value)).toMatchObject({ BackendType: "vxlan", BackendData: { VNI: 0 } });
  }

  // RFC 7348: flags with I set, then the VNI and a reserved octet. Ends with the first such packet.
  const filter = "udp dst port 8472 and udp[8:4] = 0x08000000 and udp[12:4] = 0";
  const capture = namespace.spawn(["tcpdump", "-nni", "eth0", "-c", "1", "--immediate-mode", filter], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const closed = once(capture, "close");
  let said = "";
  capture.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  try {
    await until(() => said.includes("listening"), { what: "tcpdump to listen" });
    await untilAllPing(cluster.pods);
    await until(() => said.includes("1 packet captured"), { what: "a packet with VNI 0" });
  } finally {
    capture.kill("SIGKILL");
    await closed;
  }

  // Started again, the device is its own: taken over as it is, not made anew.
  const before = (await link(namespace, "flannel.0"))?.index;
  await cluster.agent(1).term();
  await cluster.startAgent(1).untilReady({ peers: 1 });
  expect((await link(namespace, "flannel.0"))?.index).toBe(before);
});
