// Keys of the wireguard backend. Pure.
import { invalid } from "../../config/address-pool.ts";
import type { BackendKey } from "../../config/backend-key.ts";
import { intOption, listOption, readBackendOptions, stringOption } from "../../config/backend-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";
import type { Family } from "../../ip/address.ts";
import { isKey } from "../../netlink/genetlink/wireguard-device.ts";
import { checkSecretPath } from "./secret-path.ts";
import { readStaticPeers, type StaticPeer } from "./static-peers.ts";

/** Outer IP header 20 or 40, UDP header 8, WireGuard 32 bytes. */
const EXACT_OVERHEAD_BYTES = { 4: 60, 6: 80 } as const;
const UPSTREAM_OVERHEAD_BYTES = 80;
const MAX_PORT = 65_535;

/** `separate`: a device for each family, over its own underlay; else one device for both, and the underlay by mode. */
export type WireguardMode = "separate" | "auto" | "ipv4" | "ipv6";
const modes: readonly string[] = ["separate", "auto", "ipv4", "ipv6"] satisfies WireguardMode[];

/** Where a pre-shared key comes from: the configuration itself, as base64, or a file of each host. */
export type PresharedKeySource = { readonly key: string } | { readonly file: string };

/** As read: ranges and defaults are those of `wireguardKeys`. */
export interface WireguardOptions {
  readonly mode: WireguardMode;
  readonly listenPort: number;
  readonly listenPortV6: number;
  /** 0: the external interface's. */
  readonly underlayMtuBytes: number;
  /** Less than the underlay's MTU, by the family of the underlay. */
  readonly overheadBytes: Readonly<Record<Family, number>>;
  /** Of all hosts; missing: none. */
  readonly presharedKey?: PresharedKeySource;
  readonly keepaliveSeconds: number;
  readonly staticPeers: readonly StaticPeer[];
}

export const wireguardKeys: readonly BackendKey[] = [
  {
    name: "ListenPort",
    type: "int",
    defaultValue: 51_820,
    defaultText: "51820",
    minimum: 1,
    maximum: MAX_PORT,
    description: "UDP port of the device `flannel-wg`.",
    live: false,
  },
  {
    name: "ListenPortV6",
    type: "int",
    defaultValue: 51_821,
    defaultText: "51821",
    minimum: 1,
    maximum: MAX_PORT,
    description: "UDP port of the device `flannel-wg-v6`, which Mode `separate` has for IPv6.",
    live: false,
  },
  {
    name: "Mode",
    type: "string",
    defaultValue: "separate",
    defaultText: "separate",
    description:
      "`separate`: IPv4 packets travel over IPv4 and IPv6 packets over IPv6, each with a device of its own. With `auto`, `ipv4` " +
      "and `ipv6` one device carries both: between the hosts over IPv4, over IPv6, or (`auto`) over the family in which " +
      "both have public addresses.",
    live: false,
  },
  {
    name: "MTU",
    type: "int",
    defaultValue: 0,
    defaultText: "0: that of the external interface",
    maximum: MAX_PORT,
    description: "MTU between the hosts. The MTU of containers is 80 lower (see Overhead).",
    live: true,
  },
  {
    name: "Overhead",
    type: "string",
    defaultValue: "",
    defaultText: "80 bytes",
    description:
      "`exact`: 60 bytes where packets travel over IPv4, as they need. For clusters of this implementation only: upstream " +
      "takes 80 always, and all hosts of a network should have the same MTU.",
    live: true,
  },
  {
    name: "PSK",
    type: "string",
    defaultValue: "",
    defaultText: "none",
    description:
      "Pre-shared key of all hosts: 32 bytes in base64 (`wg genpsk`). Output and logs never show it. Whoever reads the store " +
      "has it: `PSKFile` keeps it out of there.",
    isSecret: true,
    live: true,
  },
  {
    name: "PSKFile",
    type: "string",
    defaultValue: "",
    defaultText: "none",
    description:
      "Absolute path of a file with the pre-shared key, the same path on every host: mode 0600 or less, owned by root. A changed " +
      "file takes effect within a second. Instead of `PSK`. Upstream ignores it.",
    live: true,
  },
  {
    name: "PersistentKeepaliveInterval",
    type: "int",
    defaultValue: 0,
    defaultText: "0: never",
    maximum: MAX_PORT,
    description: "Seconds between packets that keep the way open to hosts behind NAT.",
    live: true,
  },
  {
    name: "Peers",
    type: "list",
    defaultValue: [],
    defaultText: "none",
    description:
      "Peers that are no hosts of the network (a laptop, a gateway), as objects: see [wireguard.md](wireguard.md#static-peers). " +
      "Upstream ignores it.",
    live: true,
  },
];

