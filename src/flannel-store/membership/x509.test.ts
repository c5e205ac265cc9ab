// Certificates and signing requests: openssl reads what we make and we read what it makes; what comes from outside.
import { execFileSync } from "node:child_process";
import { createPrivateKey, createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { propertyRuns } from "../../../test/support/fuzz.ts";
import { FlannelError } from "../../errors.ts";
import { keyPin, makePrivateKey } from "./keys.ts";
import { makeCertificate, makeSigningRequest, readSigningRequest } from "./x509.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "flannel-x509-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

const file = (name: string) => join(directory, name);
const openssl = (...words: readonly string[]) =>
  execFileSync("openssl", words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const day = 86_400_000;
const key = createPrivateKey(makePrivateKey());

function authority() {
  const caKey = createPrivateKey(makePrivateKey());
  const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + 3_650 * day) };
  const order = { kind: "authority" as const, commonName: "ca", organization: "o", alternativeNames: [], ...validity };
  const pem = makeCertificate({ ...order, publicKey: createPublicKey(caKey) }, { key: caKey });
  return { pem, signer: { key: caKey, certificate: new X509Certificate(pem) } };
}

describe("certificates", () => {
  it.each([
    ["server", ["10.0.0.1", "fd00::1", "::1", "store.lan"], "sslserver", "sslclient"],
    ["client", ["h1"], "sslclient", "sslserver"],
  ] as const)("a %s's is good for its purpose and no other, as openssl sees it", (kind, names, purpose, other) => {
    const { pem, signer } = authority();
    const validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + 365 * day) };
    const order = {
      kind,
      commonName: "n",
      organization: "o",
      publicKey: createPublicKey(key),
      alternativeNames: names,
    };
    const certificate = makeCertificate({ ...order, ...validity }, signer);
    writeFileSync(file("ca.pem"), pem);
    writeFileSync(file("leaf.pem"), certificate);
    const verify = (...words: readonly string[]) =>
      openssl("verify", "-x509_strict", "-CAfile", file("ca.pem"), ...words, file("leaf.pem"));
    expect(verify("-purpose", purpose)).toContain("OK");
    expect(() => verify("-purpose", other)).toThrow("unsuitable certificate purpose");
    // Nor may it sign others.
    writeFileSync(
      file("child.pem"),
      makeCertificate(
        { ...order, commonName: "child", ...validity },
        { key, certificate: new X509Certificate(certificate) },
      ),
    );
    expect(() =>
      openssl("verify", "-CAfile", file("ca.pem"), "-untrusted", file("leaf.pem"), file("child.pem")),
    ).toThrow(/invalid CA certificate|unable to get/);
    for (const name of names) {
      const [check, text] = /[:.]\d|:/.test(name) ? ["-verify_ip", name] : ["-verify_hostname", name];
      expect(verify(check, text)).toContain("OK");
    }
    expect(() => verify("-verify_ip", "10.0.0.2")).toThrow("mismatch");
  });

  it("have serial numbers of one length that do not repeat, and times beyond 2050", () => {
    const { pem, signer } = authority();
    const serials = Array.from({ length: 100 }, () => {
      const validity = { notBefore: new Date(), notAfter: new Date("2061-02-03T04:05:06Z") };
      const order = { kind: "client" as const, commonName: "n", organization: "o", alternativeNames: [] };
      const certificate = makeCertificate({ ...order, ...validity, publicKey: createPublicKey(key) }, signer);
      expect(new X509Certificate(certificate).validToDate.toISOString()).toBe("2061-02-03T04:05:06.000Z");
      return new X509Certificate(certificate).serialNumber;
    });
    expect(new Set(serials).size).toBe(100);
    for (const serial of serials) expect(serial).toMatch(/^[4-7][0-9A-F]{31}$/);
    expect(new X509Certificate(pem).ca).toBe(true);
  });
});

describe("signing requests", () => {
  it("are openssl's, both ways", () => {
    writeFileSync(file("r.der"), makeSigningRequest(key, "h1"));
    // openssl 3.0 says so on stderr and in its exit code, later ones on stdout.
    expect(openssl("req", "-in", file("r.der"), "-inform", "der", "-verify", "-noout", "-subject")).toContain(
      "CN = h1",
    );
    writeFileSync(file("key.pem"), key.export({ type: "pkcs8", format: "pem" }));
    openssl(
      "req",
      "-new",
      "-key",
      file("key.pem"),
      "-subj",
      "/CN=root/O=any",
      "-addext",
      "subjectAltName=DNS:x",
      "-outform",
      "der",
      "-out",
      file("o.der"),
    );
    const bytes = execFileSync("cat", [file("o.der")]);
    expect(keyPin(readSigningRequest(bytes))).toBe(keyPin(createPublicKey(key)));
  });

  it.each([
    ["RSA", () => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey],
    ["another curve", () => generateKeyPairSync("ec", { namedCurve: "secp384r1" }).privateKey],
    ["Ed25519", () => generateKeyPairSync("ed25519").privateKey],
  ])("with %s are refused", (_, make) => {
    writeFileSync(file("odd.pem"), make().export({ type: "pkcs8", format: "pem" }));
    openssl(
      "req",
      "-new",
      "-sha256",
      "-key",
      file("odd.pem"),
      "-subj",
      "/CN=x",
      "-outform",
      "der",
      "-out",
      file("odd.der"),
    );
    expect(() => readSigningRequest(execFileSync("cat", [file("odd.der")]))).toThrow(
      "the signing request cannot be used",
    );
  });

  it("signed by another key are refused", () => {
    const mine = makeSigningRequest(key, "h1");
    const other = makeSigningRequest(createPrivateKey(makePrivateKey()), "h1");
    // The same lengths up to the signature, whose bytes are exchanged.
    const spliced = Buffer.concat([mine.subarray(0, mine.length - 72), other.subarray(other.length - 72)]);
    expect(() => readSigningRequest(spliced)).toThrow("the signing request cannot be used");
  });

  it.each([
    ["nested as deep as there is room", Buffer.alloc(4_096, Buffer.from([0x30, 0x80]))],
    ["longer than any", Buffer.alloc(4_097, 0x30)],
    ["of a length that is not there", Buffer.from("3084ffffffff", "hex")],
    ["empty", Buffer.alloc(0)],
  ])("%s are refused", (_, bytes) => {
    expect(() => readSigningRequest(bytes)).toThrow("the signing request cannot be used");
  });

  it("of any other kind give one error, and never anything else", () => {
    const good = makeSigningRequest(key, "h1");
    const mutated = fc
      .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((changes) => {
        const bytes = Buffer.from(good);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    const cut = fc.nat(good.length - 1).map((length) => good.subarray(0, length));
    const random = fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes));
    const inputs = fc.oneof(
      { arbitrary: mutated, weight: 1 },
      { arbitrary: cut, weight: 2 },
      { arbitrary: random, weight: 2 },
    );
    const pin = keyPin(createPublicKey(key));
    let accepted = 0;
    const runs = propertyRuns(100_000);
    fc.assert(
      fc.property(inputs, (bytes) => {
        try {
          // The only key that signed anything here.
          if (keyPin(readSigningRequest(bytes)) !== pin) throw new Error("another key");
          accepted++;
        } catch (error) {
          if (!(error instanceof FlannelError) || error.code !== "CONFIG_INVALID") throw error;
        }
      }),
      runs,
    );
    // What is accepted is the request itself: bytes that were "changed" to what they were, or that nobody signs.
    expect(accepted).toBeLessThan(runs.numRuns / 50);
  });
});
