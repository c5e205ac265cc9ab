// Who belongs to the cluster: hosts with their certificates, join tokens. Every change is on disk (members.json) before it
// counts. Only the store's process writes it, or `flannelctl init` before there is one.
import { createHash, randomBytes, randomInt, timingSafeEqual } from "node:crypto";
import { FlannelError } from "../../errors.ts";
import type { IssuedCertificate } from "./cluster-authority.ts";
import { type ClusterFiles, readClusterFile, writeSecretFile } from "./cluster-files.ts";
import {
  type ClusterFacts,
  type HostRecord,
  type MemberFile,
  parseMemberFile,
  type TokenRecord,
} from "./member-file.ts";

/** Its owner may come back: the answer to an earlier attempt was lost. */
export interface JoinAttempt {
  readonly tokenId: string;
  readonly secret: string;
  readonly hostName: string;
  readonly keyPin: string;
  /** Where it calls from; missing when it does not call. */
  readonly address?: string;
}

const DAY_MS = 86_400_000;
const MAX_TOKEN_LIFE_MS = 30 * DAY_MS;
/** So long an ended token is distinguished from one that never was. */
const REMEMBER_ENDED_TOKEN_MS = 7 * DAY_MS;
const MAX_TOKENS = 1_000;
const NEW_TOKEN = "create a new one with flannelctl token create on the store's host";
/** Of each host: the one it uses, and some whose answers were lost or whose files could not be written. */
const MAX_CERTIFICATES = 4;
const MAX_ADDRESSES = 8;

export class MemberRegistry {
  readonly #path: string;
  #content: MemberFile;
  #hostBySerial = new Map<string, HostRecord>();

  private constructor(path: string, content: MemberFile) {
    this.#path = path;
    this.#content = content;
    this.#index();
  }

  /** Throws `FILE_FAILED` when it is not there, `CONFIG_INVALID` when it makes no sense. */
  static open({ members }: ClusterFiles): MemberRegistry {
    return new MemberRegistry(members, parseMemberFile(readClusterFile(members), members));
  }

  /** A registry without members. */
  static create({ members }: ClusterFiles, facts: ClusterFacts): MemberRegistry {
    const registry = new MemberRegistry(members, { facts, hosts: [], tokens: [] });
    registry.#commit({});
    return registry;
  }

  get facts(): ClusterFacts {
    return this.#content.facts;
  }

  get hosts(): readonly HostRecord[] {
    return this.#content.hosts;
  }

  /** No members any more, whose leases are still to be deleted. */
  get leaving(): readonly HostRecord[] {
    return this.#content.leaving ?? [];
  }

  get tokens(): readonly TokenRecord[] {
    return this.#content.tokens;
  }

  setFacts(facts: ClusterFacts): void {
    this.#commit({ facts });
  }

  /** The host whose certificate this is; a certificate with another key is nobody's. */
  findBySerial(serialNumber: string, keyPin: string): HostRecord | undefined {
    const host = this.#hostBySerial.get(serialNumber);
    return host?.keyPin === keyPin ? host : undefined;
  }

