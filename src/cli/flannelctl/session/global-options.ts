// The options every verb takes: from the command line, else from flanneld's environment variables, else from the file
// that `init` or `join` left on this host, else defaults.
import { Option } from "commander";
import { defaultControlSocket, secondControlSocket } from "../../../agent/control/control-socket-path.ts";
import type { Environment } from "../../flags/flags.ts";
import { readEnvFile } from "../../install/env-file.ts";
import { hostPaths } from "../../install/host-paths.ts";
import type { GlobalOptions } from "./invocation.ts";

interface GlobalOptionSpec {
  readonly name: string;
  /** Shared with flanneld, where it is spelled as the flag; an empty value counts as not set. */
  readonly variable: string;
  readonly argument: string;
  readonly fallback: string;
  readonly description: string;
}

const specs = {
  socket: {
    name: "socket",
    variable: "FLANNELD_CONTROL_SOCKET",
    argument: "path",
    fallback: "",
    description: "socket of the agent (default: flanneld.sock in the directory of the subnet file)",
  },
  subnetFile: {
    name: "subnet-file",
    variable: "FLANNELD_SUBNET_FILE",
    argument: "path",
    fallback: "/run/flannel/subnet.env",
    description: "subnet file of the agent",
  },
  stateDir: {
    name: "state-dir",
    variable: "FLANNELD_STATE_DIR",
    argument: "path",
    fallback: "/var/lib/flannel",
    description: "state directory of the agent",
  },
  endpoints: {
    name: "etcd-endpoints",
    variable: "FLANNELD_ETCD_ENDPOINTS",
    argument: "list",
    fallback: "http://127.0.0.1:4001,http://127.0.0.1:2379",
    description: "etcd endpoints, comma separated",
  },
  prefix: {
    name: "etcd-prefix",
    variable: "FLANNELD_ETCD_PREFIX",
    argument: "prefix",
    fallback: "/coreos.com/network",
    description: "key prefix in etcd",
  },
  caFile: {
    name: "etcd-cafile",
    variable: "FLANNELD_ETCD_CAFILE",
    argument: "path",
    fallback: "",
    description: "CA certificates to verify etcd's certificate with",
  },
  certFile: {
    name: "etcd-certfile",
    variable: "FLANNELD_ETCD_CERTFILE",
    argument: "path",
    fallback: "",
    description: "client certificate for etcd",
  },
  keyFile: {
    name: "etcd-keyfile",
    variable: "FLANNELD_ETCD_KEYFILE",
    argument: "path",
    fallback: "",
    description: "private key of the client certificate",
  },
  username: {
    name: "etcd-username",
    variable: "FLANNELD_ETCD_USERNAME",
    argument: "name",
    fallback: "",
    description: "user name for etcd",
  },
  password: {
    name: "etcd-password",
    variable: "FLANNELD_ETCD_PASSWORD",
    argument: "text",
    fallback: "",
    description: "password for etcd; prefer the variable, which ps does not show",
  },
} satisfies Record<string, GlobalOptionSpec>;

/** For the root command; recognised before and after a verb. */
export function globalOptions(): Option[] {
  const valued = Object.values(specs).map((spec: GlobalOptionSpec) => {
    const fallback = spec.fallback === "" ? "" : ` (default: ${spec.fallback})`;
    return new Option(`--${spec.name} <${spec.argument}>`, `${spec.description}${fallback} [env: ${spec.variable}]`);
  });
  const root = new Option("--root <dir>", "directory for all files that init and join write (default: /)");
  return [new Option("--json", "machine-readable output"), root, ...valued];
}

/** `parsed` is what commander collected, by camel-cased flag name. Throws `FILE_FAILED`: see `readEnvFile`. */
export function resolveGlobalOptions(parsed: Readonly<Record<string, unknown>>, env: Environment): GlobalOptions {
  const paths = hostPaths(typeof parsed["root"] === "string" ? parsed["root"] : "");
  const hostFile = readEnvFile(paths.envFile);
  const given = (spec: GlobalOptionSpec): string | undefined => {
    const flag = parsed[camelCase(spec.name)];
    if (typeof flag === "string") return flag;
    const fromEnvironment = env[spec.variable] ?? "";
    return fromEnvironment === "" ? undefined : fromEnvironment;
  };
  const value = (spec: GlobalOptionSpec) => given(spec) ?? hostFile[spec.variable] ?? spec.fallback;
  // Whoever names a store means that one, without the files that belong to another.
  const isStoreNamed = given(specs.endpoints) !== undefined;
  const storeValue = (spec: GlobalOptionSpec) => (isStoreNamed ? (given(spec) ?? spec.fallback) : value(spec));
  const subnetFile = value({ ...specs.subnetFile, fallback: paths.subnetFile });
  const socket = value(specs.socket);
  return {
    json: parsed["json"] === true,
    paths,
    subnetFile,
    socketPaths: socket === "" ? [secondControlSocket(subnetFile), defaultControlSocket(subnetFile)] : [socket],
    stateDirectory: value({ ...specs.stateDir, fallback: paths.stateDirectory }),
    etcd: {
      endpoints: storeValue(specs.endpoints),
      prefix: storeValue(specs.prefix),
      caFile: storeValue(specs.caFile),
      certFile: storeValue(specs.certFile),
      keyFile: storeValue(specs.keyFile),
      username: storeValue(specs.username),
      password: storeValue(specs.password),
    },
  };
}

function camelCase(name: string): string {
  return name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
