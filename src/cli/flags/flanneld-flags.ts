// flanneld's command line and environment, resolved to AgentOptions. Pure.
import { dirname } from "node:path";
import { defaultControlSocket } from "../../agent/control/control-socket-path.ts";
import type { AgentOptions, EtcdOptions, KubernetesOptions } from "../../config/agent-options.ts";
import { cniFileRule } from "../../config/cni-boot-lines.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { exitCodes } from "../../exit-codes.ts";
import { type Address, parseAddress } from "../../ip/address.ts";
import { compileGoRegex } from "../../underlay/go-regex.ts";
import { type Environment, type ParsedFlags, parseFlags } from "./flags.ts";
import { describeGiven, flagsHelp } from "./flags-text.ts";
import { flanneldFlags } from "./flanneld-flag-table.ts";
import { parseListenAddress } from "./metrics-flags.ts";
import { severalNetworks } from "./network-flags.ts";
import { probeIntervalMs } from "./probe-flags.ts";

/** What the command line asks for. */
export type FlanneldInvocation =
  /** Print `text` to stdout, exit 0. */
  | { readonly action: "help"; readonly text: string }
  /** Print the version to stdout, exit 0. */
  | { readonly action: "version" }
  | {
      readonly action: "run";
      readonly options: AgentOptions;
      /** Odd but workable; for the log. */
      readonly warnings: readonly string[];
      /** What was given by flag or variable, without secrets; for the log. */
      readonly given: Readonly<Record<string, string>>;
    };

export const flanneldUsageHint = "flanneld --help lists the flags";

/** `argv` without the program's name. Throws `USAGE` (exit 2) with one sentence. */
export function resolveAgentOptions(argv: readonly string[], env: Environment): FlanneldInvocation {
  const parsed = parseFlags(flanneldFlags, argv, env);
  if (parsed.helpRequested) return { action: "help", text: helpText() };
  if (parsed.versionRequested) return { action: "version" };
  return {
    action: "run",
    options: Object.freeze(toOptions(parsed, env)),
    warnings: parsed.warnings,
    given: describeGiven(flanneldFlags, parsed),
  };
}

function helpText(): string {
  return (
    "Usage: flanneld [FLAG]...\n\n" +
    "Leases a subnet for this host and connects its containers with those on other hosts.\n" +
    "Each flag can also be set by an environment variable: --etcd-prefix by FLANNELD_ETCD_PREFIX.\n\n" +
    `${flagsHelp(flanneldFlags)}\n` +
    "Examples:\n" +
    "  flanneld --etcd-endpoints=http://192.0.2.1:2379 --iface=eth1\n" +
    "  flanneld --kube-subnet-mgr --ip-masq --kubeconfig-file=/etc/flannel/kubeconfig\n\n" +
    `Exit codes: ${exitCodes.ok} stopped on request; ${exitCodes.failure} failed; ${exitCodes.usage} wrong flag or network config;\n` +
    `  ${exitCodes.leaseLost} another owner holds its lease.\n`
  );
}

function toOptions(parsed: ParsedFlags, env: Environment): AgentOptions {
  const subnetFile = text(parsed, "subnet-file");
  const [canReach, publicIp, publicIpv6] = ["iface-can-reach", "public-ip", "public-ipv6"].map((name) =>
    address(text(parsed, name)),
  );
  const healthzPort = int(parsed, "healthz-port");
  const store = chosenStore(parsed);
  const several = severalNetworks(parsed, store);
  const cni = cniOptions(parsed);
  return {
    store,
    etcd: Object.freeze(etcdOptions(parsed)),
    ...(text(parsed, "store-listen") !== "" && { storeListen: text(parsed, "store-listen") }),
    kubernetes: Object.freeze(kubernetesOptions(parsed, env)),
    interfaces: list(parsed, "iface"),
    interfaceRegexes: regexes(parsed, "iface-regex"),
    ...(canReach !== undefined && { canReach }),
    ...(publicIp !== undefined && { publicIp }),
    ...(publicIpv6 !== undefined && { publicIpv6 }),
    subnetFile,
    ...(several !== undefined && { several }),
    ...(cni !== undefined && { cni }),
    cniStateDirectory: text(parsed, "cni-state-dir"),
    stateDirectory: text(parsed, "state-dir"),
    controlSocket: text(parsed, "control-socket") || defaultControlSocket(several?.directory ?? subnetFile),
    renewMarginMs: int(parsed, "subnet-lease-renew-margin") * 60_000,
    // As in flannel, a port of 0 or below turns the health checks off, and no address means all of them.
    ...(healthzPort > 0 && {
      healthz: { ip: address(text(parsed, "healthz-ip")) ?? parseAddress("0.0.0.0"), port: healthzPort },
    }),
    metrics: Object.freeze(metricsOptions(parsed)),
    rules: Object.freeze({
      masquerade: bool(parsed, "ip-masq"),
      randomFully: !bool(parsed, "ip-masq-fully-random-disable"),
      forward: bool(parsed, "iptables-forward-rules"),
      resyncMs: int(parsed, "iptables-resync") * 1_000,
      blackholeRoute: bool(parsed, "ip-blackhole-route"),
    }),
    probeIntervalMs: probeIntervalMs(text(parsed, "probe-interval")) ?? 0,
    pathMtu: pathMtu(parsed),
    logFormat: text(parsed, "log-format") === "json" ? "json" : "text",
    verbosity: Math.max(0, int(parsed, "v")),
  };
}

