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
  "^src/errors\\.ts$",
  "^src/ip/",
  "^src/lease/(?!lease-keeper|subnet-file)",
  "^src/config/(?!agent-options|option-files)",
  "^src/host/(host-state|external-interface\\.|host-objects|host-table|diff|go-regex|interface-choice)[^/]*\\.ts$",
  "^src/netlink/(?!.*(socket|rtnetlink|monitor))",
  "^src/backend/",
];

/** Types that describe what is handed down from above; nobody runs code of that room through them. */
const shapes = [
  "^src/telemetry/logger\\.ts$",
  "^src/config/(network-config|backend-key)\\.ts$",
  "^src/host/(host-state|external-interface)\\.ts$",
  "^src/lease/(lease|subnet-store)\\.ts$",
  "^src/tunnel/tunnel-state\\.ts$",
];

/** The errors, and the logger's interface with the one that says nothing. */
const everywhere = "^src/(errors|telemetry/logger)\\.ts$";

/** Room → the rooms below it whose code it may run. */
const rooms = {
  ip: [],
  sys: ["ip"],
  json: [],
  lease: ["ip", "sys"],
  netlink: ["ip", "sys"],
  firewall: ["ip", "sys", "netlink"],
  telemetry: ["sys"],
  host: ["ip", "lease", "netlink", "firewall", "sys"],
  tunnel: ["ip", "sys", "netlink"],
  // The keys of each backend are the backend's own: it hands them to the parser of the configuration.
  config: ["ip"],
  backend: ["ip", "lease", "host", "config"],
  store: ["ip", "lease", "config"],
  cluster: ["ip", "json", "lease", "store", "sys"],
  agent: [
    "ip",
    "json",
    "lease",
    "config",
    "netlink",
    "firewall",
    "host",
    "tunnel",
    "backend",
    "store",
    "cluster",
    "sys",
    "telemetry",
  ],
};

const downwards = Object.entries(rooms).map(([room, below]) => ({
  name: `${room}-imports-downwards`,
  comment: `${room} runs code of ${below.join(", ") || "no other room"} only, besides errors and the silent logger`,
  severity: "error",
  from: { path: `^src/${room}/`, pathNot: tests },
  to: {
    path: "^src/",
    pathNot: [everywhere, `^src/(${[room, ...below].join("|")})/`],
    dependencyTypesNot: ["type-only"],
  },
}));

const shapesOnly = Object.entries(rooms).map(([room, below]) => ({
  name: `${room}-knows-shapes-only`,
  comment: "a type from a room that is not below must be one of the shared shapes",
  severity: "error",
  from: { path: `^src/${room}/`, pathNot: tests },
  to: {
    path: "^src/",
    pathNot: ["^src/errors\\.ts$", `^src/(${[room, ...below].join("|")})/`, ...shapes],
    dependencyTypes: ["type-only"],
  },
}));

/** Library → the only places that may import it. */
const libraries = {
  koffi: "^src/sys/",
  pino: "^src/telemetry/",
  commander: "^src/cli/",
  // Where text from outside becomes data.
  zod: "^src/(config|cluster|agent|cli)/",
  "@grpc/grpc-js": "^src/store/etcd/",
  "@bufbuild/protobuf": "^src/store/etcd/",
  "@peculiar": "^src/cluster/x509\\.ts$",
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
      to: { path: "^src/(sys|telemetry|store|cluster|agent|cli|firewall|tunnel)/", dependencyTypesNot: ["type-only"] },
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
    exclude: { path: "^src/(store/etcd/protocol/etcd|cluster/protocol/cluster)\\.ts$" },
    moduleSystems: ["es6"],
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "types", "default"] },
  },
};
