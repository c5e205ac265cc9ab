import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { propertyRuns } from "../../../../test/support/fuzz.ts";
import { Redactor } from "./redact.ts";
import { writeTar } from "./tar.ts";

const secret = "Xk29vTq-81ZmPw";

describe("places that give a secret away", () => {
  test.each([
    `{"Backend":{"Type":"ipsec","PSK":"${secret}"}}`,
    JSON.stringify({ config: JSON.stringify({ Backend: { PSK: secret } }) }),
    `FLANNELD_ETCD_PASSWORD=${secret}`,
    `--etcd-password=${secret}`,
    `flanneld\0--etcd-password\0${secret}\0--iface=eth0`,
    `--token ${secret} --name h2`,
    `etcd https://root:${secret}@10.0.0.1:2379: connection refused`,
    `Authorization: Bearer ${secret}`,
    `    token: ${secret}`,
    `  client-key-data: ${secret}${secret}`,
    `"privateKey": "${secret}"`,
    `password = "${secret}"`,
    `preshared-key: ${secret}`,
    `AWS_SECRET_ACCESS_KEY=${secret}`,
    `[0:0] -A INPUT -m comment --comment "password=${secret}" -j RETURN`,
    `--comment "token: ${secret}"`,
    `{"apiKey":"${secret}","user":"x"}`,
  ])("%s", (text) => {
    const { text: clean, count } = new Redactor().redact(text);
    expect(clean).not.toContain(secret);
    expect(clean).toMatch(/<secret [\da-f]{8}>/);
    expect(count).toBeGreaterThan(0);
  });

  test("private keys, also in base64, and web tokens and join tokens", () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const pem = String(privateKey.export({ type: "pkcs8", format: "pem" }));
    const inner = pem.split("\n")[1] ?? "";
    const texts = [
      pem,
      `client-key-data: ${Buffer.from(pem).toString("base64")}`,
      `x: ${Buffer.from(pem).toString("base64")}`,
    ];
    for (const text of texts) {
      const clean = new Redactor().redact(text).text;
      expect(clean).not.toContain(inner);
      expect(clean).not.toContain(Buffer.from(pem).toString("base64").slice(60, 100));
    }
    const jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJmbGFubmVsIn0.c2lnbmF0dXJl";
    expect(new Redactor().redact(`log: got ${jwt} here`).text).not.toContain("eyJzdWIi");
    const join = `ab12cd34.${"S".repeat(32)}.${"p".repeat(43)}`;
    expect(new Redactor().redact(`flannelctl join 10.0.0.1 ${join}`).text).toMatch(
      /join 10\.0\.0\.1 ab12cd34\.<secret [\da-f]{8}>$/,
    );
  });

  test("what is no secret stays", () => {
    const texts = [
      '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1}}',
      "10.5.1.0/24 via 10.5.1.0 dev flannel.1 onlink",
      "--etcd-password-file=/etc/flannel/password",
      "--etcd-keyfile=/etc/flannel/key.pem",
      "https://10.0.0.1:2379/version",
      "mac 52:54:00:12:34:56 tokens: 3",
    ];
    for (const text of texts) expect(new Redactor().redact(text)).toEqual({ text, count: 0 });
  });
});

test("a known secret is found wherever and in whatever form it stands, equal ones alike", () => {
  const value = fc.string({ minLength: 8, maxLength: 40, unit: fc.constantFrom(..."abcXYZ0189+/=._~!$%&?#") });
  fc.assert(
    fc.property(value, fc.string({ maxLength: 20 }), (known, around) => {
      const redactor = new Redactor();
      redactor.know(known);
      const forms = [known, encodeURIComponent(known), Buffer.from(known).toString("base64"), JSON.stringify(known)];
      for (const form of forms) {
        const clean = redactor.redact(`${around}|${form}|${form}`).text;
        expect(clean.includes(known) && !around.includes(known)).toBe(false);
      }
    }),
    propertyRuns(20_000),
  );
  const redactor = new Redactor();
  redactor.know(secret);
  const [first, second] = [redactor.redact(`a ${secret}`).text, redactor.redact(`b ${secret}`).text];
  expect(first.slice(2)).toBe(second.slice(2));
  expect(new Redactor().redact(`password=${secret}`).text).not.toContain(first.slice(2));
});

test("no text, however strange, is an error", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      new Redactor().redact(text);
    }),
    propertyRuns(20_000),
  );
});

test("an archive of whole blocks, and no name that does not fit", () => {
  const archive = writeTar([{ name: "a/b.txt", content: Buffer.from("hello\n") }], 1_700_000_000_000);
  expect(archive.length % 512).toBe(0);
  expect(Buffer.from(archive.subarray(0, 7)).toString()).toBe("a/b.txt");
  expect(() => writeTar([{ name: "x".repeat(101), content: Buffer.alloc(0) }], 0)).toThrow(RangeError);
});
