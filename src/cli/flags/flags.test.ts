import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { FlannelError } from "../../errors.ts";
import { type FlagDefinition, type ParsedFlags, parseFlags } from "./flags.ts";
import { flanneldFlags } from "./flanneld-flag-table.ts";
import { resolveAgentOptions } from "./flanneld-flags.ts";
import { tryParseGoBool, tryParseGoInt } from "./go-values.ts";

const table: readonly FlagDefinition[] = [
  { name: "masq", kind: "bool", default: false, group: "Test", description: "A bool." },
  {
    name: "n",
    kind: "int",
    default: 5,
    group: "Test",
    description: "An int.",
    validate: (n) => (n > 9000 ? "must be small" : undefined),
  },
  { name: "name", kind: "string", default: "x", group: "Test", description: "A string." },
  { name: "iface", kind: "strings", group: "Test", description: "Strings." },
  { name: "secret", kind: "int", default: 0, group: "Test", description: "Hidden.", isSecret: true },
  { name: "log_at", kind: "string", default: "", group: "Test", description: "Underscores." },
  { name: "idle", kind: "bool", default: true, group: "Test", description: "Idle.", hasNoEffect: true },
  { name: "version", kind: "bool", default: false, group: "Test", description: "Version.", fromEnvironment: false },
];

function given(parsed: ParsedFlags): string {
  return [...parsed.sources.keys()].map((name) => `${name}=${String(parsed.values.get(name))}`).join(" ");
}

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof FlannelError && error.code === "USAGE") return error.message;
    throw error;
  }
  throw new Error("accepted");
}

describe("parseFlags", () => {
  it.each([
    ["-n 3", "n=3"],
    ["--n=3 -name a", "n=3 name=a"],
    ["-n=0x10", "n=16"],
    ["-n -5", "n=-5"],
    ["-masq -n 010", "masq=true n=8"],
    ["--masq=F", "masq=false"],
    ["--masq=1 --masq=0", "masq=false"],
    ["--name=a=b", "name=a=b"],
    ["--name=", "name="],
    ["--name -n", "name=-n"],
    ["--iface a --iface=b -iface c,d", "iface=a,b,c,d"],
    ["--n=3 --", "n=3"],
    ["", ""],
  ])("reads %j as Go does", (argv, expected) => {
    expect(given(parseFlags(table, argv === "" ? [] : argv.split(" "), {}))).toBe(expected);
  });

  it.each([
    ["--masq false -n 5", 'unexpected argument "false"; did you mean --masq=false?'],
    ["--masq x", 'unexpected argument "x"'],
    ["-n 3 -- name", 'unexpected argument "name"'],
    ["-", 'unexpected argument "-"'],
    ["--nmae=a", 'unknown flag "--nmae" (did you mean --name?)'],
    ["--zzzzzz", 'unknown flag "--zzzzzz"'],
    ["---n=3", '"---n=3" is not a flag: flags are written --name=value'],
    ["--=3", '"--=3" is not a flag: flags are written --name=value'],
    ["-n", "--n needs a value"],
    ["-n=", '--n must be a whole number, not ""'],
    ["-n=1.5", '--n must be a whole number, not "1.5"'],
    ["-n=08", '--n must be a whole number, not "08"'],
    ["-n=9223372036854775808", "--n must be a whole number"],
    ["-n=9001", '--n must be small, not "9001"'],
    ["--masq=yes", '--masq must be true or false, not "yes"'],
    ["--secret=hunter2", "--secret must be a whole number, not (hidden)"],
  ])("refuses %j", (argv, message) => {
    expect(failure(() => parseFlags(table, argv.split(" "), {}))).toContain(message);
  });

  it("fills in from the environment what the command line leaves out", () => {
    const env = {
      FLANNELD_N: "0x11",
      FLANNELD_NAME: "env",
      FLANNELD_IFACE: "a,b",
      FLANNELD_LOG_AT: "l",
      FLANNELD_MASQ: "",
    };
    const parsed = parseFlags(table, ["--name=flag"], env);
    expect(given(parsed)).toBe("name=flag n=17 iface=a,b log_at=l");
    expect(parsed.values.get("iface")).toEqual(["a,b"]);
    expect(parsed.sources.get("n")).toBe("environment");
  });

  it("refuses a bad variable and warns about an unknown one", () => {
    expect(failure(() => parseFlags(table, [], { FLANNELD_N: "x" }))).toBe(
      'FLANNELD_N must be a whole number, not "x"',
    );
    expect(parseFlags(table, [], { FLANNELD_NAEM: "x", OTHER: "y", FLANNELD_VERSION: "1" }).warnings).toEqual([
      "environment variable FLANNELD_NAEM is not known (did you mean FLANNELD_NAME?)",
      "environment variable FLANNELD_VERSION is not known",
    ]);
  });

  it("accepts what has no effect, once warned about, and still refuses a wrong value of it", () => {
    const parsed = parseFlags(table, ["--idle=false", "--idle", "-n=3"], {});
    expect(given(parsed)).toBe("idle=true n=3");
    expect(parsed.warnings).toEqual(["--idle has no effect in this version"]);
    expect(parseFlags(table, [], { FLANNELD_IDLE: "0" }).warnings).toEqual([
      "FLANNELD_IDLE has no effect in this version",
    ]);
    expect(failure(() => parseFlags(table, [], { FLANNELD_IDLE: "x" }))).toContain(
      "FLANNELD_IDLE must be true or false",
    );
  });

  it("stops reading at -h, and does not read the environment for --version", () => {
    expect(parseFlags(table, ["-h", "--bogus"], {}).helpRequested).toBe(true);
    expect(parseFlags(table, ["--n=3", "-help"], { FLANNELD_N: "x" }).helpRequested).toBe(true);
    expect(parseFlags(table, ["--version", "rest"], { FLANNELD_N: "x" }).versionRequested).toBe(true);
    expect(failure(() => parseFlags(table, ["--version", "--bogus"], {}))).toContain("unknown flag");
  });
});

