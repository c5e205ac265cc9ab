// `flannelctl doctor` names causes that other backends than vxlan have: each first, and nothing beside it.
import { expect, it } from "vitest";
import { until } from "../../../lab/wait.ts";
import { wireguardAgent } from "../../../lab/wireguard-host.ts";
import { expectNamed } from "../../support/doctor-expect.ts";
import { DoctorStage } from "../../support/doctor-stage.ts";

it("source-check: the network drops packets whose source is a container", async () => {
  await using stage = await DoctorStage.open({ backend: { Type: "host-gw" } });
  expect((await stage.doctor(2)).codes).toEqual([]);
  await expectNamed(stage, {
    code: "source-check",
    make: "nft add table bridge z; nft 'add chain bridge z f {type filter hook forward priority 0;}'; nft add rule bridge z f iifname h2 ip saddr 10.5.0.0/16 drop",
    undo: "nft delete table bridge z",
    at: 0,
  });
});

it("wg-handshake: a peer that answers no handshake", async () => {
  const launch = (host: Parameters<typeof wireguardAgent>[0]) => {
    const { program, keyFile } = wireguardAgent(host);
    return { program, env: { WIREGUARD_KEY_FILE: keyFile } };
  };
  await using stage = await DoctorStage.open({ backend: { Type: "wireguard" }, launch });
  expect((await stage.doctor(2)).codes).toEqual([]);
  const table = "nft add table bridge z; nft 'add chain bridge z f {type filter hook forward priority 0;}'";
  await stage.run(0, `${table}; nft add rule bridge z f udp dport 51820 drop`);
  // A new session with the peer is only asked for after a while: a host that starts now has none.
  await stage.agents[1]?.kill9();
  await stage.run(2, "ip link del flannel-wg 2>/dev/null; true");
  await using again = stage.scene.start(2, launch(stage.scene.host(2)));
  await again.untilReady();
  await until(async () => (await again.status()).dataPlane?.peers.some(({ sentBytes = 0 }) => sentBytes > 0), {
    what: "a handshake that is tried",
  });
  const { codes, output } = await stage.doctor(2);
  expect(codes, JSON.stringify(output.findings, undefined, 1)).toEqual(["wg-handshake"]);
});
