// flanneld's flags about the store and the way to it. Pure data.
import { isLoopback, parseListenAddress } from "../../flannel-store/server/listen-address.ts";
import type { FlagDefinition } from "./flags.ts";

const group = "Store (etcd v3)";

export const storeFlags: readonly FlagDefinition[] = [
  {
    name: "store",
    kind: "string",
    default: "etcd",
    group,
    valueName: "NAME",
    description:
      "Where leases are kept: `etcd` or `embedded`. With `embedded` the agent runs its own flannel-store in the state " +
      "directory; only root of this host reaches it, on the socket `DIR/store/flannel-store.sock`.",
    validate: (value) => (value === "etcd" || value === "embedded" ? undefined : "must be etcd or embedded"),
  },
  {
    name: "store-listen",
    kind: "string",
    default: "",
    group,
    valueName: "HOST:PORT",
    description:
      "With --store=embedded: serve the store on this loopback address, too. Every user of this host can then change the network.",
    validate: validLoopback,
  },
  {
    name: "etcd-endpoints",
    kind: "string",
    default: "http://127.0.0.1:4001,http://127.0.0.1:2379",
    group,
    valueName: "LIST",
    description: "Comma-separated endpoints: http://, https:// or unix://. If one fails, the agent tries the next one.",
  },
  {
    name: "etcd-prefix",
    kind: "string",
    default: "/coreos.com/network",
    group,
    valueName: "KEY",
    description: "Prefix of all keys: the network config is at PREFIX/config, the leases under PREFIX/subnets.",
    validate: (text) => (text === "" ? "must not be empty" : undefined),
  },
  {
    name: "etcd-cafile",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description: "CA certificates to verify etcd's certificate with; the system's if not given.",
  },
  {
    name: "etcd-certfile",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description: "Client certificate for etcd; needs --etcd-keyfile.",
  },
  {
    name: "etcd-keyfile",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description: "Private key of --etcd-certfile.",
  },
  {
    name: "etcd-cert-renew",
    kind: "bool",
    default: false,
    group,
    description:
      "Let the store renew --etcd-certfile before it expires; for a flannel-store that this host joined (flannelctl join).",
  },
  {
    name: "etcd-username",
    kind: "string",
    default: "",
    group,
    valueName: "NAME",
    description: "User for etcd; used together with a password.",
  },
  {
    name: "etcd-password",
    kind: "string",
    default: "",
    group,
    isSecret: true,
    description: "Password for etcd. Prefer the environment variable, which other users cannot see, or a file.",
  },
  {
    name: "etcd-password-file",
    kind: "string",
    default: "",
    group,
    valueName: "FILE",
    description: "File that holds the password for etcd; read again at each login.",
  },
];

function validLoopback(text: string): string | undefined {
  if (text === "") return undefined;
  try {
    const address = parseListenAddress(text);
    if (isLoopback(address) && address.port > 0) return undefined;
  } catch {
    // Told below.
  }
  return "must be a loopback address and a port, like 127.0.0.1:2379; for other hosts run flannel-store as a service";
}