describe("Go values", () => {
  it.each([
    ["0", 0],
    ["-0", 0],
    ["+7", 7],
    ["0b101", 5],
    ["0o17", 15],
    ["0O17", 15],
    ["017", 15],
    ["0X_1f", 31],
    ["1_000", 1000],
    ["0_7", 7],
    ["9223372036854775807", 2 ** 63],
    ["-9223372036854775808", -(2 ** 63)],
  ])("int %s", (text, value) => expect(tryParseGoInt(text)).toEqual(value));

  it.each([
    "",
    "+",
    "-",
    "_1",
    "1_",
    "1__0",
    "0x",
    "0x_",
    "0b2",
    "08",
    "0_8",
    "1e3",
    " 1",
    "1 ",
    "--1",
    "９",
    "9223372036854775808",
    "1n",
  ])("no int %j", (text) => expect(tryParseGoInt(text)).toBeUndefined());

  it("agrees with JavaScript on random numbers and never throws on text", () => {
    fc.assert(
      fc.property(fc.integer(), fc.string(), (number, text) => {
        const hex = `${number < 0 ? "-" : ""}0x${Math.abs(number).toString(16)}`;
        const octal = `${number < 0 ? "-" : ""}0${Math.abs(number).toString(8)}`;
        if (tryParseGoInt(String(number)) !== number || tryParseGoInt(hex) !== number) throw new Error(hex);
        if (tryParseGoInt(octal) !== number) throw new Error(octal);
        tryParseGoInt(text);
        tryParseGoBool(text);
      }),
      propertyRuns(100_000),
    );
  });
});

