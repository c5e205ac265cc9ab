// The JSON of `flannelctl trace`.
import { z } from "zod";
import { leaseSchema } from "../../../agent/control/control-protocol.ts";

const lineSchema = z.object({
  station: z
    .enum([
      ...(["lease", "route", "forward", "return", "neighbour", "fdb", "wireguard", "device", "mtu"] as const),
      ...(["outside", "rules", "container"] as const),
    ])
    .describe(
      "route: packets of this host; forward: those of its containers; return: those that come back; outside: to the peer's host without the tunnel",
    ),
  text: z.string().describe("as the kernel has it"),
  verdict: z
    .enum(["ok", "differs", "bad", "unknown", "note"])
    .describe(
      "differs: not as the agent wants it; bad: packets get lost by it; note: there is nothing to compare with",
    ),
  desired: z.string().optional().describe("as the agent wants it, where that is something else"),
  remedy: z.string().optional(),
});

const liveSchema = z.object({
  source: z.string().optional(),
  from: z.enum(["host", "container"]).describe("who sent: this host, or a scratch interface among its containers"),
  packetBytes: z.int(),
  sent: z.int(),
  answered: z.int(),
  rttSeconds: z.number().optional().describe("median; absent without any answer"),
  hops: z
    .array(z.object({ text: z.string(), seen: z.int(), of: z.int() }))
    .describe("stations of this host in the order of the way there and back, and how many of the packets each saw"),
  points: z
    .array(
      z.object({
        device: z.string(),
        direction: z.enum(["out", "in"]),
        packet: z.enum(["request", "reply"]),
        form: z.enum(["plain", "inside", "encrypted"]),
        around: z.string().optional().describe("what goes around it: UDP 51234 > 8472"),
        packetBytes: z.int(),
        seen: z.int(),
      }),
    )
    .describe("every device of this host at which the packets were seen, in the order of time"),
  drops: z
    .array(
      z.object({
        chain: z.string(),
        rule: z.string().optional().describe("absent: the policy of the chain"),
        packet: z.enum(["request", "reply"]),
        isOfTunnel: z.boolean().describe("the tunnel's packet is dropped, not the one inside"),
        count: z.int(),
      }),
    )
    .describe("rules of nf_tables that dropped them on this host"),
  errors: z.array(z.string()).describe("ICMP errors that came back"),
  grown: z.array(z.string()).describe("counters of trouble that grew meanwhile, for whatever reason"),
  gaps: z.array(z.string()).describe("what could not be looked at, and why"),
  fullSize: z
    .object({ bytes: z.int(), sent: z.int(), answered: z.int() })
    .optional()
    .describe("packets as large as containers may send; absent when small ones get no answer"),
  peer: z
    .array(z.object({ name: z.string(), target: z.string(), sent: z.int(), answered: z.int() }))
    .describe("who answers at the peer, from the outside in: all that is seen of the other host from here"),
});

export const traceOutputSchema = z.object({
  target: z.string(),
  agent: z
    .enum(["running", "silent", "absent"])
    .describe("silent, absent: what is desired is as the agent remembered it"),
  networks: z.array(
    z.object({
      name: z.string(),
      place: z.enum(["peer", "here", "host", "nobody", "outside"]),
      backendType: z.string().optional(),
      lease: leaseSchema.extend({ isOwn: z.boolean(), revision: z.string() }).optional(),
      lines: z.array(lineSchema),
      live: liveSchema.optional().describe("absent with --static, and where no packets can be sent"),
      lost: z.boolean().optional().describe("whether packets or answers get lost; absent without a live test"),
      verdict: z.string(),
      cause: z
        .string()
        .optional()
        .describe("what of the kernel's state explains it; where nothing gets lost, what is wrong all the same"),
      next: z.string().optional().describe("command or action"),
    }),
  ),
});

export type TraceOutput = z.infer<typeof traceOutputSchema>;
export type NetworkTrace = TraceOutput["networks"][number];
