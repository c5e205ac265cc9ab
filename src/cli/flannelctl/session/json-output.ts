// What each verb writes to standard output with --json: these, with a version in front. docs/schemas is generated from them.
// One naming in all: adjectives for what is or is not so, …At for moments, …Seconds and …Ms for durations, …Bytes for sizes.
import { z } from "zod";
import {
  findingSchema,
  handoverSchema,
  instantSchema,
  leaseSchema,
  planSchema,
  reasonSchema,
  reloadedSchema,
  rotatedSchema,
  rulesSchema,
  stateSchema,
  statusSchema,
} from "../../../agent/control/control-protocol.ts";
import { historySchema, journalEntrySchema, peersSchema, whySchema } from "../../../agent/control/journal-protocol.ts";
import { bugreportOutputSchema, doctorOutputSchema } from "./doctor-output.ts";
import { OUTPUT_VERSION } from "./output-version.ts";
import { traceOutputSchema } from "./trace-output.ts";

const warnings = z.array(z.object({ path: z.string(), message: z.string() }));

const poolSchema = z.object({
  network: z.string(),
  subnetLength: z.int(),
  subnetMin: z.string().describe("first subnet that is leased"),
  subnetMax: z.string().describe("last subnet that is leased"),
});

const resolvedConfigSchema = z
  .object({
    ipv4: poolSchema.optional(),
    ipv6: poolSchema.optional(),
    backendType: z.string(),
    enableNftables: z.boolean(),
  })
  .describe("the configuration with all defaults filled in");

const leaseOutputSchema = leaseSchema.extend({
  expiresInSeconds: z.int().optional().describe("missing for a reservation, and when the store no longer knows"),
  revision: z.string().describe("store revision of the last write, decimal"),
  backendData: z.json().optional(),
  backendV6Data: z.json().optional(),
});

export const statusOutputSchema = statusSchema;
export const planOutputSchema = planSchema;
export const rulesOutputSchema = rulesSchema;
export const historyOutputSchema = historySchema;
export const peersOutputSchema = peersSchema;
export const whyOutputSchema = whySchema.extend({ of: z.string().describe("what was asked about") });
export const watchOutputSchema = z.object({
  status: statusSchema,
  peers: peersSchema.shape.networks,
  entries: z.array(journalEntrySchema).describe("the last of the journal, oldest first"),
});

export type JournalEntryOutput = z.infer<typeof journalEntrySchema>;
export type WatchOutput = z.infer<typeof watchOutputSchema>;

export const dashboardOutputSchema = z.object({
  url: z.string().describe("link for a browser, with a token that works once"),
  origin: z.string().describe("where the page is served"),
});

export const pingOutputSchema = z.object({
  target: z.string(),
  peers: z.array(
    z.object({
      subnet: z.string(),
      publicIp: z.string().optional(),
      backendType: z.string(),
      legs: z.array(
        z.object({
          name: z.string().describe("underlay, tunnel, bridge, container: see docs/probes.md"),
          target: z.string(),
          sent: z.int(),
          answered: z.int(),
          rttSeconds: z
            .object({ least: z.number(), median: z.number(), most: z.number() })
            .optional()
            .describe("absent without any answer"),
          cause: z.string().optional().describe("the newest error that came back"),
        }),
      ),
      verdict: z.string(),
    }),
  ),
});
export type PingOutput = z.infer<typeof pingOutputSchema>;

export const waitOutputSchema = z.object({
  ready: z.boolean().describe("ready or degraded: packets can flow"),
  state: stateSchema,
  waitedSeconds: z.number(),
  reasons: z.array(reasonSchema).describe("reasons at the end of the wait; empty when the agent is ready"),
});

export const leaseListOutputSchema = z.object({ leases: z.array(leaseOutputSchema) });
export const leaseShowOutputSchema = z.object({ lease: leaseOutputSchema });

