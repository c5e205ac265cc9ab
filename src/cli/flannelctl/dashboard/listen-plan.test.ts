import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { originOf, planListening } from "./listen-plan.ts";

function makeCertificate(directory: TemporaryDirectory): { tlsCert: string; tlsKey: string } {
  const [tlsCert, tlsKey] = [directory.file("cert.pem"), directory.file("key.pem")];
  const argv = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const names = "subjectAltName=DNS:flannel.example,IP:192.0.2.7";
  execFileSync("openssl", [...argv, "-subj", "/CN=x", "-addext", names, "-keyout", tlsKey, "-out", tlsCert], {
    stdio: "pipe",
  });
  return { tlsCert, tlsKey };
}

test.each(["0.0.0.0:8475", "[::]:8475", "192.0.2.7:8475", "flannel.example:8475", "[fd00::1]:0"])(
  "%s without TLS is refused, with the way around",
  (listen) => {
    expect(() => planListening({ listen })).toThrow(/--tls-cert and --tls-key.*ssh -L/);
  },
);

test("loopback needs no TLS, and answers to loopback names alone", () => {
  for (const listen of ["127.0.0.1:0", "[::1]:8475", "localhost:8475", "127.8.8.8:1"]) {
    const plan = planListening({ listen });
    for (const name of ["localhost", "127.0.0.1", "::1"]) expect(plan.isOwnName(name, "127.0.0.1"), name).toBe(true);
    for (const name of ["a.example", "192.0.2.7", "localhost.example"])
      expect(plan.isOwnName(name, "127.0.0.1")).toBe(false);
  }
  expect(originOf(planListening({ listen: "[::1]:8475" }), 8475)).toBe("http://[::1]:8475");
});

test("elsewhere the names of the certificate count, and the address that was reached", () => {
  using directory = new TemporaryDirectory();
  const plan = planListening({ listen: "0.0.0.0:8475", ...makeCertificate(directory) });
  expect(plan.isOwnName("flannel.example", undefined)).toBe(true);
  expect(plan.isOwnName("192.0.2.7", undefined)).toBe(true);
  expect(plan.isOwnName("198.51.100.1", "198.51.100.1")).toBe(true);
  expect(plan.isOwnName("evil.example", "198.51.100.1")).toBe(false);
  expect(plan.isOwnName("localhost", "127.0.0.1")).toBe(false);
  expect(originOf(plan, 8475)).toBe("https://flannel.example:8475");
});

test("half of a key pair, a missing file and what is no key are reported", () => {
  using directory = new TemporaryDirectory();
  const { tlsCert, tlsKey } = makeCertificate(directory);
  expect(() => planListening({ listen: "0.0.0.0:1", tlsCert })).toThrow("belong together");
  expect(() => planListening({ listen: "0.0.0.0:1", tlsCert, tlsKey: directory.file("no") })).toThrow("--tls-key");
  writeFileSync(tlsKey, "no key");
  expect(() => planListening({ listen: "0.0.0.0:1", tlsCert, tlsKey })).toThrow("must be PEM");
  expect(() => planListening({ listen: "8475" })).toThrow("HOST:PORT");
});
