// What the agent answers on flanneld.sock: HTTP/1.1, JSON. One schema for the server, flannelctl and the docs.
//   GET  /v2/status    → Status (200 whatever the state)
//   GET  /v2/plan      → Plan
//   GET  /v2/rules     → Rules
//   GET  /v2/metrics   → MetricsAnswer: the registry of src/telemetry/metrics, with what was recorded so far
//   GET  /v2/{history,events,peers,why}: journal-protocol.ts
//   GET  /v2/trace     → Trace: trace-protocol.ts
//   POST /v2/handover  → Handover: until restart, routes through next-hop objects are plain ones, and devices that upstream
//                        would trip over end with the agent. An error when that cannot be done now
//   POST /v2/reload    → Reloaded: what SIGHUP does, done
//   POST /v2/rotate    → Rotated: this host has another key. With ?force=true also while peers are missing
// Errors: 4xx/5xx with {"error": {"code", "message"}}. What there is once for each network stands in `networks`, by name; all
// else is of the agent as a whole. A change that an older flannelctl would misread makes a new version, in the path: during an
// upgrade one program may be older than the other, and the answer says so.
import { z } from "zod";

/** A moment: RFC 3339, UTC. */
export const instantSchema = z.iso.datetime();

const networkName = z
  .string()
  .describe("identity of the network: its name with --networks, else the key prefix in the store");

export const leaseSchema = z.object({
  key: z.string(),
  subnet: z.string().optional(),
  ipv6Subnet: z.string().optional(),
  publicIp: z.string().optional(),
  publicIpv6: z.string().optional(),
  backendType: z.string().optional(),
  expiresAt: instantSchema.optional().describe("absent for a reservation"),
  reserved: z.boolean().describe("it never expires"),
});

/** Through which this host's packets reach other hosts. */
export const interfaceSchema = z.object({
  name: z.string(),
  mtuBytes: z.int(),
  address: z.string().optional(),
  ipv6Address: z.string().optional(),
});

export const stateSchema = z
  .enum(["ready", "degraded", "notReady"])
  .describe("a change must last 10 s, except the change to ready after a start and a lost lease");

export const reasonSchema = z.object({
  name: z.string().describe("stable, in kebab case: see docs/flannelctl.md"),
  state: z.enum(["degraded", "notReady"]).describe("the state that this reason causes"),
  message: z.string(),
});

/** As in doctor/finding.ts. */
export const findingSchema = z.object({
  name: z.string().describe("what it is about, stable, in kebab case: see docs/doctor.md"),
  severity: z.enum(["warning", "error"]),
  evidence: z.string().describe("what was observed"),
  remedy: z.string().describe("the command or the action that resolves it"),
});

/** What runs for the backend, with counters since the agent started. Names are the backend's. */
const dataPlaneSchema = z.object({
  /** Why it carries no packets, or none of one family. */
  problem: z.string().optional(),
  /** What it makes use of; missing while it does not run. */
  features: z.record(z.string(), z.union([z.string(), z.boolean()])).optional(),
  /** Packets, bytes and batches, by name; dropped packets by reason. */
  carried: z.record(z.string(), z.number()),
  dropped: z.record(z.string(), z.number()),
  peers: z.array(
    z.object({
      key: z.string(),
      sentPackets: z.number().optional(),
      sentBytes: z.number().optional(),
      receivedPackets: z.number().optional(),
      receivedBytes: z.number().optional(),
      endpoint: z.string().optional().describe("where its packets go now"),
      lastHandshakeAt: z.string().optional(),
      association: z.string().optional().describe("of its encryption, for backends that negotiate it: `established`"),
    }),
  ),
  staticPeers: z
    .array(
      z.object({
        name: z.string(),
        publicKey: z.string(),
        allowedIps: z.array(z.string()),
        sentBytes: z.number(),
        receivedBytes: z.number(),
        endpoint: z.string().optional().describe("where its packets go now; absent before it called"),
        lastHandshakeAt: z.string().optional(),
      }),
    )
    .optional()
    .describe("peers of the configuration that are no hosts of the network, those that are reached"),
});

