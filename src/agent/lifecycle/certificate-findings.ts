// What to do about certificates that end soon: 30 days ahead a warning, after the end an error. Pure.
import type { EtcdOptions } from "../../config/agent-options.ts";
import type { Finding } from "../../doctor/finding.ts";
import type { CertificateInUse } from "../../store/subnet-store.ts";

const DAY_MS = 86_400_000;
const WARN_AHEAD_MS = 30 * DAY_MS;
/** Clocks that nobody would call wrong. */
const CLOCK_SKEW_MS = 5 * 60_000;

const names: Readonly<Record<CertificateInUse["role"], string>> = {
  client: "this host's certificate",
  authority: "the CA certificate",
  server: "the certificate of the store",
};

/** Within 30 days, or ended. */
export function endsSoon({ endsAtMs }: CertificateInUse, nowMs: number): boolean {
  return endsAtMs - nowMs < WARN_AHEAD_MS;
}

export function certificateFindings(
  certificates: readonly CertificateInUse[],
  etcd: Pick<EtcdOptions, "endpoints" | "renewsCertificate">,
  nowMs: number,
): Finding[] {
  const early = certificates.find(({ startsAtMs = 0 }) => startsAtMs > nowMs + CLOCK_SKEW_MS);
  if (early !== undefined) return [clockFinding(early, nowMs)];
  const ending = certificates.filter((certificate) => endsSoon(certificate, nowMs));
  return ending.map(({ role, source, endsAtMs }) => {
    const hasEnded = endsAtMs <= nowMs;
    const day = new Date(endsAtMs).toISOString().slice(0, 10);
    const days = Math.floor((endsAtMs - nowMs) / DAY_MS);
    const when = hasEnded ? `expired on ${day}` : `expires in ${days} day${days === 1 ? "" : "s"}, on ${day}`;
    return {
      name: "store-tls",
      severity: hasEnded ? "error" : "warning",
      evidence: `${names[role]} (${source}) ${when}`,
      remedy: remedyFor(role, hasEnded, etcd),
    };
  });
}

/** A clock that is behind makes all certificates look wrong: that alone is said. */
function clockFinding({ role, source, startsAtMs = 0 }: CertificateInUse, nowMs: number): Finding {
  const [now, start] = [new Date(nowMs).toISOString(), new Date(startsAtMs).toISOString()];
  return {
    name: "clock-skew",
    severity: "error",
    evidence: `this host's clock says ${now}, but ${names[role]} (${source}) begins on ${start}`,
    remedy: "set this host's clock (timedatectl, chronyc makestep)",
  };
}

function remedyFor(
  role: CertificateInUse["role"],
  hasEnded: boolean,
  { endpoints, renewsCertificate = false }: Pick<EtcdOptions, "endpoints" | "renewsCertificate">,
): string {
  if (role === "authority") {
    return "replace the file by the new CA certificate on every host, then reload flanneld (SIGHUP)";
  }
  if (!renewsCertificate) {
    return role === "server"
      ? "renew it at the store: no host can reach the store with an expired certificate"
      : "replace the file by a new certificate, then reload flanneld (SIGHUP)";
  }
  if (role === "server") return "restart flannel-store on its host: it renews its certificate when it starts";
  if (!hasEnded) return "flanneld retries the renewal: its log has the reason for the failure";
  const address = endpoints.split(",", 1)[0]?.replace(/^https:\/\//, "") ?? "";
  return `flannelctl join ${address} --token TOKEN, with a new one from flannelctl token create on the store's host`;
}
