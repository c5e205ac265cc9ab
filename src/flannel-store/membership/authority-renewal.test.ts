// Which CA certificate from the store may replace the one a host has.
import { createPublicKey } from "node:crypto";
import { expect, it } from "vitest";
import { authorityRefusal } from "./authority-renewal.ts";
import { makePrivateKey, readPrivateKey } from "./keys.ts";
import { makeCertificate } from "./x509.ts";

const dayMs = 86_400_000;
const now = Date.now();
const key = makePrivateKey();

interface Order {
  readonly keyPem?: string;
  readonly kind?: "authority" | "client";
  readonly commonName?: string;
  readonly fromDay?: number;
  readonly toDay?: number;
}

/** Signs itself. */
function made(order: Order = {}): string {
  const { keyPem = key, kind = "authority", commonName = "flannel-store", fromDay = -1, toDay = 3_652 } = order;
  const privateKey = readPrivateKey(keyPem, "key");
  const [notBefore, notAfter] = [new Date(now + fromDay * dayMs), new Date(now + toDay * dayMs)];
  const names = { kind, commonName, organization: "flannel cluster", alternativeNames: [] } as const;
  return makeCertificate(
    { ...names, publicKey: createPublicKey(privateKey), notBefore, notAfter },
    { key: privateKey },
  );
}

const current = made({ toDay: 1_000 });

it.each([
  ["recreated", {}, undefined],
  ["of another key", { keyPem: makePrivateKey() }, "it is for another key"],
  ["of another name", { commonName: "another" }, "it is for another name"],
  ["that may not sign", { kind: "client" }, "it is not a CA certificate"],
  ["from the future", { fromDay: 1 }, "it is not valid now: check the clocks of this host and of the store's host"],
  ["that ends before ours", { toDay: 999 }, "it does not expire later than the present one"],
  [
    "that has ended",
    { fromDay: -2, toDay: -1 },
    "it is not valid now: check the clocks of this host and of the store's host",
  ],
] as const)("one %s", (_, order, refusal) => {
  expect(authorityRefusal(current, made(order), now)).toBe(refusal);
});

it("no certificate at all", () => {
  expect(authorityRefusal(current, "-----BEGIN CERTIFICATE-----", now)).toBe("it is not a CA certificate");
  expect(authorityRefusal(current, "", now)).toBe("it is not a single certificate");
});

it("nothing that brings another CA along, and nothing in place of several", () => {
  const stranger = made({ keyPem: makePrivateKey() });
  expect(authorityRefusal(current, made() + stranger, now)).toBe("it is not a single certificate");
  expect(authorityRefusal(current, stranger + made(), now)).toBe("it is not a single certificate");
  expect(authorityRefusal(current + stranger, made(), now)).toBe("the present file holds more than one certificate");
});
