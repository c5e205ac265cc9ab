import { describe, expect, it } from "vitest";
import type { CertificateInUse } from "../subnet-store.ts";
import { connectionHint } from "./connection-hint.ts";

const nowMs = Date.parse("2026-05-05T12:00:00Z");
const client = (start: string, end: string): CertificateInUse => ({
  role: "client",
  source: "/etc/c.pem",
  startsAtMs: Date.parse(start),
  endsAtMs: Date.parse(end),
});
const valid = client("2026-01-01", "2027-01-01");
const [https, http] = ["https://a:2379", "http://a:2379"];

describe("connectionHint", () => {
  it.each([
    ["tlsv13 alert certificate required", https, [], /wants a certificate .*--etcd-certfile and --etcd-keyfile/],
    ["ssl/tls alert bad certificate", https, [], /wants a certificate/],
    ["ssl/tls alert bad certificate", https, [valid], /refuses .*\/etc\/c\.pem: it must be signed by a CA/],
    ["tlsv1 alert unknown ca", "unixs:///s", [valid], /signed by a CA/],
    [
      "ssl/tls alert bad certificate",
      https,
      [client("2025-01-01", "2026-05-01")],
      /c\.pem expired on 2026-05-01: renew/,
    ],
    ["certificate has expired", https, [valid], /the store's certificate; this host's clock says 2026-05-05T12:00:00/],
    ["certificate is not yet valid", https, [], /clock says 2026-05-05/],
    [
      "certificate is not yet valid",
      https,
      [client("2026-06-01", "2027-01-01")],
      /clock is wrong: it says 2026-05-05T.*, but \/etc\/c\.pem was made on 2026-06-01/,
    ],
    ["Client network socket disconnected before secure TLS connection was established", https, [], /write http:\/\//],
    ["Failed to connect", http, [], /write https:\/\//],
    ["self-signed certificate in certificate chain", https, [], /--etcd-cafile/],
  ])("%s at %s", (reason, url, certificates, hint) => {
    expect(connectionHint(reason, { url, certificates, nowMs })).toMatch(hint);
  });

  it.each([
    ["connect ECONNREFUSED 10.0.0.1:2379", https],
    ["Connection dropped", http],
    ["timed out after 5.0 s", http],
  ])("says nothing about %s", (reason, url) => {
    expect(connectionHint(reason, { url, certificates: [valid], nowMs })).toBeUndefined();
  });
});
