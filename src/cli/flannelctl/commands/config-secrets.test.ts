// What is shown of secrets in a network configuration, and what becomes of them when that is stored again.
import { expect, it } from "vitest";
import { hideSecrets, restoreSecrets } from "./config-secrets.ts";

const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTMyISE=";
const stored = `{"Network": "10.5.0.0/16",\n "Backend": {"Type": "wireguard", "psk" : "${secret}", "MTU": 1400}}`;

it("hides the value and nothing else, in any case of the name", () => {
  expect(hideSecrets(stored)).toBe(stored.replace(secret, "(hidden)"));
});

it("hides a secret also in a text that is not JSON", () => {
  expect(hideSecrets(`${stored} oops`)).not.toContain(secret);
  expect(hideSecrets(stored.slice(0, -2))).not.toContain(secret);
});

it("hides a name that is written with escapes", () => {
  const written = stored.replace("psk", String.raw`\u0050SK`);
  expect(hideSecrets(written)).not.toContain(secret);
});

it("puts the stored secret back where the shown text is stored again, and takes a new one", () => {
  const shown = hideSecrets(stored).replace("1400", "1300");
  expect(restoreSecrets(shown, stored)).toBe(stored.replace("1400", "1300"));
  expect(restoreSecrets(stored.replace(secret, "new"), stored)).toContain('"new"');
  expect(restoreSecrets(shown, undefined)).toContain("(hidden)");
});
