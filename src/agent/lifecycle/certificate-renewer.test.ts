import { createPublicKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../lab/wait.ts";
import { makePrivateKey, readPrivateKey } from "../../flannel-store/membership/keys.ts";
import { makeCertificate } from "../../flannel-store/membership/x509.ts";
import type { CertificateInUse } from "../../store/subnet-store.ts";
import { type Logger, silentLogger } from "../../telemetry/logger.ts";
import { CertificateRenewer } from "./certificate-renewer.ts";

const dayMs = 86_400_000;
const key = makePrivateKey();
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "certificate-renewer-"));
  writeFileSync(join(directory, "key.pem"), key);
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Signs itself; what is left of a life of a year. */
function certificate(daysLeft: number): string {
  const privateKey = readPrivateKey(key, "key");
  const notAfter = new Date(Date.now() + daysLeft * dayMs);
  const notBefore = new Date(notAfter.getTime() - 365 * dayMs);
  const names = { kind: "client", commonName: "h1", organization: "test", alternativeNames: ["h1"] } as const;
  return makeCertificate(
    { ...names, publicKey: createPublicKey(privateKey), notBefore, notAfter },
    { key: privateKey },
  );
}

function keep(certificates: (reloads: number) => readonly CertificateInUse[] = () => []) {
  const events: string[] = [];
  const note = (event: string, message: string) => void events.push(`${event}: ${message}`);
  const logger: Logger = { ...silentLogger, info: note, warn: note, error: note };
  let reloads = 0;
  const reload = () => {
    reloads++;
    return Promise.resolve();
  };
  const file = join(directory, "cert.pem");
  const tls = { caFile: file, certFile: file, keyFile: join(directory, "key.pem") };
  const renewer = CertificateRenewer.start({
    // Nobody listens there: port 1.
    etcd: { endpoints: "https://127.0.0.1:1", prefix: "/p", tls, renewsCertificate: true },
    certificates: { inUse: () => certificates(reloads), reload },
    logger,
    signal: new AbortController().signal,
    lookEveryMs: 5,
  });
  return { renewer, file, events, reloads: () => reloads };
}

test("a file that was replaced is used", async () => {
  writeFileSync(join(directory, "cert.pem"), certificate(300));
  let looks = 0;
  const { renewer, file, reloads } = keep(() => {
    looks++;
    return [];
  });
  await using _renewer = renewer;
  await until(() => looks > 5, { what: "looks at the file as it is" });
  expect(reloads()).toBe(0);
  const replace = () => {
    writeFileSync(file, certificate(310));
    return reloads() > 0;
  };
  await until(replace, { what: "the new file to be taken up" });
});

test("a store that is away is tried again, with the certificate staying as it is", async () => {
  const first = certificate(100);
  writeFileSync(join(directory, "cert.pem"), first);
  const { renewer, events, reloads } = keep();
  await using _renewer = renewer;
  await until(() => events.length > 0, { what: "a failed attempt" });
  expect(events[0]).toContain("certificate.not-renewed: cannot renew this host's certificate; retrying");
  expect(reloads()).toBe(0);
});

test("with more than a third of its life left nobody is asked", async () => {
  writeFileSync(join(directory, "cert.pem"), certificate(130));
  const { renewer, file, events, reloads } = keep();
  await using _renewer = renewer;
  const replace = () => {
    writeFileSync(file, certificate(130 + Math.random()));
    return reloads() > 5;
  };
  await until(replace, { what: "many looks" });
  expect(events.filter((event) => event.startsWith("certificate.not-renewed"))).toEqual([]);
});

const shown = (daysLeft: number): CertificateInUse[] => [
  { role: "server", source: "https://127.0.0.1:1", endsAtMs: Date.now() + daysLeft * dayMs },
];

test("a store that shows a newer certificate at a new connection is not complained about", async () => {
  writeFileSync(join(directory, "cert.pem"), certificate(300));
  let looks = 0;
  const { renewer, events, reloads } = keep((count) => {
    looks++;
    return shown(count === 0 ? 10 : 100);
  });
  await using _renewer = renewer;
  await until(() => looks > 20, { what: "many looks" });
  expect([reloads(), events]).toEqual([1, []]);
});

test("a store whose certificate does end is asked once more, then told of", async () => {
  writeFileSync(join(directory, "cert.pem"), certificate(300));
  const { renewer, events, reloads } = keep(() => shown(10));
  await using _renewer = renewer;
  await until(() => events.length > 0, { what: "the warning" });
  expect(events[0]).toContain("certificate.ends: the certificate of the store (https://127.0.0.1:1) expires in");
  expect(reloads()).toBe(1);
});
