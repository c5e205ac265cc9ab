// Keys of the ipsec backend. Pure.
import { invalid } from "../../config/address-pool.ts";
import type { BackendKey } from "../../config/backend-key.ts";
import { boolOption, readBackendOptions, stringOption } from "../../config/backend-options.ts";
import type { NetworkConfig } from "../../config/network-config.ts";

/** Upstream's demand. */
const MIN_KEY_CHARACTERS = 96;
/** What a value of VICI may hold is 65,535 bytes; a key of this length has more than any algorithm uses. */
const MAX_KEY_CHARACTERS = 4_096;
const DEFAULT_PROPOSAL = "aes128gcm16-sha256-prfsha256-ecp256";
const MAX_PROPOSAL_CHARACTERS = 500;

/** As read: ranges and defaults are those of `ipsecKeys`. */
export interface IpsecOptions {
  /** Secret. */
  readonly presharedKey: string;
  readonly usesUdpEncapsulation: boolean;
  readonly espProposal: string;
}

export const ipsecKeys: readonly BackendKey[] = [
  {
    name: "PSK",
    type: "string",
    defaultValue: "",
    defaultText: "none: it is required",
    description:
      "Pre-shared key of all hosts, at least 96 characters (`openssl rand -hex 48`). Output and logs never show it.",
    isSecret: true,
    live: true,
  },
  {
    name: "UDPEncap",
    type: "bool",
    defaultValue: false,
    defaultText: "false",
    description:
      "Carry ESP in UDP (port 4500) always, for ways that drop ESP. Behind NAT, IKE does it by itself. The MTU of containers is " +
      "8 lower then.",
    live: true,
  },
  {
    name: "ESPProposal",
    type: "string",
    defaultValue: DEFAULT_PROPOSAL,
    defaultText: DEFAULT_PROPOSAL,
    description: "Algorithms of the packets' encryption, as strongSwan writes them. Equal on all hosts.",
    live: true,
  },
];

/** Throws `CONFIG_INVALID` naming key, value and rule; the secret is in no message. */
export function readIpsecOptions(config: NetworkConfig): IpsecOptions {
  if (config.ipv4 === undefined) {
    throw invalid(
      "Backend.Type",
      "ipsec",
      "carries IPv4 only: give the network an IPv4 Network, or choose another backend",
    );
  }
  const options = readBackendOptions(ipsecKeys, config.backend);
  const presharedKey = stringOption(options, "PSK");
  if (presharedKey.length < MIN_KEY_CHARACTERS) {
    const found = presharedKey === "" ? "" : `; it has ${presharedKey.length}`;
    throw invalid("Backend.PSK", "(hidden)", `must have at least ${MIN_KEY_CHARACTERS} characters${found}`);
  }
  if (presharedKey.length > MAX_KEY_CHARACTERS) {
    throw invalid("Backend.PSK", "(hidden)", `must have at most ${MAX_KEY_CHARACTERS} characters`);
  }
  const espProposal = stringOption(options, "ESPProposal");
  if (!/^[a-z0-9_-]+$/i.test(espProposal) || espProposal.length > MAX_PROPOSAL_CHARACTERS) {
    throw invalid(
      "Backend.ESPProposal",
      espProposal,
      `must be one proposal of strongSwan, such as ${DEFAULT_PROPOSAL}`,
    );
  }
  return Object.freeze({ presharedKey, usesUdpEncapsulation: boolOption(options, "UDPEncap"), espProposal });
}
