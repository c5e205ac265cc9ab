// What stands in members.json.

import { z } from "zod";
import { FlannelError } from "../../errors.ts";
import { tryParseJson } from "../../json/try-parse-json.ts";

const timeMs = z.int().nonnegative();

const hostSchema = z.strictObject({
  name: z.string(),
  /** See keyPin. */
  keyPin: z.string(),
  joinedAtMs: timeMs,
  /** New ones first. Only these are let in. */
  certificates: z.array(z.strictObject({ serialNumber: z.string(), endsAtMs: timeMs })),
  /** Where it has called from, new ones first; at the end the one it joined from. */
  addresses: z.array(z.string()),
});

const tokenSchema = z.strictObject({
  id: z.string(),
  /** SHA-256, base64url. */
  secretHash: z.string().regex(/^[\w-]{43}$/),
  createdAtMs: timeMs,
  expiresAtMs: timeMs,
  revokedAtMs: timeMs.exactOptional(),
  usedBy: z.strictObject({ hostName: z.string(), keyPin: z.string(), atMs: timeMs }).exactOptional(),
});

const factsSchema = z.strictObject({
  etcdPrefix: z.string(),
  /** Where hosts reach the store; the first is the one to join at. */
  addresses: z.array(z.string()).min(1),
  port: z.int().min(1).max(65_535),
});

const fileSchema = z.strictObject({
  format: z.literal("flannel-cluster/1"),
  facts: factsSchema,
  hosts: z.array(hostSchema),
  tokens: z.array(tokenSchema),
  leaving: z.array(hostSchema).exactOptional(),
});

export type HostRecord = z.infer<typeof hostSchema>;
export type ClusterFacts = z.infer<typeof factsSchema>;
export type TokenRecord = z.infer<typeof tokenSchema>;

export interface MemberFile {
  readonly facts: ClusterFacts;
  readonly hosts: readonly HostRecord[];
  readonly tokens: readonly TokenRecord[];
  /** No members any more; their leases are still to be deleted. Missing when there are none: earlier versions refuse it. */
  readonly leaving?: readonly HostRecord[];
}

/** `path` is named in errors. Throws `CONFIG_INVALID`. */
export function parseMemberFile(text: string, path: string): MemberFile {
  const { success, data, error } = fileSchema.safeParse(tryParseJson(text));
  if (!success) {
    const [issue] = error.issues;
    const where = issue === undefined ? "" : `: ${issue.path.join(".") || "the whole"}: ${issue.message}`;
    throw new FlannelError("CONFIG_INVALID", `${path} is not a list of members of a flannel cluster${where}`);
  }
  return data;
}
