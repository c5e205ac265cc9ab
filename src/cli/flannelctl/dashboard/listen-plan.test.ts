import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { expect, test } from "vitest";
import { TemporaryDirectory } from "../../../../test/support/flannelctl.ts";
import { originOf, planListening } from "./listen-plan.ts";

function makeCertificate(
  directory: TemporaryDirectory,
  names = "DNS:flannel.example,IP:192.0.2.7",
): { tlsCert: string; tlsKey: string } {
  const [tlsCert, tlsKey] = [directory.file("cert.pem"), directory.file("key.pem")];
  const argv = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  execFileSync(
    "openssl",
    [...argv, "-subj", "/CN=x", "-addext", `subjectAltName=${names}`, "-keyout", tlsKey, "-out", tlsCert],
    {
      stdio: "pipe",
    },
  );
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

test.each([
  ["DNS:*.flannel.example,IP:192.0.2.7,DNS:a.example", "https://192.0.2.7:8475"],
  ["IP:2001:db8::7", "https://[2001:db8::7]:8475"],
  ["DNS:*.example,DNS:B.example,IP:192.0.2.7", "https://b.example:8475"],
  [`DNS:${hostname()}`, `https://${hostname().toLowerCase()}:8475`],
])("a certificate of %s gives a link that the server lets in: %s", (names, link) => {
  using directory = new TemporaryDirectory();
  const certificate = makeCertificate(directory, names);
  for (const listen of ["0.0.0.0:8475", "[::]:8475", "[0::0]:8475"]) {
    const plan = planListening({ listen, ...certificate });
    expect(originOf(plan, 8475)).toBe(link);
    expect(plan.isOwnName(plan.name, undefined)).toBe(true);
  }
});

test("a certificate that gives no link is refused", () => {
  using directory = new TemporaryDirectory();
  const certificate = makeCertificate(directory, "DNS:*.flannel.example,email:a@flannel.example");
  expect(() => planListening({ listen: "0.0.0.0:8475", ...certificate })).toThrow(/neither a name nor an address/);
  expect(() => planListening({ listen: "b.example:8475", ...certificate })).toThrow(/not for the name b\.example/);
  expect(planListening({ listen: "b.flannel.example:1", ...certificate }).name).toBe("b.flannel.example");
  expect(planListening({ listen: "192.0.2.9:1", ...certificate }).name).toBe("192.0.2.9");
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