export const leaseReserveOutputSchema = z.object({
  lease: leaseOutputSchema,
  outcome: z
    .enum(["created", "kept", "unchanged"])
    .describe("a new reservation; an active lease that lost its expiry; a reservation that already existed"),
});

export const leaseReleaseOutputSchema = z.object({
  key: z.string(),
  outcome: z.enum(["deleted", "expiring"]).describe("the key is gone; the reservation is a lease of 24 h again"),
});

export const configGetOutputSchema = z.object({
  configText: z.string().describe("the document as stored"),
  revision: z.string().describe("store revision of its last write, decimal"),
});

export const configSetOutputSchema = z.object({
  changed: z.boolean().describe("false when exactly this text was stored already"),
  revision: z.string(),
  warnings,
  config: resolvedConfigSchema,
});

export const configCheckOutputSchema = z.object({
  valid: z.boolean(),
  errors: z.array(z.string()),
  warnings,
  config: resolvedConfigSchema.optional(),
});

export const handoverOutputSchema = handoverSchema.extend({
  through: z.enum(["agent", "kernel"]).describe("who rewrote the routes: the running agent, or flannelctl itself"),
});

/** On standard error, one line. */
const errorOutputSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

export const cleanupOutputSchema = z.object({
  dryRun: z.boolean(),
  removedObjects: z
    .array(z.string())
    .describe(
      "kernel objects and traffic rules, as lines of ip, bridge, nft and iptables; with --dry-run what would be removed",
    ),
  releasedLeases: z.array(z.string()).describe("keys of leases deleted from the store"),
  removedFiles: z.array(z.string()).describe("files removed"),
  failures: z.array(z.object({ object: z.string(), error: z.string() })),
});

export const cniGcOutputSchema = z.object({
  dryRun: z.boolean(),
  runtimes: z.array(z.string()).describe("sockets of the container runtimes that were asked"),
  networks: z.array(
    z.object({
      name: z.string(),
      directory: z.string().describe("where host-local keeps its reservations"),
      freedAddresses: z
        .array(z.object({ address: z.string(), containerId: z.string() }))
        .describe("reserved for containers that no runtime knows; with --dry-run what would be freed"),
      keptAddresses: z
        .array(z.object({ address: z.string(), containerId: z.string(), reason: z.string() }))
        .describe("of containers that no runtime knows, and kept all the same"),
      removedScratchFiles: z.array(z.string()).describe("of flannel's CNI plugin"),
    }),
  ),
});

export const STORE_EXPORT_FORMAT = "flannel-store-export/1";

const storeId = z.string().regex(/^\d{1,19}$/);

/** Bytes of keys and values as latin1 text. */
export const storeExportOutputSchema = z.strictObject({
  format: z.literal(STORE_EXPORT_FORMAT),
  revision: storeId.describe("store revision of this snapshot"),
  leases: z.array(z.strictObject({ id: storeId, ttlSeconds: z.int().positive() })),
  keys: z.array(
    z.strictObject({
      key: z.string().min(1).describe("bytes as latin1 text"),
      value: z.string().describe("bytes as latin1 text"),
      lease: storeId.optional().describe("store lease; missing when the key never expires"),
    }),
  ),
});

export const storeBackupOutputSchema = z.object({
  keyCount: z.int().describe("keys in the file"),
  leaseCount: z.int().describe("store leases in the file"),
});

export const storeImportOutputSchema = z.object({
  keyCount: z.int().describe("keys of the export, including those that already existed"),
  leaseCount: z.int().describe("store leases of the export"),
  keptLeases: z.array(z.string()).describe("keys of leases that the store kept unchanged (--keep-leases)"),
  skipped: z
    .array(z.object({ key: z.string(), reason: z.string() }))
    .optional()
    .describe("keys of etcd v2 that are no leases of the network and were left out (--etcd-v2-endpoints)"),
  dryRun: z
    .object({
      newKeys: z.array(z.string()).describe("keys that would be written"),
      conflicts: z.array(z.string()).describe("keys that exist with another value: the import would be refused"),
    })
    .optional()
    .describe("nothing was written (--dry-run)"),
});

