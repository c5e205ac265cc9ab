// `flannelctl token`: what further hosts join the cluster with.
import { join } from "node:path";
import type { z } from "zod";
import { type ExitCode, exitCodes } from "../../../exit-codes.ts";
import type { Token } from "../../../flannel-store/membership/cluster.ts";
import { formatDuration, formatTable, shellLine } from "../../../terminal/text.ts";
import { findInstallation } from "../../install/installation.ts";
import { openAdministrator } from "../session/administrator.ts";
import { type Invocation, present } from "../session/invocation.ts";
import { tokenCreateOutputSchema, tokenListOutputSchema, tokenRevokeOutputSchema } from "../session/json-output.ts";

type TokenOutput = z.infer<typeof tokenListOutputSchema>["tokens"][number];

export async function createToken(invocation: Invocation, ttlSeconds: number): Promise<ExitCode> {
  const client = openAdministrator(invocation);
  const { id, token, expiresAtMs, joinAddress } = await client.createToken(ttlSeconds, invocation.signal);
  const program = join(findInstallation().directory, "bin/flannelctl");
  const joinCommand = [program, "join", joinAddress, "--token", token];
  const output = { id, token, expiresAt: instant(expiresAtMs), joinCommand };
  present(invocation, tokenCreateOutputSchema, output, (value) => [
    `run as root on one other host, within ${formatDuration(ttlSeconds)}:`,
    `  ${shellLine(value.joinCommand)}`,
  ]);
  return exitCodes.ok;
}

export async function listTokens(invocation: Invocation): Promise<ExitCode> {
  const nowMs = invocation.terminal.nowMs();
  const tokens = await openAdministrator(invocation).listTokens(invocation.signal);
  const output = { tokens: tokens.map((token) => tokenOutput(token, nowMs)) };
  present(invocation, tokenListOutputSchema, output, (value) => {
    if (value.tokens.length === 0) return ["no tokens"];
    const rows = value.tokens.map(({ id, state, expiresAt, usedBy = "" }) => [
      id,
      state,
      usedBy,
      state === "unused" ? formatDuration((Date.parse(expiresAt) - nowMs) / 1_000) : "",
    ]);
    return formatTable(["TOKEN", "STATE", "USED BY", "EXPIRES IN"], rows);
  });
  return exitCodes.ok;
}

/** `text` is the id; a whole token is taken as well, since that is what people have at hand. */
export async function revokeToken(invocation: Invocation, text: string): Promise<ExitCode> {
  const [id = ""] = text.split(".");
  await openAdministrator(invocation).revokeToken(id, invocation.signal);
  present(invocation, tokenRevokeOutputSchema, { id }, (value) => [
    `token ${value.id} is revoked: no host can join with it`,
  ]);
  return exitCodes.ok;
}

function tokenOutput(token: Token, nowMs: number): TokenOutput {
  const { id, createdAtMs, expiresAtMs, revokedAtMs, usedAtMs, usedBy } = token;
  return {
    id,
    state: stateOf(token, nowMs),
    createdAt: instant(createdAtMs),
    expiresAt: instant(expiresAtMs),
    ...(usedBy !== "" && { usedBy, usedAt: instant(usedAtMs) }),
    ...(revokedAtMs !== 0n && { revokedAt: instant(revokedAtMs) }),
  };
}

function stateOf({ revokedAtMs, usedBy, expiresAtMs }: Token, nowMs: number): TokenOutput["state"] {
  if (revokedAtMs !== 0n) return "revoked";
  if (usedBy !== "") return "used";
  return Number(expiresAtMs) <= nowMs ? "expired" : "unused";
}

function instant(ms: bigint): string {
  return new Date(Number(ms)).toISOString();
}