  /** The secret is kept nowhere. Throws `CONFIG_INVALID` for a life that is not allowed, or when there are too many. */
  createToken(
    lifeMs: number,
    nowMs: number,
  ): { readonly id: string; readonly secret: string; readonly expiresAtMs: number } {
    if (!Number.isInteger(lifeMs) || lifeMs < 1_000 || lifeMs > MAX_TOKEN_LIFE_MS) {
      throw new FlannelError("CONFIG_INVALID", "the lifetime of a token must be from 1 second to 30 days");
    }
    const tokens = withRoom(this.#rememberedTokens(nowMs), nowMs);
    if (tokens.length >= MAX_TOKENS) {
      throw new FlannelError("CONFIG_INVALID", `there are ${tokens.length} tokens: revoke some, or let them expire`);
    }
    const id = newTokenId(tokens);
    const secret = randomBytes(24).toString("base64url");
    const expiresAtMs = nowMs + lifeMs;
    const token = { id, secretHash: hashOf(secret).toString("base64url"), createdAtMs: nowMs, expiresAtMs };
    this.#commit({ tokens: [...tokens, token] });
    return { id, secret, expiresAtMs };
  }

  /** Throws `CLUSTER_NOT_FOUND`. */
  revokeToken(id: string, nowMs: number): void {
    const token = this.#content.tokens.find((candidate) => candidate.id === id);
    if (token === undefined) {
      throw new FlannelError("CLUSTER_NOT_FOUND", `there is no token ${id}; see flannelctl token list`);
    }
    if (token.revokedAtMs === undefined) this.#replaceToken({ ...token, revokedAtMs: nowMs });
  }

  /**
   * Takes a host in and uses its token up, in one step. The same token lets the same key in again until it expires.
   * `issue` is called when nothing speaks against it; what it throws changes nothing. Throws `STORE_UNAUTHORIZED` for a
   * token that is wrong, expired, used or revoked, `CLUSTER_CONFLICT` for a name that another key has.
   */
  join(attempt: JoinAttempt, nowMs: number, issue: () => IssuedCertificate): IssuedCertificate {
    const token = this.#usableToken(attempt, nowMs);
    const { hostName, keyPin } = attempt;
    const known = this.#hostFor(attempt);
    const issued = issue();
    const usedBy = token.usedBy ?? { hostName, keyPin, atMs: nowMs };
    const tokens = this.#content.tokens.map((other) => (other.id === token.id ? { ...other, usedBy } : other));
    this.#commit({ tokens, ...this.#membersWith(attempt, known, issued, nowMs) });
    return issued;
  }

  /** Takes a host in without a token. Throws `CLUSTER_CONFLICT`. */
  admit(host: Omit<JoinAttempt, "tokenId" | "secret">, nowMs: number, issued: IssuedCertificate): void {
    this.#commit(this.#membersWith(host, this.#hostFor(host), issued, nowMs));
  }

  /**
   * Adds a certificate with the host's own key. The one it was asked for with stays good, however often this is done: the
   * host may have failed to write the new ones. Throws `CLUSTER_NOT_FOUND` when the host has been removed meanwhile.
   */
  addCertificate({ name, keyPin }: HostRecord, issued: IssuedCertificate, shownSerialNumber: string): void {
    const host = this.#content.hosts.find((candidate) => candidate.name === name && candidate.keyPin === keyPin);
    if (host === undefined) throw noSuchHost(name);
    this.#replaceHost(withCertificate(host, issued, shownSerialNumber));
  }

  /**
   * The host is no member any more, nor may the tokens it joined with take it in again. It is leaving until `forget`. Gives
   * all of that name that are leaving; so it may be repeated until then. Throws `CLUSTER_NOT_FOUND`.
   */
  remove(name: string): readonly HostRecord[] {
    const host = this.#content.hosts.find((candidate) => candidate.name === name);
    if (host !== undefined) {
      this.#commit({
        hosts: this.#content.hosts.filter((other) => other !== host),
        tokens: this.#content.tokens.filter(
          ({ usedBy }) => usedBy?.keyPin !== host.keyPin && usedBy?.hostName !== name,
        ),
        leaving: [...this.leaving, host],
      });
    }
    const leaving = this.leaving.filter((candidate) => candidate.name === name);
    if (leaving.length === 0) throw noSuchHost(name);
    return leaving;
  }

  /** Nothing of this host is left to be deleted. */
  forget({ keyPin }: HostRecord): void {
    const rest = this.leaving.filter((other) => other.keyPin !== keyPin);
    if (rest.length < this.leaving.length) this.#commit({ leaving: rest });
  }

  /** Remembers where a host calls from. */
  noteAddress(host: HostRecord, address: string): void {
    if (host.addresses.includes(address)) return;
    this.#replaceHost({ ...host, addresses: withAddress(host.addresses, address) });
  }

  /** Throws `STORE_UNAUTHORIZED` when there is no such token; says nothing of what became of it. */
  checkSecret(tokenId: string, secret: string): TokenRecord {
    const token = this.#content.tokens.find(({ id }) => id === tokenId);
    const wanted = token === undefined ? hashOf("") : Buffer.from(token.secretHash, "base64url");
    if (timingSafeEqual(hashOf(secret), wanted) && token !== undefined) return token;
    throw refusedToken(
      `this store does not know the token: it has a slip in it, or ended more than a week ago; ${NEW_TOKEN}`,
    );
  }

  #usableToken({ tokenId, secret, hostName, keyPin }: JoinAttempt, nowMs: number): TokenRecord {
    const token = this.checkSecret(tokenId, secret);
    const { usedBy } = token;
    if (token.revokedAtMs !== undefined) {
      throw refusedToken(`token ${token.id} has been revoked by an operator: ${NEW_TOKEN}`);
    }
    if (usedBy !== undefined && (usedBy.keyPin !== keyPin || usedBy.hostName !== hostName)) {
      throw refusedToken(
        `token ${token.id} has been used already, by host ${usedBy.hostName}: each host needs its own, from flannelctl token create`,
      );
    }
    if (token.expiresAtMs <= nowMs) {
      const endedAt = new Date(token.expiresAtMs).toISOString();
      throw refusedToken(`token ${token.id} has expired, at ${endedAt} by the clock of the store's host: ${NEW_TOKEN}`);
    }
    return token;
  }

  #hostFor({ hostName, keyPin }: Pick<JoinAttempt, "hostName" | "keyPin">): HostRecord | undefined {
    const known = this.#content.hosts.find(({ name }) => name === hostName);
    if (known !== undefined && known.keyPin !== keyPin) {
      throw new FlannelError(
        "CLUSTER_CONFLICT",
        `another host of this cluster is named ${hostName}: run flannelctl host remove ${hostName} first, or join with --name`,
      );
    }
    const namesake = this.#content.hosts.find((host) => host.keyPin === keyPin && host.name !== hostName);
    if (namesake !== undefined) {
      throw new FlannelError(
        "CLUSTER_CONFLICT",
        `this host's key belongs to host ${namesake.name} of this cluster: join with --name ${namesake.name}, or run flannelctl leave first`,
        { details: { ownName: namesake.name } },
      );
    }
    return known;
  }

  /** Who comes back before its leases were deleted keeps them. */
  #membersWith(
    { hostName, keyPin, address }: Pick<JoinAttempt, "hostName" | "keyPin" | "address">,
    known: HostRecord | undefined,
    issued: IssuedCertificate,
    nowMs: number,
  ): Pick<MemberFile, "hosts" | "leaving"> {
    const host = known ?? { name: hostName, keyPin, joinedAtMs: nowMs, certificates: [], addresses: [] };
    const addresses = address === undefined ? host.addresses : withAddress(host.addresses, address);
    const joined = withCertificate({ ...host, addresses }, issued);
    const hosts = [...this.#content.hosts.filter(({ name }) => name !== hostName), joined];
    return { hosts, leaving: this.leaving.filter((other) => other.keyPin !== keyPin) };
  }

  #replaceHost(host: HostRecord): void {
    this.#commit({ hosts: this.#content.hosts.map((other) => (other.name === host.name ? host : other)) });
  }

  #replaceToken(token: TokenRecord): void {
    this.#commit({ tokens: this.#content.tokens.map((other) => (other.id === token.id ? token : other)) });
  }

  #rememberedTokens(nowMs: number): TokenRecord[] {
    return this.#content.tokens.filter(({ expiresAtMs }) => expiresAtMs + REMEMBER_ENDED_TOKEN_MS > nowMs);
  }

  #commit(change: Partial<MemberFile>): void {
    const { leaving = [], ...members } = { ...this.#content, ...change };
    const content: MemberFile = leaving.length === 0 ? members : { ...members, leaving };
    writeSecretFile(this.#path, `${JSON.stringify({ format: "flannel-cluster/1", ...content }, undefined, 1)}\n`);
    this.#content = content;
    this.#index();
  }

  #index(): void {
    this.#hostBySerial = new Map(
      this.#content.hosts.flatMap((host) => host.certificates.map(({ serialNumber }) => [serialNumber, host])),
    );
  }
}

