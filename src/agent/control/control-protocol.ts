// What the agent answers on flanneld.sock: HTTP/1.1, JSON. One schema for the server, flannelctl and the docs.
//   GET  /v1/status    → Status (200 also when not ready)
//   GET  /v1/plan      → Plan
//   GET  /v1/rules     → Rules
//   GET  /v1/metrics   → MetricsAnswer: the registry of src/telemetry/metrics, with what was recorded so far
//   POST /v1/handover  → Handover: routes through next-hop objects become plain ones and stay so until restart
// Errors: 4xx/5xx with {"error": {"code", "message"}}.
import { z } from "zod";

export const leaseSchema = z.object({
  key: z.string(),
  subnet: z.string().optional(),
  ipv6Subnet: z.string().optional(),
  publicIp: z.string().optional(),
  publicIpv6: z.string().optional(),
  backendType: z.string().optional(),
  /** RFC 3339; missing for a reservation. */
  expiresAt: z.string().optional(),
  isReservation: z.boolean(),
});

const preflightSchema = z.object({
  /** Stable: ip-forward, rp-filter, network-overlap, external-mtu, forward-policy, port-in-use, kernel-feature, policy-rule, certificate, configuration */
  check: z.string(),
  severity: z.enum(["warning", "error"]),
  message: z.string(),
  /** The command that cures it. */
  cure: z.string(),
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
    }),
  ),
});

export const statusSchema = z.object({
  version: z.string(),
  pid: z.int(),
  startedAt: z.string(),
  ready: z.boolean(),
  /** Why not ready; empty when ready. */
  reasons: z.array(z.string()),
  backend: z.string(),
  subnetFile: z.string(),
  stateDirectory: z.string(),
  externalInterface: z
    .object({
      name: z.string(),
      mtuBytes: z.int(),
      address: z.string().optional(),
      ipv6Address: z.string().optional(),
      publicIp: z.string().optional(),
      publicIpv6: z.string().optional(),
    })
    .optional(),
  mtuBytes: z.int().optional(),
  lease: leaseSchema.optional(),
  store: z.object({
    description: z.string(),
    connected: z.boolean(),
    /** Seconds since the store last answered; missing when it never did. */
    ageSeconds: z.number().optional(),
    revision: z.string().optional(),
    /** True while we run on what the state directory remembered. */
    warmStart: z.boolean(),
    unreadableKeys: z.array(z.object({ key: z.string(), reason: z.string() })),
    /** Those the connection stands on, with their ends (RFC 3339); missing without TLS. */
    certificates: z
      .array(z.object({ role: z.enum(["client", "authority", "server"]), source: z.string(), endsAt: z.string() }))
      .optional(),
  }),
  peers: z.object({
    /** Leases of others. */
    known: z.int(),
    /** Those this backend can reach. */
    desired: z.int(),
    /** Of the desired, those whose every kernel object is in place. */
    programmed: z.int(),
    skipped: z.array(z.object({ key: z.string(), reason: z.string() })),
  }),
  /** Kernel objects that could not be programmed, with the kernel's own words. */
  failures: z.array(z.object({ object: z.string(), error: z.string(), attempts: z.int() })),
  repairs: z.object({
    total: z.int(),
    last: z.array(z.object({ at: z.string(), object: z.string(), action: z.string() })),
  }),
  /** Traffic rules; missing before the network is open. */
  rules: z
    .object({
      mode: z.enum(["nftables", "iptables-nft", "iptables-legacy", "none"]),
      /** Why they are kept there. */
      reason: z.string(),
      masquerade: z.boolean(),
      forward: z.boolean(),
      /** What is odd about this host: a missing tool, a missing kernel module. */
      warnings: z.array(z.string()),
    })
    .optional(),
  preflight: z.array(preflightSchema),
  /** Only for backends with something running in the agent. */
  dataPlane: dataPlaneSchema.optional(),
});

export const planSchema = z.object({
  /** Desired host state, as lines of `ip`, `bridge` and `sysctl`. */
  desired: z.array(z.string()),
  /** What would be changed now to reach it; `+ ` added, `- ` removed. Empty when the kernel agrees. */
  difference: z.array(z.string()),
});

export const rulesSchema = z.object({
  mode: z.string(),
  reason: z.string(),
  /** As commands of nft and iptables. */
  wanted: z.array(z.string()),
  found: z.array(z.string()),
  /** `+ ` missing, `- ` too much, `~ ` in the wrong order; empty when the kernel agrees. */
  difference: z.array(z.string()),
});

export const handoverSchema = z.object({ rewrittenRoutes: z.int() });

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
export type Plan = z.infer<typeof planSchema>;
export type Rules = z.infer<typeof rulesSchema>;
export type MetricsAnswer = z.infer<typeof metricsSchema>;
export type Handover = z.infer<typeof handoverSchema>;