function pathMtu(parsed: ParsedFlags): AgentOptions["pathMtu"] {
  if (text(parsed, "path-mtu") !== "repair") return "show";
  if (probeIntervalMs(text(parsed, "probe-interval")) !== 0) return "repair";
  throw new FlannelError(
    "USAGE",
    "--path-mtu=repair needs probes, which find what paths carry: remove --probe-interval=0",
  );
}

function metricsOptions(parsed: ParsedFlags): AgentOptions["metrics"] {
  const given = text(parsed, "metrics-addr");
  const isPerPeer = bool(parsed, "metrics-per-peer");
  return given === "" ? { isPerPeer } : { address: parseListenAddress(given), isPerPeer };
}

function cniOptions(parsed: ParsedFlags): AgentOptions["cni"] {
  const [file = "", template = "", target = "", bootFile = ""] = ["file", "template", "target"]
    .map((name) => text(parsed, `cni-conf-${name}`))
    .concat(text(parsed, "cni-boot-file"));
  if (file === "") {
    if (target !== "") throw new FlannelError("USAGE", "--cni-conf-target needs --cni-conf-file, the link to it");
    if (bootFile !== "")
      throw new FlannelError("USAGE", "--cni-boot-file needs --cni-conf-file, the file to remove at boot");
    if (template === "") return undefined;
    throw new FlannelError("USAGE", "--cni-conf-template needs --cni-conf-file, the file to make from it");
  }
  if (target !== "" && dirname(target) === dirname(file)) {
    throw new FlannelError(
      "USAGE",
      "--cni-conf-target must be in another directory than --cni-conf-file, such as /run/flannel",
    );
  }
  const wrong = bootFile === "" ? undefined : cniFileRule(file);
  if (wrong !== undefined) throw new FlannelError("USAGE", `with --cni-boot-file, --cni-conf-file ${wrong}`);
  return { file, template, ...(target !== "" && { target }), ...(bootFile !== "" && { bootFile }) };
}

/** Throws `USAGE` when an etcd is named that would not be asked. As in flannel, Kubernetes goes before etcd's flags. */
function chosenStore(parsed: ParsedFlags): AgentOptions["store"] {
  const store = namedStore(parsed);
  if (store === "embedded" || text(parsed, "store-listen") === "") return store;
  throw new FlannelError("USAGE", "--store-listen is for --store=embedded: remove it");
}

function namedStore(parsed: ParsedFlags): AgentOptions["store"] {
  if (bool(parsed, "kube-subnet-mgr")) {
    if (!parsed.sources.has("store")) return "kubernetes";
    throw new FlannelError("USAGE", "--kube-subnet-mgr keeps the leases in Kubernetes: remove --store");
  }
  if (text(parsed, "store") !== "embedded") return "etcd";
  const given = [
    "endpoints",
    "cafile",
    "certfile",
    "keyfile",
    "cert-renew",
    "username",
    "password",
    "password-file",
  ].find((name) => parsed.sources.has(`etcd-${name}`));
  if (given === undefined) return "embedded";
  throw new FlannelError("USAGE", `--store=embedded keeps the leases on this host: remove --etcd-${given}`);
}

