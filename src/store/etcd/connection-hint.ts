// What an operator should look at when a connection fails for a reason that OpenSSL or a socket words badly: certificates,
// the clock, http:// and https:// mixed up. Pure.
import type { CertificateInUse } from "../subnet-store.ts";

export interface ConnectionFacts {
  readonly url: string;
  /** Ours among them; a server's only when its certificate was found valid. */
  readonly certificates: readonly CertificateInUse[];
  readonly nowMs: number;
}

/** The server did not like what we showed, or that we showed nothing. */
const refusedCertificate =
  /alert (?:bad certificate|certificate (?:required|expired|unknown|revoked)|unknown ca|unsupported certificate|handshake failure|access denied)/i;

/** A clause about `reason`; undefined when it says enough itself. */
export function connectionHint(reason: string, facts: ConnectionFacts): string | undefined {
  if (refusedCertificate.test(reason)) return aboutOurCertificate(facts);
  if (/certificate has expired|certificate is not yet valid/.test(reason)) return aboutTime(facts);
  if (/self.signed certificate|unable to get (?:local )?issuer/.test(reason)) return "see --etcd-cafile";
  const isEncrypted = /^(?:https|unixs):/.test(facts.url);
  if (isEncrypted && /disconnected before secure TLS|wrong version number|packet length too long/.test(reason)) {
    return "if the store speaks plain HTTP there, write http://";
  }
  if (!isEncrypted && reason === "Failed to connect") return "if the store wants TLS there, write https://";
  return undefined;
}

function aboutOurCertificate({ certificates, nowMs }: ConnectionFacts): string {
  const ours = certificates.find(({ role }) => role === "client");
  if (ours === undefined) {
    return "the store wants a certificate of this host: give --etcd-certfile and --etcd-keyfile";
  }
  const { source, startsAtMs = 0, endsAtMs } = ours;
  if (endsAtMs <= nowMs) return `this host's certificate ${source} expired on ${day(endsAtMs)}: renew it`;
  if (startsAtMs > nowMs) return wrongClock(ours, nowMs);
  return `the store refuses this host's certificate ${source}: it must be signed by a CA that the store trusts`;
}

/** By our clock the store's certificate is not valid: one of the two is wrong. */
function aboutTime({ certificates, nowMs }: ConnectionFacts): string {
  const notBegun = certificates.find(({ startsAtMs = 0 }) => startsAtMs > nowMs);
  if (notBegun !== undefined) return wrongClock(notBegun, nowMs);
  return `it is the store's certificate; this host's clock says ${new Date(nowMs).toISOString()}: if that is wrong, set it`;
}

function wrongClock({ source, startsAtMs = 0 }: CertificateInUse, nowMs: number): string {
  const now = new Date(nowMs).toISOString();
  return `this host's clock is wrong: it says ${now}, but ${source} was made on ${day(startsAtMs)}`;
}

function day(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
