// flannel-store's command line. Pure.
import { FlannelError } from "../../errors.ts";
import { exitCodes } from "../../exit-codes.ts";
import { isLoopback, type ListenTarget, parseListenTarget } from "../../flannel-store/server/listen-address.ts";
import { type FlagDefinition, type ParsedFlags, parseFlags } from "./flags.ts";
import { flagsHelp } from "./flags-text.ts";

const data = "Data";
const network = "Network";
const general = "General";

export const flannelStoreFlags: readonly FlagDefinition[] = [
  {
    name: "data-dir",
    kind: "string",
    default: "/var/lib/flannel-store",
    group: data,
    valueName: "DIR",
    description: "Directory of the data; created if it does not exist. Only one process can use it at a time.",
    validate: (value) => (value === "" ? "must not be empty" : undefined),
  },
  {
    name: "history-minutes",
    kind: "int",
    default: 60,
    group: data,
    valueName: "MINUTES",
    description: "How long old values are kept, so that interrupted watches can catch up.",
    validate: (value) => (value >= 1 && value <= 1_000_000 ? undefined : "must be at least 1"),
  },
  {
    name: "quota-mb",
    kind: "int",
    default: 1024,
    group: data,
    valueName: "MEBIBYTES",
    description:
      "How large the database may grow. Beyond that the store refuses to write keys, forgets its history early, and still deletes.",
    validate: (value) => (value >= 16 && value <= 1_048_576 ? undefined : "must be from 16 to 1048576"),
  },
  {
    name: "memory-mb",
    kind: "int",
    default: 64,
    group: network,
    valueName: "MEBIBYTES",
    description:
      "Memory for requests and answers of all clients. If clients do not read or finish theirs, the store closes their connections. A larger answer is sent in pieces.",
    validate: (value) => (value >= 16 && value <= 65_536 ? undefined : "must be from 16 to 65536"),
  },
  {
    name: "listen",
    kind: "strings",
    group: network,
    valueName: "HOST:PORT",
    description:
      "Address to serve on, or `unix://PATH` for a socket that only root and its owner can open; 127.0.0.1:2379 if not given.",
  },
  {
    name: "tls-cert",
    kind: "string",
    default: "",
    group: network,
    valueName: "FILE",
    description: "Certificate of the server (PEM). SIGHUP reloads it.",
  },
  {
    name: "tls-key",
    kind: "string",
    default: "",
    group: network,
    valueName: "FILE",
    description: "Private key of the server.",
  },
  {
    name: "tls-client-ca",
    kind: "string",
    default: "",
    group: network,
    valueName: "FILE",
    description: "Certificate of a CA (PEM): clients must present a certificate signed by it.",
  },
  {
    name: "users-file",
    kind: "string",
    default: "",
    group: network,
    valueName: "FILE",
    description: "File of lines `name:password`, mode 0600: clients must log in as one of these users.",
  },
  {
    name: "cluster",
    kind: "bool",
    default: false,
    group: network,
    description:
      "Serve a cluster made by `flannelctl init`, with the certificates in DIR/cluster: only its members can connect, and hosts can join with a token.",
  },
  {
    name: "insecure",
    kind: "bool",
    default: false,
    group: network,
    description:
      "Serve on addresses other than loopback without TLS or client checks: whoever reaches them can read and change the network.",
  },
  { name: "help", kind: "bool", default: false, group: general, description: "Show this text." },
  { name: "version", kind: "bool", default: false, group: general, description: "Show the version." },
];

export interface StoreProcessOptions {
  readonly dataDirectory: string;
  readonly historyMs: number;
  readonly quotaBytes: number;
  readonly memoryBytes: number;
  readonly listen: readonly ListenTarget[];
  /** Paths. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly clientCaFile?: string };
  readonly usersFile?: string;
  /** TLS and who may call are as `flannelctl init` set them up. */
  readonly isCluster: boolean;
}