/** Throws `CONFIG_INVALID` naming key, value and rule. */
export function readWireguardOptions(config: NetworkConfig): WireguardOptions {
  const options = readBackendOptions(wireguardKeys, config.backend);
  const mode = stringOption(options, "Mode");
  if (!isMode(mode)) throw invalid("Backend.Mode", mode, `must be ${modes.join(", ")}, in lower case`);
  for (const [only, family, pool] of [
    ["ipv4", "IPv4", config.ipv4],
    ["ipv6", "IPv6", config.ipv6],
  ] as const) {
    if (mode !== only || pool !== undefined) continue;
    throw invalid("Backend.Mode", mode, `needs Enable${family}: hosts announce their ${family} addresses only then`);
  }
  const presharedKey = presharedKeySource(stringOption(options, "PSK"), stringOption(options, "PSKFile"));
  const overhead = stringOption(options, "Overhead");
  if (overhead !== "" && overhead !== "exact")
    throw invalid("Backend.Overhead", overhead, 'must be "exact" or missing');
  const listenPort = intOption(options, "ListenPort");
  const listenPortV6 = intOption(options, "ListenPortV6");
  const hasBoth = config.ipv4 !== undefined && config.ipv6 !== undefined;
  if (mode === "separate" && hasBoth && listenPort === listenPortV6) {
    throw invalid(
      "Backend.ListenPortV6",
      listenPortV6,
      "must differ from ListenPort: each device has a port of its own",
    );
  }
  const upstream = { 4: UPSTREAM_OVERHEAD_BYTES, 6: UPSTREAM_OVERHEAD_BYTES };
  return Object.freeze({
    mode,
    listenPort,
    listenPortV6,
    underlayMtuBytes: checkedMtu(intOption(options, "MTU"), config),
    overheadBytes: overhead === "exact" ? EXACT_OVERHEAD_BYTES : upstream,
    ...(presharedKey === undefined ? {} : { presharedKey }),
    keepaliveSeconds: intOption(options, "PersistentKeepaliveInterval"),
    staticPeers: readStaticPeers(listOption(options, "Peers"), config),
  });
}

function presharedKeySource(key: string, file: string): PresharedKeySource | undefined {
  if (key !== "" && !isKey(key)) {
    throw invalid("Backend.PSK", "(hidden)", "must be 32 bytes in base64, as wg genpsk prints them");
  }
  if (file === "") return key === "" ? undefined : { key };
  if (key !== "") throw invalid("Backend.PSKFile", file, "cannot stand beside PSK: keep one of the two");
  checkSecretPath("Backend.PSKFile", file);
  return { file };
}

/** Smallest MTU of a link: RFC 791 for IPv4; RFC 8200 for IPv6, below which Linux turns IPv6 off on the device. */
function checkedMtu(mtuBytes: number, config: NetworkConfig): number {
  const smallest = (config.ipv6 === undefined ? 68 : 1_280) + UPSTREAM_OVERHEAD_BYTES;
  if (mtuBytes === 0 || mtuBytes >= smallest) return mtuBytes;
  throw invalid("Backend.MTU", mtuBytes, `must be 0 or at least ${smallest}`);
}

function isMode(text: string): text is WireguardMode {
  return modes.includes(text);
}
