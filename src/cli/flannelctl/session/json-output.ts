// What each verb writes to standard output with --json. docs/flannelctl.md is generated from these schemas.
import { z } from "zod";
import {
  handoverSchema,
  leaseSchema,
  planSchema,
  rulesSchema,
  statusSchema,
} from "../../../agent/control/control-protocol.ts";

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
    backend: z.string(),
    enableNftables: z.boolean(),
  })
  .describe("the configuration with all defaults filled in");

const leaseOutputSchema = leaseSchema.extend({
  /** Whole seconds; missing for a reservation and when the store no longer knows. */
  expiresInSeconds: z.int().optional(),
  revision: z.string().describe("store revision of the last write, decimal"),
  backendData: z.json().optional(),
  backendV6Data: z.json().optional(),
});

export const statusOutputSchema = statusSchema;
export const planOutputSchema = planSchema;
export const rulesOutputSchema = rulesSchema;

export const waitOutputSchema = z.object({
  ready: z.boolean(),
  waitedSeconds: z.number(),
  reasons: z.array(z.string()).describe("why not ready; empty when ready"),
});

export const leaseListOutputSchema = z.object({ leases: z.array(leaseOutputSchema) });
export const leaseShowOutputSchema = z.object({ lease: leaseOutputSchema });

export const leaseReserveOutputSchema = z.object({
  lease: leaseOutputSchema,
  outcome: z
    .enum(["created", "kept", "unchanged"])
    .describe("a new reservation; a living lease that lost its expiry; a reservation already"),
});

export const leaseReleaseOutputSchema = z.object({
  key: z.string(),
  outcome: z.enum(["deleted", "expiring"]).describe("the key is gone; the reservation is a lease of 24 h again"),
});