function kubernetesOptions(parsed: ParsedFlags, env: Environment): KubernetesOptions {
  const [apiUrl, kubeconfigFile] = [text(parsed, "kube-api-url"), text(parsed, "kubeconfig-file")];
  const [nodeName = "", name = "", namespace = ""] = ["NODE_NAME", "POD_NAME", "POD_NAMESPACE"].map((key) => env[key]);
  return {
    ...(apiUrl !== "" && { apiUrl }),
    ...(kubeconfigFile !== "" && { kubeconfigFile }),
    annotationPrefix: text(parsed, "kube-annotation-prefix"),
    netConfigFile: text(parsed, "net-config-path"),
    setsNodeCondition: bool(parsed, "set-node-network-unavailable"),
    ...(nodeName !== "" && { nodeName }),
    ...(name !== "" && namespace !== "" && { pod: { namespace, name } }),
  };
}

function etcdOptions(parsed: ParsedFlags): EtcdOptions {
  const [caFile, certFile, keyFile] = ["etcd-cafile", "etcd-certfile", "etcd-keyfile"].map((name) =>
    text(parsed, name),
  );
  const renewsCertificate = bool(parsed, "etcd-cert-renew");
  if (renewsCertificate && (certFile === "" || keyFile === "")) {
    throw new FlannelError(
      "USAGE",
      "--etcd-cert-renew needs --etcd-certfile and --etcd-keyfile, which name the certificate to renew",
    );
  }
  const endpoints = text(parsed, "etcd-endpoints");
  if (renewsCertificate && /(^|,)\s*http:/i.test(endpoints)) {
    throw new FlannelError("USAGE", "--etcd-cert-renew needs https:// endpoints: http:// uses no certificate");
  }
  return {
    endpoints,
    prefix: text(parsed, "etcd-prefix"),
    tls: { ...(caFile && { caFile }), ...(certFile && { certFile }), ...(keyFile && { keyFile }) },
    ...(renewsCertificate && { renewsCertificate }),
    ...login(parsed),
  };
}

function login(parsed: ParsedFlags): Pick<EtcdOptions, "username" | "password" | "passwordFile"> {
  const [username, password, passwordFile] = ["etcd-username", "etcd-password", "etcd-password-file"].map((name) =>
    text(parsed, name),
  );
  if (passwordFile && password) {
    throw new FlannelError("USAGE", "--etcd-password-file and --etcd-password are both given: give one of them");
  }
  if (passwordFile && !username) {
    throw new FlannelError("USAGE", "--etcd-password-file needs --etcd-username, whose password it holds");
  }
  if (!username) return {};
  if (passwordFile) return { username, passwordFile };
  return password ? { username, password } : {};
}

/** Empty entries mean "no choice", so that `--iface=$IFACE` works with the variable unset. */
function list(parsed: ParsedFlags, name: string): readonly string[] {
  const value = parsed.values.get(name);
  if (!Array.isArray(value)) throw new TypeError(`--${name} is not repeatable`);
  return Object.freeze(value.filter((entry) => entry !== ""));
}

/** Compiled only to find out what is wrong with them while the operator is still looking. */
function regexes(parsed: ParsedFlags, name: string): readonly string[] {
  const patterns = list(parsed, name);
  for (const pattern of patterns) {
    try {
      compileGoRegex(pattern);
    } catch (error) {
      throw new FlannelError("USAGE", describeError(error).slice(0, 300), { cause: error });
    }
  }
  return patterns;
}

function text(parsed: ParsedFlags, name: string): string {
  const value = parsed.values.get(name);
  if (typeof value !== "string") throw new TypeError(`--${name} is not a string flag`);
  return value;
}

function int(parsed: ParsedFlags, name: string): number {
  const value = parsed.values.get(name);
  if (typeof value !== "number") throw new TypeError(`--${name} is not an int flag`);
  return value;
}

function bool(parsed: ParsedFlags, name: string): boolean {
  const value = parsed.values.get(name);
  if (typeof value !== "boolean") throw new TypeError(`--${name} is not a bool flag`);
  return value;
}

function address(value: string): Address | undefined {
  return value === "" ? undefined : parseAddress(value);
}
