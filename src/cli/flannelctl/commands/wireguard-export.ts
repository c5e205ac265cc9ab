// `flannelctl wireguard export`: what a static peer needs to reach the network, out of the store.
import { parseConfig } from "../../../backend/registry.ts";
import { exportStaticPeer, staticPeersOf } from "../../../backend/wireguard/export-static-peer.ts";
import { FlannelError } from "../../../errors.ts";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import { didYouMean } from "../../../json/nearest.ts";
import { type Invocation, present, remark } from "../session/invocation.ts";
import { wireguardExportOutputSchema } from "../session/json-output.ts";
import { withStore } from "../session/open-store.ts";

export interface ExportOptions {
  readonly ipv6: boolean;
}

/** Prints the file itself, so that it can be redirected into one. 1 when hosts had to be left out. */
export async function exportPeer(invocation: Invocation, name: string, { ipv6 }: ExportOptions): Promise<ExitCode> {
  const { signal } = invocation;
  const output = await withStore(invocation, async (store) => {
    const { config } = parseConfig((await store.networkConfig(signal)).text);
    if (config.backendType !== "wireguard") {
      const message = `the network has the backend ${JSON.stringify(config.backendType)}: only wireguard has static peers`;
      throw new FlannelError("CONFIG_INVALID", message);
    }
    const peers = staticPeersOf(config);
    const peer = peers.find((one) => one.name === name);
    if (peer === undefined)
      throw unknownPeer(
        name,
        peers.map((one) => one.name),
      );
    const leases = await store.list(signal);
    const underlay = ipv6 || config.ipv4 === undefined ? 6 : 4;
    return exportStaticPeer(peer, config, leases, underlay);
  });
  for (const { key, reason } of output.skipped) {
    remark(invocation, `warning: ${key} is left out: it ${reason}`);
  }
  const { text: configText, hosts, skipped } = output;
  const shown = { name, configText, hosts: [...hosts], skipped: skipped.map(({ key, reason }) => ({ key, reason })) };
  if (invocation.options.json) present(invocation, wireguardExportOutputSchema, shown, () => []);
  else invocation.terminal.writeOut(configText);
  return skipped.length === 0 ? exitCodes.ok : exitCodes.failure;
}

function unknownPeer(name: string, known: readonly string[]): FlannelError {
  const list =
    known.length === 0 ? "Backend.Peers is empty" : `there are ${known.join(", ")}${didYouMean(name, known)}`;
  const message = `the network configuration has no static peer ${JSON.stringify(name)}: ${list}`;
  return new FlannelError("CONFIG_INVALID", message);
}