function withCertificate(host: HostRecord, issued: IssuedCertificate, keptSerialNumber?: string): HostRecord {
  const { serialNumber, endsAtMs } = issued;
  const kept = host.certificates.filter((certificate) => certificate.serialNumber === keptSerialNumber);
  const others = host.certificates.filter((certificate) => certificate.serialNumber !== keptSerialNumber);
  const room = MAX_CERTIFICATES - 1 - kept.length;
  return { ...host, certificates: [{ serialNumber, endsAtMs }, ...others.slice(0, room), ...kept] };
}

/** New ones come first. The one it joined from is never pushed out. */
function withAddress(known: readonly string[], address: string): string[] {
  if (known.includes(address)) return [...known];
  const [first] = known.slice(-1);
  if (known.length < MAX_ADDRESSES || first === undefined) return [address, ...known];
  return [address, ...known.slice(0, MAX_ADDRESSES - 2), first];
}

function hashOf(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

function newTokenId(tokens: readonly TokenRecord[]): string {
  for (;;) {
    const id = Array.from({ length: 8 }, () => randomInt(36).toString(36)).join("");
    if (tokens.every((token) => token.id !== id)) return id;
  }
}

function noSuchHost(name: string): FlannelError {
  return new FlannelError("CLUSTER_NOT_FOUND", `there is no host ${name} in this cluster; see flannelctl host list`);
}

function refusedToken(message: string): FlannelError {
  return new FlannelError("STORE_UNAUTHORIZED", message);
}

/** Without the oldest of those that let nobody in any more, if there are too many. */
function withRoom(tokens: readonly TokenRecord[], nowMs: number): TokenRecord[] {
  const ended = tokens.filter(({ revokedAtMs, expiresAtMs }) => revokedAtMs !== undefined || expiresAtMs <= nowMs);
  const forgotten = new Set(ended.slice(0, Math.max(0, tokens.length - MAX_TOKENS + 1)));
  return tokens.filter((token) => !forgotten.has(token));
}
