// The options every verb takes: from the command line, else from flanneld's environment variables, else from the file
// that `init` or `join` left on this host, else defaults.

import { existsSync } from "node:fs";
import { join, posix } from "node:path";
import { Option } from "commander";
import { defaultControlSocket, secondControlSocket } from "../../../agent/control/control-socket-path.ts";
import type { KubernetesOptions } from "../../../config/agent-options.ts";
import { USUAL_ANNOTATION_PREFIX } from "../../../config/annotation-prefix.ts";
import { isNetworkName, NETWORK_NAME_RULE } from "../../../config/network-name.ts";
import { FlannelError } from "../../../errors.ts";
import type { Environment } from "../../flags/flags.ts";
import { tryParseGoBool } from "../../flags/go-values.ts";
import { readEnvFile } from "../../install/env-file.ts";
import { hostPaths } from "../../install/host-paths.ts";
import type { GlobalOptions } from "./invocation.ts";

const KUBERNETES_VARIABLE = "FLANNELD_KUBE_SUBNET_MGR";
const SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

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
  subnetDir: {
    name: "subnet-dir",
    variable: "FLANNELD_SUBNET_DIR",
    argument: "path",
    fallback: "/run/flannel/networks",
    description: "directory of the subnet files of an agent that serves several networks",
  },
  stateDir: {
    name: "state-dir",
    variable: "FLANNELD_STATE_DIR",
    argument: "path",
    fallback: "/var/lib/flannel",
    description: "state directory of the agent",
  },
  cniStateDir: {
    name: "cni-state-dir",
    variable: "FLANNELD_CNI_STATE_DIR",
    argument: "path",
    fallback: "/var/lib/cni",
    description: "where CNI plugins and the container runtime keep what they know of containers",
  },
  endpoints: {
    name: "etcd-endpoints",
    variable: "FLANNELD_ETCD_ENDPOINTS",
    argument: "list",
    fallback: "http://127.0.0.1:4001,http://127.0.0.1:2379",
    description:
      "etcd endpoints, comma separated; if none are named, first the store of an agent with --store=embedded",
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
  passwordFile: {
    name: "etcd-password-file",
    variable: "FLANNELD_ETCD_PASSWORD_FILE",
    argument: "path",
    fallback: "",
    description: "file that holds the password for etcd",
  },
  kubeconfig: {
    name: "kubeconfig",
    variable: "FLANNELD_KUBECONFIG_FILE",
    argument: "path",
    fallback: "",
    description: "kubeconfig file of the cluster whose Nodes are the leases; in the agent's pod none is needed",
  },
  kubeApiUrl: {
    name: "kube-api-url",
    variable: "FLANNELD_KUBE_API_URL",
    argument: "url",
    fallback: "",
    description: "Kubernetes API server, in place of the one in the kubeconfig file",
  },
  annotationPrefix: {
    name: "kube-annotation-prefix",
    variable: "FLANNELD_KUBE_ANNOTATION_PREFIX",
    argument: "prefix",
    fallback: USUAL_ANNOTATION_PREFIX,
    description: "prefix of flannel's annotations on Nodes",
  },
  netConfigFile: {
    name: "net-config-path",
    variable: "FLANNELD_NET_CONFIG_PATH",
    argument: "path",
    fallback: "/etc/kube-flannel/net-conf.json",
    description: "network configuration in Kubernetes; where there is none, the ConfigMap kube-flannel-cfg",
  },
} satisfies Record<string, GlobalOptionSpec>;

