// The import rule of docs/architecture.md: imports go downwards only, pure code stays pure, each outside library has
// one room that knows it. `import type` across rooms is free of this where it only names a shape (see `shapes`).
import visitors from "@swc/core/Visitor.js";

// The tool walks the parsed files with this class, which does not know `using` declarations yet.
const { Visitor } = visitors;
const { visitStatement } = Visitor.prototype;
Visitor.prototype.visitStatement = function visitAnyStatement(statement) {
  if (statement.type !== "UsingDeclaration") return visitStatement.call(this, statement);
  this.visitVariableDeclarators(statement.decls);
  return statement;
};

const tests = "\\.test\\.ts$";

/** Files that must compute and nothing else: no Node module, no clock, no I/O, no logger. */
const pure = [
  "^src/(errors|exit-codes|list-changes)\\.ts$",
  "^src/(ip|json|lease|terminal|dashboard)/",
  "^src/async/growing-pause\\.ts$",
  "^src/config/",
  "^src/etcd-api/(etcd-lease|lease-record)\\.ts$",
  "^src/kube-api/(drop-arrays|list-splitter|proxy-choice|server-address)\\.ts$",
  "^src/store/etcd-v2/v2-network\\.ts$",
  "^src/store/kubernetes/(kubernetes-revision|lease-codec|node-(annotations|condition|leases?|record))\\.ts$",
  "^src/host/kinds/[^/]+-form\\.ts$",
  "^src/host/reconcile/(host-table|diff)[^/]*\\.ts$",
  "^src/underlay/(external-interface|follow-interface|go-regex|interface-|occupied-prefixes|way-out)[^/]*\\.ts$",
  "^src/cloud/(plan-routes|provider-error)\\.ts$",
  "^src/netlink/(?!.*(socket|rtnetlink\\.|genetlink\\.|-control\\.|monitor))",
  "^src/sys/socket-address\\.ts$",
  // What a backend has running is reached through its `…-runtime.ts`, which loads it when it is needed.
  "^src/backend/(?!.*-runtime\\.ts)",
  "^src/probe/(loss-meter|path-|probe-(path|payload)|probed-|request-map|rotation)[^/]*\\.ts$",
];

/** Types that describe what is handed down from above; nobody runs code of that room through them. */
const shapes = [
  "^src/telemetry/(logger|events|journal|metrics/metrics)\\.ts$",
  "^src/lease/lease\\.ts$",
  "^src/sys/service-descriptors\\.ts$",
  // The ports that the adapters implement.
  "^src/store/[^/]+\\.ts$",
];

/** The errors, the exit codes, how lists differ, and the logger's interface with the one that says nothing. */
const everywhere = "^src/(errors|exit-codes|list-changes|version|telemetry/logger)\\.ts$";

