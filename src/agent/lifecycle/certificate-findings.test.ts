import { expect, test } from "vitest";
import type { CertificateInUse } from "../../store/subnet-store.ts";
import { certificateFindings } from "./certificate-findings.ts";

const nowMs = Date.parse("2026-03-01T12:00:00Z");
const etcd = { endpoints: "https://192.0.2.1:2379,https://192.0.2.2:2379" };

function inUse(role: CertificateInUse["role"], ends: string): CertificateInUse {
  return { role, source: `${role}.pem`, endsAtMs: Date.parse(ends) };
}

function findings(role: CertificateInUse["role"], ends: string, renewsCertificate = false) {
  return certificateFindings([inUse(role, ends)], { ...etcd, renewsCertificate }, nowMs);
}

test("more than 30 days ahead there is nothing to say", () => {
  expect(findings("client", "2026-03-31T12:00:00Z")).toEqual([]);
});

test("within 30 days it is a warning with the day, after the end an error", () => {
  expect(findings("client", "2026-03-31T11:59:59Z")).toEqual([
    {
      name: "store-tls",
      severity: "warning",
      evidence: "this host's certificate (client.pem) expires in 29 days, on 2026-03-31",
      remedy: "replace the file by a new certificate, then reload flanneld (SIGHUP)",
    },
  ]);
  expect(findings("client", "2026-03-02T13:00:00Z")).toMatchObject([
    { evidence: expect.stringContaining("in 1 day,") },
  ]);
  expect(findings("server", "2026-03-01T12:00:00Z")).toMatchObject([
    { severity: "error", evidence: "the certificate of the store (server.pem) expired on 2026-03-01" },
  ]);
});

test("the remedy for a certificate that the store renews is to wait, and to join again once it ended", () => {
  expect(findings("client", "2026-03-20T00:00:00Z", true)).toMatchObject([
    { remedy: expect.stringContaining("flanneld retries the renewal") },
  ]);
  expect(findings("client", "2026-02-20T00:00:00Z", true)).toMatchObject([
    { remedy: expect.stringMatching(/^flannelctl join 192\.0\.2\.1:2379 --token TOKEN, .*flannelctl token create/) },
  ]);
  expect(findings("server", "2026-03-20T00:00:00Z", true)).toMatchObject([
    { remedy: expect.stringContaining("restart flannel-store") },
  ]);
});

test("a clock behind the beginning of a certificate is the one thing to say", () => {
  const early = { ...inUse("authority", "2026-03-02T00:00:00Z"), startsAtMs: Date.parse("2026-03-01T13:00:00Z") };
  expect(certificateFindings([inUse("client", "2026-03-02T00:00:00Z"), early], etcd, nowMs)).toEqual([
    {
      name: "clock-skew",
      severity: "error",
      evidence:
        "this host's clock says 2026-03-01T12:00:00.000Z, but the CA certificate (authority.pem) begins on 2026-03-01T13:00:00.000Z",
      remedy: "set this host's clock (timedatectl, chronyc makestep)",
    },
  ]);
  const skewed = { ...early, startsAtMs: nowMs + 60_000, endsAtMs: nowMs + 90 * 86_400_000 };
  expect(certificateFindings([skewed], etcd, nowMs)).toEqual([]);
});