const broughtUpSchema = z.object({
  host: z.string().describe("name of this host in the cluster"),
  units: z.array(z.string()).describe("paths of the systemd units; empty without systemd"),
  processes: z
    .array(z.object({ name: z.string(), argv: z.array(z.string()), env: z.record(z.string(), z.string()) }))
    .describe("processes to run on this host, in this order, under a supervisor other than systemd"),
  ready: z.boolean().optional().describe("whether packets can flow now; missing without systemd"),
  state: stateSchema.optional(),
  subnet: z.string().optional(),
  ipv6Subnet: z.string().optional(),
  reasons: z.array(reasonSchema).describe("why not ready, or only degraded"),
  findings: z.array(findingSchema).describe("what on this host stops packets"),
});

export const initOutputSchema = broughtUpSchema.extend({
  addresses: z.array(z.string()).describe("HOST:PORT at which other hosts join"),
  configText: z.string().optional().describe("the network configuration; missing when only addresses or units changed"),
  token: z.object({ id: z.string(), expiresAt: instantSchema }).optional(),
  joinCommand: z.array(z.string()).optional().describe("argv for one other host; contains the token"),
});

export const joinOutputSchema = broughtUpSchema.extend({
  endpoint: z.string().describe("where the agent of this host reaches the store"),
});

export const leaveOutputSchema = cleanupOutputSchema.omit({ dryRun: true }).extend({
  endpoint: z.string().describe("where the store of the cluster is"),
  storeInformed: z.boolean().describe("false: the store could not be reached, or no longer knew this host"),
  pendingReason: z
    .string()
    .optional()
    .describe("why the store could not delete this host's leases yet; it deletes them as soon as it can write"),
});

export const tokenCreateOutputSchema = z.object({
  id: z.string(),
  token: z.string().describe("shown only once"),
  expiresAt: instantSchema,
  joinCommand: z.array(z.string()).describe("argv for one other host; contains the token"),
});

export const tokenListOutputSchema = z.object({
  tokens: z.array(
    z.object({
      id: z.string(),
      state: z.enum(["unused", "used", "expired", "revoked"]),
      createdAt: instantSchema,
      expiresAt: instantSchema,
      usedBy: z.string().optional().describe("name of the host that joined with it"),
      usedAt: instantSchema.optional(),
      revokedAt: instantSchema.optional(),
    }),
  ),
});

export const tokenRevokeOutputSchema = z.object({ id: z.string() });

export const hostListOutputSchema = z.object({
  hosts: z.array(
    z.object({
      name: z.string(),
      connected: z.boolean().describe("whether it has a connection to the store now"),
      addresses: z.array(z.string()).describe("addresses from which it connected to the store, latest first"),
      joinedAt: instantSchema,
      certificateEndsAt: instantSchema,
      leaving: z
        .boolean()
        .describe(
          "removed already; the store still has to delete its leases, and deletes them as soon as it can write",
        ),
    }),
  ),
});

export const hostRemoveOutputSchema = z.object({
  name: z.string(),
  releasedLeases: z.array(z.string()).describe("keys of its leases, deleted from the store"),
  sharedAddresses: z
    .array(z.string())
    .describe("addresses from which other hosts connect, too: leases that announce them stay"),
});

export const reloadOutputSchema = reloadedSchema;

export const wireguardRotateOutputSchema = rotatedSchema;

export const wireguardExportOutputSchema = z.object({
  name: z.string().describe("of the static peer"),
  configText: z.string().describe("a file for wg-quick, without secrets"),
  hosts: z.array(z.string()).describe("keys of the leases in it"),
  skipped: z.array(z.object({ key: z.string(), reason: z.string() })).describe("leases that could not be put in"),
});

