// What `flannelctl doctor --json` writes.
import { z } from "zod";
import { peerSchema } from "../../../agent/control/journal-protocol.ts";

const evidenceSchema = z.object({
  source: z.string().describe("what was looked at"),
  object: z.string().describe("the file, rule, route or device, where the source alone does not say it"),
  value: z.string().describe("what was seen there"),
});

const causeFields = {
  code: z.string().describe("stable, in kebab case: see docs/doctor.md"),
  severity: z
    .enum(["error", "warning"])
    .describe("error: packets are lost, or the agent cannot do its work; warning: they may be, or soon will"),
  summary: z.string().describe("what people notice"),
};

const findingSchema = z.object({
  ...causeFields,
  state: z.literal("bad"),
  impactsTraffic: z.boolean().describe("packets between containers are lost by it now"),
  evidence: z.array(evidenceSchema),
  remedy: z.object({
    command: z.string().describe("the command or the action that ends it"),
    others: z.array(z.string()).describe("further ones, where several things of this kind were found"),
    safe: z
      .enum(["auto", "ask", "no"])
      .describe(
        "auto: the running agent does it; ask: safe to run once an operator has read it; no: only a person can judge it",
      ),
    fix: z.array(z.string()).describe("commands that --fix runs for it; empty where it does nothing about it"),
  }),
  explains: z.array(z.string()).describe("codes of findings that it brings about; they are not distinguished"),
  suppressedBy: z.string().nullable().describe("code of the finding that brings this one about; null in `findings`"),
  doc: z.string().describe("where the docs explain it"),
});

const fixSchema = z.object({
  code: z.string().describe("of the finding"),
  command: z.string(),
  result: z.enum(["done", "failed", "declined"]),
  reason: z.string().optional().describe("why it failed"),
  undo: z
    .string()
    .optional()
    .describe("what undoes it, as flannelctl doctor --undo does; absent where nothing has to be"),
});

const seenPeerSchema = z.object({
  key: z.string().describe("of its lease"),
  state: peerSchema.shape.state.catch("unknown"),
  direction: z
    .enum(["in", "out"])
    .optional()
    .describe("of oneWay: out, the packets of this host do not arrive there; in, those of the peer do not arrive here"),
  reason: z.string().optional(),
  since: z.string().optional(),
  rttSeconds: z.number().optional().describe("median"),
  lossRatio: z.number().optional(),
  mtuBytes: z.int().optional(),
});

const peerViewSchema = z.object({
  network: z.string(),
  lease: z.string().optional().describe("key of this host's own"),
  peers: z.array(seenPeerSchema).describe("the worst first"),
  morePeers: z.int().describe("left out, because the report would be too long"),
});

/** Of one host. */
export const doctorReportSchema = z.object({
  host: z.string(),
  agent: z.enum(["running", "absent", "silent"]).describe("absent: nobody listens; silent: it did not answer in time"),
  agentProblem: z.string().optional(),
  subnets: z.array(z.string()),
  networks: z.array(z.string()).optional().describe("only where the agent serves several: those that were looked at"),
  backendType: z.string().optional(),
  mtuBytes: z.int().optional(),
  checked: z.int().describe("number of causes that were looked for"),
  findings: z.array(findingSchema).describe("most likely cause first"),
  suppressed: z.array(findingSchema).describe("what the findings bring about"),
  unknown: z.array(z.object({ code: z.string(), reason: z.string() })).describe("what could not be looked at"),
  durationSeconds: z.number(),
  view: z
    .array(peerViewSchema)
    .optional()
    .describe("with --with-peers: what this host sees of each other one, for each network"),
});

export const doctorOutputSchema = doctorReportSchema.extend({
  fixes: z.array(fixSchema).optional().describe("with --fix: what was done before this look"),
  undone: z.array(fixSchema).optional().describe("with --undo: what was undone before this look, the last step first"),
  fixLog: z.string().optional().describe("with --fix and --undo: the file that keeps what was run"),
  peer: z
    .object({
      host: z.string().describe("as named with --peer, or its name in the cluster"),
      lease: z.string().optional(),
      publicIp: z.string().optional(),
      reason: z.string().optional().describe("why there is no report of it"),
      report: doctorReportSchema.optional().describe("what its own doctor found"),
      legs: z
        .array(z.object({ name: z.string(), sent: z.int(), answered: z.int() }))
        .optional()
        .describe("echoes from here, as of flannelctl ping"),
      verdict: z.string().optional().describe("what these echoes say"),
    })
    .optional()
    .describe("with --peer: the other end"),
});

export const bugreportOutputSchema = z.object({
  file: z.string(),
  packedBytes: z.int(),
  unpackedBytes: z.int(),
  parts: z.int().describe("files in the archive, beside the two about itself"),
  redactions: z.int().describe("secrets that were replaced"),
  missing: z.array(z.object({ file: z.string(), reason: z.string() })),
});

export type BugreportOutput = z.infer<typeof bugreportOutputSchema>;
export type FixOutput = z.infer<typeof fixSchema>;
export type DoctorOutput = z.infer<typeof doctorOutputSchema>;
export type DoctorFinding = DoctorOutput["findings"][number];
export type PeerView = z.infer<typeof peerViewSchema>;
export type SeenPeer = PeerView["peers"][number];