export const configGetOutputSchema = z.object({
  text: z.string().describe("the document as stored"),
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

export const errorOutputSchema = z
  .object({ error: z.object({ code: z.string(), message: z.string() }) })
  .describe("on standard error, one line");

export const cleanupOutputSchema = z.object({
  dryRun: z.boolean(),
  removed: z
    .array(z.string())
    .describe(
      "kernel objects and traffic rules, as lines of ip, bridge, nft and iptables; with --dry-run what would be removed",
    ),
  released: z.array(z.string()).describe("keys of leases deleted from the store"),
  files: z.array(z.string()).describe("files removed"),
  failures: z.array(z.object({ object: z.string(), error: z.string() })),
});

export const STORE_EXPORT_FORMAT = "flannel-store-export/1";

const storeId = z.string().regex(/^\d{1,19}$/);

/** Bytes of keys and values as latin1 text. */
export const storeExportOutputSchema = z.strictObject({
  format: z.literal(STORE_EXPORT_FORMAT),
  revision: storeId.describe("of the store when it looked like this"),
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
  keys: z.int().describe("keys in the file"),
  leases: z.int().describe("store leases in the file"),
});

export const storeImportOutputSchema = z.object({
  keys: z.int().describe("keys of the export, also those that were there already"),
  leases: z.int().describe("store leases of the export"),
  kept: z.array(z.string()).describe("keys of leases that stayed as the store had them (--keep-leases)"),
});

const broughtUpSchema = z.object({
  host: z.string().describe("name of this host in the cluster"),
  units: z.array(z.string()).describe("paths of the systemd units; empty without systemd"),
  processes: z
    .array(z.object({ name: z.string(), argv: z.array(z.string()), env: z.record(z.string(), z.string()) }))
    .describe("what is to run on this host, in this order: for supervisors other than systemd"),
  ready: z.boolean().optional().describe("whether packets can flow now; missing without systemd"),
  subnet: z.string().optional(),
  reasons: z.array(z.string()).describe("why not ready"),
  findings: z
    .array(z.object({ message: z.string(), cure: z.string() }))
    .describe("what on this host is in the way of packets, and its cure"),
});

export const initOutputSchema = broughtUpSchema.extend({
  addresses: z.array(z.string()).describe("HOST:PORT at which other hosts join"),
  config: z.string().optional().describe("the network configuration; missing when only addresses or units changed"),
  token: z.object({ id: z.string(), expiresAt: z.string() }).optional(),
  joinCommand: z.array(z.string()).optional().describe("argv for one further host; holds the token"),
});

export const joinOutputSchema = broughtUpSchema.extend({
  endpoint: z.string().describe("where its agent finds the store"),
});

export const leaveOutputSchema = cleanupOutputSchema.omit({ dryRun: true }).extend({
  endpoint: z.string().describe("where the store of the cluster is"),
  told: z.boolean().describe("false: the store could not be told, or did not know this host any more"),
});

export const tokenCreateOutputSchema = z.object({
  id: z.string(),
  token: z.string().describe("shown only now"),
  expiresAt: z.string(),
  joinCommand: z.array(z.string()).describe("argv for one further host; holds the token"),
});

export const tokenListOutputSchema = z.object({
  tokens: z.array(
    z.object({
      id: z.string(),
      state: z.enum(["unused", "used", "expired", "revoked"]),
      createdAt: z.string(),
      expiresAt: z.string(),
      usedBy: z.string().optional().describe("name of the host that joined with it"),
      usedAt: z.string().optional(),
      revokedAt: z.string().optional(),
    }),
  ),
});

export const tokenRevokeOutputSchema = z.object({ id: z.string() });

export const hostListOutputSchema = z.object({
  hosts: z.array(
    z.object({
      name: z.string(),
      isConnected: z.boolean().describe("whether it has a connection to the store now"),
      addresses: z.array(z.string()).describe("where it has called the store from, new ones first"),
      joinedAt: z.string(),
      certificateEndsAt: z.string(),
    }),
  ),
});

export const hostRemoveOutputSchema = z.object({
  name: z.string(),
  leases: z.array(z.string()).describe("keys of its leases, deleted from the store"),
  sharedAddresses: z
    .array(z.string())
    .describe("addresses that other hosts call from too: leases that announce them stay"),
});

export const versionOutputSchema = z.object({
  version: z.string().describe("of flannelctl"),
  commit: z.string().optional().describe("it was built from; missing when it was not built from a git checkout"),
  node: z.string(),
  platform: z.string().describe("operating system and processor: linux-x64"),
  agent: z.object({ version: z.string(), pid: z.int() }).optional().describe("missing when no agent answered"),
  agentProblem: z.string().optional().describe("why no agent answered"),
});

export const completionOutputSchema = z.object({ shell: z.enum(["bash", "zsh", "fish"]), script: z.string() });

/** By verb, for the docs. */
export const outputSchemas: Readonly<Record<string, z.ZodType>> = {
  init: initOutputSchema,
  join: joinOutputSchema,
  leave: leaveOutputSchema,
  "token create": tokenCreateOutputSchema,
  "token list": tokenListOutputSchema,
  "token revoke": tokenRevokeOutputSchema,
  "host list": hostListOutputSchema,
  "host remove": hostRemoveOutputSchema,
  status: statusOutputSchema,
  wait: waitOutputSchema,
  plan: planOutputSchema,
  rules: rulesOutputSchema,
  handover: handoverOutputSchema,
  cleanup: cleanupOutputSchema,
  "lease list": leaseListOutputSchema,
  "lease show": leaseShowOutputSchema,
  "lease reserve": leaseReserveOutputSchema,
  "lease release": leaseReleaseOutputSchema,
  "config get": configGetOutputSchema,
  "config set": configSetOutputSchema,
  "config check": configCheckOutputSchema,
  "store export": storeExportOutputSchema,
  "store import": storeImportOutputSchema,
  "store backup": storeBackupOutputSchema,
  version: versionOutputSchema,
  completion: completionOutputSchema,
};

export type InitOutput = z.infer<typeof initOutputSchema>;
export type BroughtUp = Omit<z.infer<typeof broughtUpSchema>, "host">;
export type LeaseOutput = z.infer<typeof leaseOutputSchema>;
export type VersionOutput = z.infer<typeof versionOutputSchema>;
export type WaitOutput = z.infer<typeof waitOutputSchema>;
export type HandoverOutput = z.infer<typeof handoverOutputSchema>;
export type CleanupOutput = z.infer<typeof cleanupOutputSchema>;
export type ResolvedConfig = z.infer<typeof resolvedConfigSchema>;
export type ConfigCheckOutput = z.infer<typeof configCheckOutputSchema>;