export const versionOutputSchema = z.object({
  flannelctl: z.object({
    version: z.string(),
    commit: z.string().optional().describe("commit of the build; missing when it was not built from a git checkout"),
  }),
  node: z.string(),
  platform: z.string().describe("operating system and processor: linux-x64"),
  agent: z.object({ version: z.string(), pid: z.int() }).optional().describe("missing when no agent answered"),
  agentProblem: z.string().optional().describe("why no agent answered"),
});

export const completionOutputSchema = z.object({ shell: z.enum(["bash", "zsh", "fish"]), script: z.string() });

function versioned<T extends z.ZodRawShape>(schema: z.ZodObject<T>) {
  return z.object({ version: z.literal(OUTPUT_VERSION), ...schema.shape });
}

/** As published: by verb, and `error` for what stands on standard error when a verb failed. */
export const publishedSchemas: Readonly<Record<string, z.ZodType>> = {
  init: versioned(initOutputSchema),
  peers: versioned(peersOutputSchema),
  why: versioned(whyOutputSchema),
  history: versioned(historyOutputSchema),
  events: versioned(journalEntrySchema),
  watch: versioned(watchOutputSchema),
  join: versioned(joinOutputSchema),
  leave: versioned(leaveOutputSchema),
  "token create": versioned(tokenCreateOutputSchema),
  "token list": versioned(tokenListOutputSchema),
  "token revoke": versioned(tokenRevokeOutputSchema),
  "host list": versioned(hostListOutputSchema),
  "host remove": versioned(hostRemoveOutputSchema),
  status: versioned(statusOutputSchema),
  wait: versioned(waitOutputSchema),
  ping: versioned(pingOutputSchema),
  trace: versioned(traceOutputSchema),
  plan: versioned(planOutputSchema),
  rules: versioned(rulesOutputSchema),
  doctor: versioned(doctorOutputSchema),
  bugreport: versioned(bugreportOutputSchema),
  dashboard: versioned(dashboardOutputSchema),
  handover: versioned(handoverOutputSchema),
  cleanup: versioned(cleanupOutputSchema),
  "cni gc": versioned(cniGcOutputSchema),
  "lease list": versioned(leaseListOutputSchema),
  "lease show": versioned(leaseShowOutputSchema),
  "lease reserve": versioned(leaseReserveOutputSchema),
  "lease release": versioned(leaseReleaseOutputSchema),
  "config get": versioned(configGetOutputSchema),
  "config set": versioned(configSetOutputSchema),
  "config check": versioned(configCheckOutputSchema),
  "store export": storeExportOutputSchema,
  "store import": versioned(storeImportOutputSchema),
  "store backup": versioned(storeBackupOutputSchema),
  reload: versioned(reloadOutputSchema),
  "wireguard rotate": versioned(wireguardRotateOutputSchema),
  "wireguard export": versioned(wireguardExportOutputSchema),
  version: versioned(versionOutputSchema),
  completion: versioned(completionOutputSchema),
  error: versioned(errorOutputSchema),
};

/** In docs/schemas. */
export function schemaFileName(verb: string): string {
  return `${verb.replaceAll(" ", "-")}.json`;
}

export type InitOutput = z.infer<typeof initOutputSchema>;
export type BroughtUp = Omit<z.infer<typeof broughtUpSchema>, "host">;
export type LeaseOutput = z.infer<typeof leaseOutputSchema>;
export type VersionOutput = z.infer<typeof versionOutputSchema>;
export type WaitOutput = z.infer<typeof waitOutputSchema>;
export type HandoverOutput = z.infer<typeof handoverOutputSchema>;
export type CniGcOutput = z.infer<typeof cniGcOutputSchema>;
export type CleanupOutput = z.infer<typeof cleanupOutputSchema>;
export type ResolvedConfig = z.infer<typeof resolvedConfigSchema>;
export type ConfigCheckOutput = z.infer<typeof configCheckOutputSchema>;