describe("resolveAgentOptions", () => {
  function run(argv: readonly string[], env: Record<string, string> = {}) {
    const invocation = resolveAgentOptions(argv, env);
    if (invocation.action !== "run") throw new Error(invocation.action);
    return invocation;
  }

  it("has flannel's defaults", () => {
    expect(run([]).options).toEqual({
      cniStateDirectory: "/var/lib/cni",
      probeIntervalMs: 1_000,
      pathMtu: "show",
      store: "etcd",
      kubernetes: {
        annotationPrefix: "flannel.alpha.coreos.com",
        netConfigFile: "/etc/kube-flannel/net-conf.json",
        setsNodeCondition: true,
      },
      etcd: { endpoints: "http://127.0.0.1:4001,http://127.0.0.1:2379", prefix: "/coreos.com/network", tls: {} },
      interfaces: [],
      interfaceRegexes: [],
      subnetFile: "/run/flannel/subnet.env",
      stateDirectory: "/var/lib/flannel",
      controlSocket: "/run/flannel/flanneld.sock",
      renewMarginMs: 3_600_000,
      metrics: { isPerPeer: false },
      rules: { masquerade: false, randomFully: true, forward: true, resyncMs: 5_000, blackholeRoute: false },
      logFormat: "text",
      verbosity: 0,
    });
  });

  it("has systemd remove at boot only a file that a line of tmpfiles.d can name", () => {
    const bootFile = "--cni-boot-file=/etc/tmpfiles.d/flannel-cni.conf";
    const cni = {
      file: "/etc/cni/net.d/10-flannel.conflist",
      template: "",
      bootFile: "/etc/tmpfiles.d/flannel-cni.conf",
    };
    expect(run([`--cni-conf-file=${cni.file}`, bootFile]).options.cni).toEqual(cni);
    expect(failure(() => run([bootFile]))).toContain("--cni-boot-file needs --cni-conf-file");
    for (const file of ["/etc/cni/net.d/*", "10-flannel.conflist", "/etc/cni/../shadow", "/etc/cni/%m"]) {
      expect(
        failure(() => run([`--cni-conf-file=${file}`, bootFile])),
        file,
      ).toContain("--cni-conf-file must be an absolute");
    }
    const elsewhere = [`--cni-conf-file=${cni.file}`, "--cni-boot-file=/run/tmpfiles.d/x.conf"];
    expect(failure(() => run(elsewhere))).toContain("directory tmpfiles.d");
  });

  it("refuses a left-over argument, which flannel ignores with all flags behind it", () => {
    expect(failure(() => run(["-ip-masq", "true", "-iface", "eth1"]))).toBe(
      'unexpected argument "true"; did you mean --ip-masq=true?',
    );
  });

  it("accepts flannel's flags for klog with a warning", () => {
    const { warnings, options } = run("--vmodule=main=4 --log_backtrace_at=main.go:1".split(" "));
    expect(warnings.map((warning) => warning.split(" ")[0])).toEqual(["--vmodule", "--log_backtrace_at"]);
    expect(options).toEqual(run([]).options);
    expect(run([], { FLANNELD_VMODULE: "main=4" }).warnings).toHaveLength(1);
  });

  it("takes what Kubernetes gives by flags and by the environment of a pod", () => {
    const env = { NODE_NAME: "n1", POD_NAME: "p", POD_NAMESPACE: "kube-flannel", FLANNELD_KUBE_SUBNET_MGR: "true" };
    const { options } = run(["--kubeconfig-file=/k", "--set-node-network-unavailable=false"], env);
    expect(options).toMatchObject({
      store: "kubernetes",
      kubernetes: {
        ...{ kubeconfigFile: "/k", annotationPrefix: "flannel.alpha.coreos.com", setsNodeCondition: false },
        ...{ nodeName: "n1", pod: { namespace: "kube-flannel", name: "p" } },
      },
    });
    expect(() => run(["--store=etcd"], env)).toThrow("--kube-subnet-mgr keeps the leases in Kubernetes");
  });

  it("refuses an etcd beside the embedded store", () => {
    expect(run(["--store=embedded"]).options.store).toBe("embedded");
    expect(() => run(["--store=embedded", "--etcd-endpoints=http://10.0.0.1:2379"])).toThrow(
      "--store=embedded keeps the leases on this host: remove --etcd-endpoints",
    );
    expect(() => run(["--store=sqlite"])).toThrow('--store must be etcd or embedded, not "sqlite"');
  });

  it("resolves what is given", () => {
    const { options } = run([
      ..."--iface eth1 --iface= --iface-regex eth.* --iface-can-reach 192.0.2.9 --public-ip 192.0.2.1".split(" "),
      ..."--public-ipv6 2001:DB8::1 --subnet-file /run/x/y.env --subnet-lease-renew-margin 1439 --healthz-port 8081".split(
        " ",
      ),
      ..."-v 4 --log-format=json --etcd-cafile=ca --etcd-username u --etcd-password p --ip-masq=false".split(" "),
    ]);
    expect(options).toMatchObject({
      interfaces: ["eth1"],
      interfaceRegexes: ["eth.*"],
      canReach: "192.0.2.9",
      publicIp: "192.0.2.1",
      publicIpv6: "2001:db8::1",
      controlSocket: "/run/x/flanneld.sock",
      renewMarginMs: 86_340_000,
      healthz: { ip: "0.0.0.0", port: 8081 },
      verbosity: 4,
      logFormat: "json",
    });
    expect(options.etcd).toMatchObject({ tls: { caFile: "ca" }, username: "u", password: "p" });
    expect(Object.isFrozen(options)).toBe(true);
  });

  it("takes the password for etcd from a file, when nothing contradicts it", () => {
    const file = "--etcd-password-file=/etc/p";
    const { etcd } = run(["--etcd-username=u", file]).options;
    expect(etcd).toMatchObject({ username: "u", passwordFile: "/etc/p" });
    expect(failure(() => run([file]))).toContain("--etcd-password-file needs --etcd-username");
    expect(failure(() => run(["--etcd-username=u", "--etcd-password=p", file]))).toContain("give one of them");
  });

  it("refuses to have a certificate renewed that plain http:// does not use", () => {
    const files = ["--etcd-certfile=c", "--etcd-keyfile=k", "--etcd-cert-renew"];
    expect(failure(() => run(files))).toContain("--etcd-cert-renew needs https:// endpoints");
    expect(run([...files, "--etcd-endpoints=https://h:1"]).options.etcd.renewsCertificate).toBe(true);
  });

  it("tells for the log what was given, without secrets", () => {
    const { given: shown } = run(["--etcd-password=hunter2", "--etcd-endpoints=http://a:hunter2@h:1"], {
      FLANNELD_IFACE: "eth1",
    });
    expect(shown).toEqual({ "etcd-password": "(hidden)", "etcd-endpoints": "http://(hidden)@h:1", iface: "eth1" });
    expect(run(["--etcd-username=u"]).options.etcd.username).toBeUndefined();
  });

  it.each([
    ["--subnet-lease-renew-margin=0", '--subnet-lease-renew-margin must be from 1 to 1439 (minutes), not "0"'],
    ["--subnet-lease-renew-margin=1440", "must be from 1 to 1439"],
    ["--public-ip=nonsense", '--public-ip must be an IPv4 address, not "nonsense"'],
    ["--public-ip=2001:db8::1", "--public-ip must be an IPv4 address"],
    ["--public-ip=0.0.0.0", "--public-ip must be an IPv4 address"],
    ["--public-ipv6=192.0.2.1", "--public-ipv6 must be an IPv6 address"],
    ["--iface-can-reach=host", "--iface-can-reach must be an IP address"],
    ["--healthz-port=65536", "--healthz-port must be at most 65535"],
    ["--healthz-ip=all", "--healthz-ip must be an IP address"],
    ["--log-format=xml", "--log-format must be text or json"],
    ["--subnet-file=", "--subnet-file must be the path of a file"],
    ["--kube-annotation-prefix=org", "--kube-annotation-prefix must be a domain in lower case"],
    ["--kube-annotation-prefix=a.b/c/d", "--kube-annotation-prefix must have at most one slash"],
    ["--net-config-path=", "--net-config-path must not be empty"],
    ["--iptables-resync=-1", "--iptables-resync must be from 0 to 86400 (seconds)"],
  ])("refuses %s", (argument, message) => {
    expect(failure(() => resolveAgentOptions([argument], {}))).toContain(message);
  });

  it("shows every flag in the help, in lines that fit", () => {
    const invocation = resolveAgentOptions(["--help"], {});
    if (invocation.action !== "help") throw new Error(invocation.action);
    for (const { name } of flanneldFlags) expect(invocation.text).toMatch(new RegExp(`^  --?${name}( |$)`, "m"));
    expect(invocation.text.split("\n").filter((line) => line.length > 100)).toEqual([]);
    expect(resolveAgentOptions(["--version"], {}).action).toBe("version");
  });

  it("refuses a regular expression that is none before anything starts", () => {
    expect(() => resolveAgentOptions(["--iface-regex=["], {})).toThrow(/^--iface-regex=\[ is not a regular expression/);
  });

  it("gives options or one usage error, for random command lines", () => {
    const flag = fc.constantFrom(...flanneldFlags.map(({ name }) => name));
    const value = fc.oneof(
      fc.string(),
      fc.integer().map(String),
      fc.ipV4(),
      fc.ipV6(),
      fc.constantFrom("true", "0x1f", ""),
    );
    const argument = fc.oneof(
      fc.tuple(fc.constantFrom("-", "--"), flag, value).map(([dashes, name, text]) => `${dashes}${name}=${text}`),
      fc.tuple(fc.constantFrom("-", "--"), flag).map(([dashes, name]) => dashes + name),
      value,
    );
    const variable = fc.oneof(
      flag.map((name) => `FLANNELD_${name.toUpperCase().replaceAll("-", "_")}`),
      fc.string(),
    );
    const check = (argv: readonly string[], env: Record<string, string>): void => {
      try {
        resolveAgentOptions(argv, env);
      } catch (error) {
        if (!(error instanceof FlannelError) || error.code !== "USAGE") throw error;
        if (error.message.includes("\n") || error.message.length > 300) throw error;
      }
    };
    const environment = fc.dictionary(variable, value, { maxKeys: 3 });
    fc.assert(fc.property(fc.array(argument, { maxLength: 5 }), environment, check), propertyRuns(100_000));
  });
});