export type StoreInvocation =
  | { readonly action: "help"; readonly text: string }
  | { readonly action: "version" }
  | { readonly action: "run"; readonly options: StoreProcessOptions };

/** `argv` without the program's name. Throws `USAGE` with one sentence. */
export function resolveStoreOptions(argv: readonly string[]): StoreInvocation {
  const parsed = parseFlags(flannelStoreFlags, argv, {});
  if (parsed.helpRequested) return { action: "help", text: helpText() };
  if (parsed.versionRequested) return { action: "version" };
  const options = toOptions(parsed);
  if (parsed.values.get("insecure") !== true) checkExposure(options);
  return { action: "run", options };
}

function helpText(): string {
  return (
    "Usage: flannel-store [FLAG]...\n\n" +
    "Serves the part of the etcd v3 API that flannel and etcdctl need, from one process and one file.\n\n" +
    `${flagsHelp(flannelStoreFlags)}\n` +
    "Examples:\n" +
    "  flannel-store --data-dir=/var/lib/flannel-store\n" +
    "  flannel-store --listen=192.0.2.1:2379 --tls-cert=cert.pem --tls-key=key.pem --tls-client-ca=ca.pem\n\n" +
    `Exit codes: ${exitCodes.ok} stopped on request; ${exitCodes.failure} failed; ${exitCodes.usage} wrong flag.\n`
  );
}

function toOptions(parsed: ParsedFlags): StoreProcessOptions {
  const [certFile, keyFile, clientCaFile, usersFile] = ["tls-cert", "tls-key", "tls-client-ca", "users-file"].map(
    (name) => String(parsed.values.get(name)),
  );
  if (!certFile !== !keyFile) throw new FlannelError("USAGE", "--tls-cert and --tls-key belong together: give both");
  if (clientCaFile && !certFile) {
    throw new FlannelError("USAGE", "--tls-client-ca needs --tls-cert and --tls-key: without them there is no TLS");
  }
  const isCluster = parsed.values.get("cluster") === true;
  if (isCluster && (certFile || usersFile || parsed.values.get("insecure") === true)) {
    throw new FlannelError(
      "USAGE",
      "--cluster brings its own certificates and list of members: remove --tls-cert, --tls-key, --tls-client-ca, --users-file and --insecure",
    );
  }
  const listen = parsed.values.get("listen");
  const addresses = Array.isArray(listen) && listen.length > 0 ? listen : ["127.0.0.1:2379"];
  return {
    dataDirectory: String(parsed.values.get("data-dir")),
    historyMs: Number(parsed.values.get("history-minutes")) * 60_000,
    quotaBytes: Number(parsed.values.get("quota-mb")) * 1024 * 1024,
    memoryBytes: Number(parsed.values.get("memory-mb")) * 1024 * 1024,
    listen: addresses.map((address) => parseListenTarget(String(address))),
    ...(certFile && keyFile && { tls: { certFile, keyFile, ...(clientCaFile && { clientCaFile }) } }),
    ...(usersFile && { usersFile }),
    isCluster,
  };
}

/** Whoever can write to the store decides where all hosts send their packets. */
function checkExposure({ listen, tls, usersFile, isCluster }: StoreProcessOptions): void {
  const open = listen.flatMap((target) => ("path" in target || isLoopback(target) ? [] : [target])).at(0);
  if (open === undefined || isCluster) return;
  const missing = [
    ...(tls === undefined ? ["TLS (--tls-cert, --tls-key)"] : []),
    ...(tls?.clientCaFile === undefined && usersFile === undefined
      ? ["client authentication (--tls-client-ca or --users-file)"]
      : []),
  ];
  if (missing.length === 0) return;
  throw new FlannelError(
    "USAGE",
    `--listen ${open.host}:${open.port} can be reached from other hosts, but there is no ${missing.join(" and no ")}: ` +
      "whoever reaches it can redirect the traffic of all containers; add what is missing, or use --insecure on a closed network",
  );
}
