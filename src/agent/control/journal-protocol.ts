// What the agent answers about its history and its peers: schemas for flannelctl and the docs. Part of control-protocol.ts' protocol.
//   GET /v2/history          → History: the journal
//   GET /v2/events?after=N   → JournalEntry, a line each, without end: those after N, then what comes
//   GET /v2/peers            → Peers
//   GET /v2/why?of=TEXT      → Why
import { z } from "zod";
import { instantSchema, leaseSchema } from "./control-protocol.ts";

const causeSchema = z.object({
  type: z
    .enum(["lease", "configuration", "interface", "probe", "notification", "audit", "operator", "start"])
    .describe(
      "lease, configuration: a change in the store; interface: of the external interface; probe: the path to a peer carries another size; notification, audit: another program changed " +
        "what is flannel's, noticed at once or by looking; operator: a signal or a command; start: the agent started",
    ),
  revision: z.string().optional().describe("store revision, decimal"),
  by: z.string().optional().describe("who made the change; absent where nobody tells"),
});

export const journalEntrySchema = z.object({
  sequence: z.int().describe("from 1 on since the agent started"),
  at: instantSchema,
  event: z.string().describe("stable name: see docs/troubleshooting.md"),
  level: z.enum(["error", "warn", "info", "detail"]),
  message: z.string(),
  cause: causeSchema.optional(),
  fields: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  leftOut: z.int().optional().describe("events before this one that came too fast to be kept or sent"),
});

export const historySchema = z.object({
  startedAt: instantSchema.describe("start of the agent: nothing before it is known"),
  entries: z.array(journalEntrySchema).describe("oldest first; at most some 2,500"),
});

export const peerSchema = z.object({
  key: z.string().describe("of its lease"),
  subnet: z.string().optional(),
  ipv6Subnet: z.string().optional(),
  publicIp: z.string().optional(),
  publicIpv6: z.string().optional(),
  backendType: z.string().optional(),
  revision: z.string(),
  state: z
    .enum(["programmed", "pending", "skipped", "up", "slow", "suspect", "mtuBroken", "oneWay", "down", "unknown"])
    .describe(
      "programmed, pending: whether the kernel has it; skipped: not served; the others by probes, which may be off",
    ),
  reason: z.string().optional().describe("why it is skipped, or in this state"),
  stateSince: instantSchema.optional(),
  rttSeconds: z.object({ p50: z.number(), p99: z.number() }).optional().describe("of probes through the tunnel"),
  lossRatio: z.number().optional().describe("of the probes that were looked at last"),
  mtuBytes: z.int().optional().describe("of packets to its containers"),
  receivedBytes: z.number().optional().describe("only with backends that count them"),
  sentBytes: z.number().optional(),
  endpoint: z.string().optional().describe("where its packets go now"),
  lastHandshakeAt: z.string().optional(),
  changedAt: instantSchema.optional().describe("when this agent last heard of a change of its lease"),
  programmedAt: instantSchema.optional().describe("when the kernel had the last change"),
});

export const peersSchema = z.object({
  networks: z.array(z.object({ name: z.string(), peers: z.array(peerSchema) })),
});

export const whySchema = z.object({
  networks: z.array(
    z.object({
      name: z.string(),
      lease: leaseSchema.extend({ isOwn: z.boolean(), revision: z.string() }).optional().describe("that it belongs to"),
      peer: peerSchema.optional().describe("of another host"),
      backendType: z.string().optional(),
      objects: z
        .array(z.object({ object: z.string(), programmed: z.boolean(), error: z.string().optional() }))
        .describe("kernel objects that are there because of it"),
      findings: z.array(z.string()).describe("what this host's checks found about it"),
      entries: z.array(journalEntrySchema).describe("of the journal, oldest first"),
    }),
  ),
});

export type History = z.infer<typeof historySchema>;
export type Peer = z.infer<typeof peerSchema>;
export type Peers = z.infer<typeof peersSchema>;
export type Why = z.infer<typeof whySchema>;