/** Room → the rooms below it whose code it may run. A room stands for its sub-rooms, unless they are named themselves. */
const rooms = {
  ip: [],
  json: [],
  terminal: [],
  async: [],
  http: [],
  sys: ["ip"],
  telemetry: ["sys", "terminal"],
  config: ["ip", "json"],
  lease: ["ip", "json", "config"],
  "etcd-api": ["lease"],
  "kube-api": ["ip", "json", "async"],

  // The agent's wing.
  cni: ["ip", "json", "sys", "lease"],
  netlink: ["ip", "sys"],
  "netlink/rtnetlink": ["ip", "sys", "netlink"],
  "netlink/genetlink": ["ip", "sys", "netlink"],
  "netlink/nftables": ["sys", "netlink"],
  "netlink/xfrm": ["ip", "sys", "netlink"],
  ipsec: ["ip", "async", "sys", "netlink/xfrm"],
  wireguard: ["ip", "sys", "netlink/genetlink"],
  underlay: ["ip", "async", "netlink", "netlink/rtnetlink"],
  "host/kinds": ["ip", "sys", "netlink", "netlink/rtnetlink", "netlink/genetlink", "netlink/xfrm", "wireguard"],
  "host/reconcile": ["ip", "async", "netlink/rtnetlink", "host/kinds"],
  host: ["ip", "sys", "netlink/rtnetlink", "host/kinds", "host/reconcile"],
  firewall: ["ip", "json", "async", "sys", "netlink", "netlink/nftables"],
  tunnel: ["ip", "async", "sys"],
  extension: ["json", "async", "sys", "terminal"],
  // The route tables of cloud providers: a port, one reconciler, an adapter for each.
  cloud: ["ip", "json", "async", "sys", "http"],
  backend: [
    "cloud",
    "ip",
    "json",
    "config",
    "lease",
    "netlink/genetlink",
    "host/kinds",
    "underlay",
    "tunnel",
    "extension",
    "ipsec",
  ],
  doctor: [
    "ip",
    "async",
    "sys",
    "netlink",
    "netlink/rtnetlink",
    "netlink/xfrm",
    "ipsec",
    "underlay",
    "firewall",
    "backend",
  ],
  probe: ["ip", "sys"],
  "store/etcd": ["ip", "async", "sys", "config", "lease", "etcd-api"],
  "store/kubernetes": ["ip", "json", "async", "terminal", "sys", "config", "lease", "kube-api"],
  "store/etcd-v2": ["ip", "json", "config", "lease", "http"],
  store: ["ip", "config", "lease", "store/etcd", "store/etcd-v2", "store/kubernetes"],
  "agent/control": ["sys", "terminal"],
  "agent/state": ["ip", "json", "sys", "config", "lease", "backend"],
  "agent/lifecycle": [
    ...[
      "ip",
      "async",
      "terminal",
      "sys",
      "telemetry",
      "config",
      "lease",
      "netlink/rtnetlink",
      "netlink/xfrm",
      "underlay",
      "host/kinds",
    ],
    ...[
      "host",
      "host/reconcile",
      "firewall",
      "wireguard",
      "backend",
      "doctor",
      "probe",
      "store",
      "agent/control",
      "agent/state",
      "cni",
    ],
    // The certificate of a member of a small cluster is renewed by the store that made it.
    "flannel-store/membership",
  ],

  // The wing of flannel-store.
  "flannel-store/grpc": ["ip", "sys"],
  "flannel-store/server": ["sys", "etcd-api", "flannel-store/grpc"],
  "flannel-store/membership": ["ip", "json", "sys", "lease", "etcd-api", "flannel-store/grpc", "flannel-store/server"],

  // The page of `flannelctl dashboard`, which runs in a browser.
  dashboard: ["ip", "terminal"],

  // The programs.
  "cli/flags": ["ip", "json", "config", "underlay", "agent/control", "flannel-store/server"],
  "cli/install": [
    ...["ip", "sys", "terminal", "netlink/rtnetlink", "underlay", "etcd-api", "cli/flags"],
    ...["flannel-store/grpc", "flannel-store/membership", "flannel-store/server"],
  ],
};

const hasSubRooms = (room) => Object.keys(rooms).some((other) => other.startsWith(`${room}/`));

/** The files of a room: also those below it, unless its sub-rooms are rooms of their own. */
const filesOf = (room) => `^src/${room}/${hasSubRooms(room) ? "[^/]+$" : ""}`;

const downwards = Object.entries(rooms).map(([room, below]) => ({
  name: `${room.replace("/", "-")}-imports-downwards`,
  comment: `${room} runs code of ${below.join(", ") || "no other room"} only, besides errors and the silent logger`,
  severity: "error",
  from: { path: filesOf(room), pathNot: tests },
  to: {
    path: "^src/",
    pathNot: [everywhere, ...[room, ...below].map(filesOf)],
    dependencyTypesNot: ["type-only"],
  },
}));

const shapesOnly = Object.entries(rooms).map(([room, below]) => ({
  name: `${room.replace("/", "-")}-knows-shapes-only`,
  comment: "a type from a room that is not below must be one of the shared shapes",
  severity: "error",
  from: { path: filesOf(room), pathNot: tests },
  to: {
    path: "^src/",
    pathNot: ["^src/(errors|exit-codes)\\.ts$", ...[room, ...below].map(filesOf), ...shapes],
    dependencyTypes: ["type-only"],
  },
}));

/** What the control socket answers, for flannelctl. */
const schemas = "^src/agent/control/(control|journal|trace)-protocol\\.ts$";