/** For the root command; recognised before and after a verb. */
export function globalOptions(): Option[] {
  const valued = Object.values(specs).map((spec: GlobalOptionSpec) => {
    const fallback = spec.fallback === "" ? "" : ` (default: ${spec.fallback})`;
    return new Option(`--${spec.name} <${spec.argument}>`, `${spec.description}${fallback} [env: ${spec.variable}]`);
  });
  const root = new Option("--root <dir>", "directory for all files that init and join write (default: /)");
  const network = new Option(
    "--network <name>",
    "one of the networks of an agent that serves several (--networks, --watch-networks)",
  );
  const kubernetes = new Option(
    "--kube-subnet-mgr",
    `the leases are the Nodes of a Kubernetes cluster; implied by --kubeconfig, and in a pod [env: ${KUBERNETES_VARIABLE}]`,
  );
  return [new Option("--json", "machine-readable output"), root, network, ...valued, kubernetes];
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
  const kubernetes = kubernetesOptions(parsed, env, hostFile, given, value);
  const network = networkName(parsed["network"]);
  const subnetDirectory = value(specs.subnetDir);
  const isSeveral = network !== undefined || servesSeveral((variable) => env[variable] || hostFile[variable] || "");
  const subnetFile =
    network === undefined
      ? value({ ...specs.subnetFile, fallback: paths.subnetFile })
      : join(subnetDirectory, `${network}.env`);
  const agentPlace = isSeveral ? subnetDirectory : subnetFile;
  const prefix = storeValue(specs.prefix);
  const socket = value(specs.socket);
  return {
    json: parsed["json"] === true,
    paths,
    ...(network !== undefined && { network }),
    ...(isSeveral && network === undefined && { several: { subnetDirectory, prefix } }),
    subnetFile,
    socketPaths: socket === "" ? [secondControlSocket(agentPlace), defaultControlSocket(agentPlace)] : [socket],
    stateDirectory: value({ ...specs.stateDir, fallback: paths.stateDirectory }),
    cniStateDirectory: value(specs.cniStateDir),
    ...(kubernetes !== undefined && { kubernetes }),
    isStoreNamed: isStoreNamed || hostFile[specs.endpoints.variable] !== undefined,
    etcd: {
      endpoints: storeValue(specs.endpoints),
      prefix: network === undefined ? prefix : posix.join(prefix, network),
      caFile: storeValue(specs.caFile),
      certFile: storeValue(specs.certFile),
      keyFile: storeValue(specs.keyFile),
      ...login(parsed, storeValue),
    },
  };
}

function networkName(text: unknown): string | undefined {
  if (text === undefined || (typeof text === "string" && isNetworkName(text))) return text;
  throw new FlannelError("USAGE", `--network is the name of a network: it ${NETWORK_NAME_RULE}`);
}

/** As flanneld reads its own variables. */
function servesSeveral(variable: (name: string) => string): boolean {
  return variable("FLANNELD_NETWORKS") !== "" || tryParseGoBool(variable("FLANNELD_WATCH_NETWORKS")) === true;
}

/** By the rules of flanneld, but that a flag outweighs a variable: the two may come from different files. */
function login(
  parsed: Readonly<Record<string, unknown>>,
  value: ReadOption<string>,
): { readonly username: string; readonly password: string; readonly passwordFile: string } {
  const isFlag = (spec: GlobalOptionSpec) => typeof parsed[camelCase(spec.name)] === "string";
  const [username, password, passwordFile] = [value(specs.username), value(specs.password), value(specs.passwordFile)];
  if (password !== "" && passwordFile !== "") {
    if (isFlag(specs.password) === isFlag(specs.passwordFile)) {
      throw new FlannelError("USAGE", "--etcd-password-file and --etcd-password are both given: give one of them");
    }
    return isFlag(specs.password) ? { username, password, passwordFile: "" } : { username, password: "", passwordFile };
  }
  if (passwordFile !== "" && username === "") {
    throw new FlannelError("USAGE", "--etcd-password-file needs --etcd-username, whose password it holds");
  }
  return { username, password, passwordFile };
}

type ReadOption<T> = (spec: GlobalOptionSpec) => T;

/** Undefined where the store is an etcd. */
function kubernetesOptions(
  parsed: Readonly<Record<string, unknown>>,
  env: Environment,
  hostFile: Environment,
  given: ReadOption<string | undefined>,
  value: ReadOption<string>,
): KubernetesOptions | undefined {
  const flag = env[KUBERNETES_VARIABLE] ?? hostFile[KUBERNETES_VARIABLE] ?? "";
  const isAsked = parsed["kubeSubnetMgr"] === true || tryParseGoBool(flag) === true;
  const isNamed = given(specs.kubeconfig) !== undefined || given(specs.kubeApiUrl) !== undefined;
  const isEtcdNamed = given(specs.endpoints) !== undefined || hostFile[specs.endpoints.variable] !== undefined;
  // An agent in a pod without an etcd of its own has its leases from the cluster around it.
  const isInPod = (env["KUBERNETES_SERVICE_HOST"] ?? "") !== "" && existsSync(SERVICE_ACCOUNT_TOKEN);
  if (!isAsked && !isNamed && (isEtcdNamed || !isInPod)) return undefined;
  const [kubeconfigFile, apiUrl] = [value(specs.kubeconfig), value(specs.kubeApiUrl)];
  const [nodeName = "", name = "", namespace = ""] = ["NODE_NAME", "POD_NAME", "POD_NAMESPACE"].map((key) => env[key]);
  return {
    annotationPrefix: value(specs.annotationPrefix),
    netConfigFile: value(specs.netConfigFile),
    setsNodeCondition: false,
    ...(kubeconfigFile !== "" && { kubeconfigFile }),
    ...(apiUrl !== "" && { apiUrl }),
    ...(nodeName !== "" && { nodeName }),
    ...(name !== "" && namespace !== "" && { pod: { namespace, name } }),
  };
}

function camelCase(name: string): string {
  return name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