const probedPathSchema = z.object({
  peer: z.string().describe("key of its lease"),
  subnet: z.string(),
  publicIp: z.string().optional(),
  state: z.enum(["up", "slow", "mtuBroken", "suspect", "oneWay", "down", "unknown"]),
  direction: z
    .enum(["in", "out"])
    .optional()
    .describe(
      "of oneWay, where packets get lost: out, ours do not arrive there; in, those of the peer do not arrive here",
    ),
  since: instantSchema.describe("begin of the state"),
  why: z.string().optional(),
  signature: z.string().describe("which probes were answered last: underlay+ tunnel- bridge?"),
  sent: z.int().describe("probes through the tunnel that were looked at last, at most 64"),
  lost: z.int().describe("of them"),
  rttSeconds: z.object({ p50: z.number(), p99: z.number() }).optional().describe("absent without any answer"),
  usualRttSeconds: z.number().optional(),
  mtu: z
    .object({
      underlayBytes: z.int().optional().describe("largest packet that passes whole outside of the tunnel"),
      overlayBytes: z.int().describe("largest packet of containers that arrives"),
      wholeBytes: z.int().describe("largest one whose outer packet is not fragmented"),
      ageSeconds: z.int(),
    })
    .optional()
    .describe("of the path; absent before it is known"),
  routeMtuBytes: z
    .int()
    .optional()
    .describe("that the route to the peer has, since the path carries no more (--path-mtu=repair)"),
  lastReplyAt: instantSchema.optional(),
});

const probesSchema = z.object({
  intervalSeconds: z.number(),
  problem: z.string().optional().describe("why probes cannot be sent"),
  states: z
    .object({
      up: z.int(),
      slow: z.int(),
      mtuBroken: z.int().describe("small packets arrive and large ones of containers do not"),
      suspect: z.int(),
      oneWay: z.int(),
      down: z.int(),
      unknown: z.int(),
    })
    .describe("peers by state; of two address families the worse one counts"),
  paths: z.array(probedPathSchema).describe("of each peer and address family, worst first, at most 10,000"),
});

const networkStatusSchema = z.object({
  name: networkName,
  subnetFile: z.string(),
  state: stateSchema.optional().describe("only with several networks in one agent, as are the next three"),
  stateChangedAt: instantSchema.optional(),
  pendingState: stateSchema.optional(),
  reasons: z.array(reasonSchema).optional(),
  backendType: z.string().optional().describe("absent before there is a configuration"),
  externalInterface: interfaceSchema
    .extend({ publicIp: z.string().optional(), publicIpv6: z.string().optional() })
    .optional(),
  mtuBytes: z.int().optional().describe("of packets between containers"),
  lease: leaseSchema.optional(),
  warmStart: z.boolean().describe("using the remembered state of the state directory; the store has not answered yet"),
  revision: z.string().optional().describe("store revision up to which the leases are known, decimal"),
  unreadableKeys: z.array(z.object({ key: z.string(), reason: z.string() })).describe("keys that are not leases"),
  peers: z.object({
    known: z.int().describe("leases of other hosts"),
    desired: z.int().describe("peers that this backend can reach"),
    programmed: z.int().describe("desired peers with every kernel object in place"),
    skipped: z.array(z.object({ key: z.string(), reason: z.string() })),
  }),
  failures: z
    .array(
      z.object({
        object: z.string(),
        error: z.string(),
        attempts: z.int(),
        scope: z.enum(["own", "peer", "precaution", "leftover"]).describe("the owner of the object"),
      }),
    )
    .describe(
      "kernel objects and traffic rules that could not be programmed, and commands that failed, with the error of the kernel or the tool",
    ),
  repairs: z.object({
    total: z.int(),
    last: z.array(z.object({ repairedAt: instantSchema, object: z.string(), action: z.string() })),
  }),
  rules: z
    .object({
      mode: z.enum(["nftables", "iptables-nft", "iptables-legacy", "none"]),
      reason: z.string().describe("why the agent keeps the rules there"),
      masquerade: z.boolean(),
      forward: z.boolean(),
      warnings: z.array(z.string()).describe("a missing tool or kernel module of this host"),
    })
    .optional()
    .describe("traffic rules; absent before the network is open"),
  probes: probesSchema.optional().describe("what probes of the peers found; absent when probes are off"),
  dataPlane: dataPlaneSchema
    .optional()
    .describe(
      "only with backends that have something running or tell what they carried: udp, wireguard, ipsec, extension",
    ),
});