/** Library → the only places that may import it. */
const libraries = {
  koffi: "^src/sys/",
  pino: "^src/telemetry/",
  commander: "^src/cli/",
  // Where text from outside becomes data.
  zod: "^src/(flannel-store/membership|agent|cli)/",
  "@grpc/grpc-js": "^src/store/etcd/",
  yaml: "^src/kube-api/parse-yaml\\.ts$",
  "@bufbuild/protobuf": "^src/(etcd-api/etcd|flannel-store/membership/cluster)\\.ts$",
  "prom-client": "^src/telemetry/metrics/prometheus-text\\.ts$",
  "@aws-sdk": "^src/cloud/aws/",
  "google-auth-library": "^src/cloud/gce/",
  "@alicloud": "^src/cloud/ali/",
  "tencentcloud-sdk-nodejs-common": "^src/cloud/tencent/",
  preact: "^src/dashboard/",
  uplot: "^src/dashboard/charts\\.tsx$",
  "@peculiar": "^src/flannel-store/membership/x509\\.ts$",
};

const libraryRooms = Object.entries(libraries).map(([library, room]) => ({
  name: `${library}-has-one-room`,
  severity: "error",
  from: { path: "^src/", pathNot: [room, tests] },
  to: { path: `^node_modules/${library}(/|$)` },
}));

export default {
  forbidden: [
    ...downwards,
    ...shapesOnly,
    ...libraryRooms,
    {
      name: "the-agent-starts-without-schemas",
      comment: "zod is half a megabyte of code that flannelctl needs and each start of the agent would pay for",
      severity: "error",
      from: { path: "^src/(agent|backend|config|store|doctor)/", pathNot: [tests, schemas] },
      to: { path: schemas, dependencyTypesNot: ["type-only"] },
    },
    {
      name: "errors-imports-nothing",
      severity: "error",
      from: { path: "^src/errors\\.ts$" },
      to: { path: ".+" },
    },
    {
      name: "pure-code-stays-pure",
      comment: "no Node module, however harmless: what the code needs is handed to it",
      severity: "error",
      from: { path: pure, pathNot: tests },
      to: { dependencyTypes: ["core"] },
    },
    {
      name: "pure-code-runs-no-effects",
      severity: "error",
      from: { path: pure, pathNot: tests },
      to: {
        path: "^src/(sys|telemetry|store|flannel-store|agent|cli|firewall|tunnel)/",
        pathNot: pure,
        dependencyTypesNot: ["type-only"],
      },
    },
    {
      name: "adapters-are-opened-by-their-port",
      comment: "whoever needs a store names it to the functions that open one, and knows no more than the ports",
      severity: "error",
      from: { path: "^src/", pathNot: ["^src/store/", tests] },
      to: { path: "^src/store/[^/]+/" },
    },
    {
      name: "planners-know-shapes-of-the-host",
      comment: "what a kind reads and writes is the reconciler's business",
      severity: "error",
      from: { path: "^src/backend/", pathNot: tests },
      to: { path: "^src/host/", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "adapters-stay-apart",
      severity: "error",
      from: { path: "^src/store/([^/]+)/" },
      to: { path: "^src/store/[^/]+/", pathNot: "^src/store/$1/" },
    },
    {
      name: "backends-stay-apart",
      severity: "error",
      from: { path: "^src/backend/([^/]+)/", pathNot: tests },
      to: { path: "^src/backend/[^/]+/", pathNot: "^src/backend/$1/" },
    },
    {
      name: "product-needs-no-tests",
      severity: "error",
      from: { path: "^src/", pathNot: tests },
      to: { path: ["^(test|lab|bench|scripts)/", tests] },
    },
    {
      name: "product-needs-no-tools",
      severity: "error",
      from: { path: "^src/", pathNot: tests },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown", "npm-optional"] },
    },
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true } },
    { name: "all-imports-resolve", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    // TypeScript 7 has no API that the tool could use; this parser also tells `import type` apart.
    parser: "swc",
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^src/(etcd-api/etcd|flannel-store/membership/cluster)\\.ts$" },
    moduleSystems: ["es6"],
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "types", "default"] },
  },
};