export const statusSchema = z.object({
  agent: z.object({
    version: z.string(),
    pid: z.int(),
    startedAt: instantSchema,
    stateDirectory: z.string(),
  }),
  state: stateSchema,
  stateChangedAt: instantSchema,
  pendingState: stateSchema.optional().describe("the next state if the current reasons last"),
  reasons: z.array(reasonSchema).describe("the current reasons, worst first; empty when ready"),
  findings: z.array(findingSchema),
  store: z.object({
    description: z.string(),
    connected: z.boolean(),
    problem: z.string().optional().describe("why it is not connected, or does not do all that is asked of it"),
    ageSeconds: z.number().optional().describe("time since the store last answered; absent before the first answer"),
    certificates: z
      .array(z.object({ role: z.enum(["client", "authority", "server"]), source: z.string(), endsAt: instantSchema }))
      .optional()
      .describe("certificates of the connection; absent without TLS"),
  }),
  networks: z.array(networkStatusSchema),
});

export const planSchema = z.object({
  networks: z.array(
    z.object({
      name: networkName,
      desired: z
        .array(z.string())
        .describe("host state, as lines of ip, bridge and sysctl, and commands of the extension backend"),
      difference: z
        .array(z.string())
        .describe("pending changes: + is added, - is removed; empty when desired and observed agree"),
    }),
  ),
});

export const rulesSchema = z.object({
  networks: z.array(
    z.object({
      name: networkName,
      mode: z.string(),
      reason: z.string(),
      wanted: z.array(z.string()).describe("as commands of nft and iptables"),
      found: z.array(z.string()),
      difference: z
        .array(z.string())
        .describe("+ is missing, - is superfluous, ~ is in the wrong order; empty when desired and observed agree"),
    }),
  ),
});

export const handoverSchema = z.object({
  networks: z.array(
    z.object({
      name: networkName,
      rewrittenRoutes: z.int(),
      releasedDevices: z
        .array(z.string())
        .describe("TUN devices that upstream must not find: gone, or with a running agent gone when it stops"),
      writtenScratchFiles: z
        .int()
        .optional()
        .describe("containers attached without flannel's CNI plugin that upstream's can detach now"),
    }),
  ),
});

export const reloadedSchema = z.object({
  problem: z.string().optional().describe("what could not be reloaded and why; the previous values stay in use"),
});

export const rotatedSchema = z.object({
  networks: z.array(
    z.object({
      name: networkName,
      publicKey: z.string().describe("the new one, as the lease announces it"),
      followed: z
        .array(z.object({ key: z.string(), afterMs: z.number() }))
        .describe("leases whose hosts have a session with the new key, and how long after it was in use that began"),
      pending: z
        .array(z.string())
        .describe("leases of the other hosts: they follow when they hear of it, or have packets to send"),
      staticPeers: z.array(z.string()).describe("peers of the configuration that need a new configuration themselves"),
    }),
  ),
});

export const metricsSchema = z.object({
  metrics: z
    .array(
      z.object({
        name: z.string(),
        type: z.enum(["counter", "gauge", "histogram"]),
        help: z.string(),
        unit: z.string().optional(),
        samples: z
          .array(
            z.object({
              /** Always with `network`. */
              labels: z.record(z.string(), z.string()),
              /** Of a histogram: the sum of all values. */
              value: z.number(),
              /** Of a histogram: the number of values, and how many of them are at most `le`. */
              count: z.int().optional(),
              buckets: z
                .array(z.object({ le: z.number(), count: z.int() }))
                .readonly()
                .optional(),
            }),
          )
          .readonly(),
      }),
    )
    .readonly(),
});

export type Status = z.infer<typeof statusSchema>;
export type NetworkStatus = z.infer<typeof networkStatusSchema>;
export type Plan = z.infer<typeof planSchema>;
export type Rules = z.infer<typeof rulesSchema>;
export type MetricsAnswer = z.infer<typeof metricsSchema>;
export type Reloaded = z.infer<typeof reloadedSchema>;
export type Rotated = z.infer<typeof rotatedSchema>;
export type Handover = z.infer<typeof handoverSchema>;
