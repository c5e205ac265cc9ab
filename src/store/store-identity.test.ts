import { expect, it } from "vitest";
import { ruleSuffix } from "../firewall/rule-suffix.ts";
import { storeIdentity } from "./store-identity.ts";

const identityOf = (prefix: string) => storeIdentity({ type: "etcd", endpoints: "", prefix, tls: {} }).network;

// Files in state directories and rules in kernels have these names: they must not change.
it.each([
  ["/coreos.com/network", ""],
  ["/coreos.com/network//", ""],
  ["/other", "-bf2fae"],
  ["/other/", "-39a8b6"],
])("a network at %s keeps the names of its rules", (prefix, suffix) => {
  expect(ruleSuffix(identityOf(prefix))).toBe(suffix);
  expect(identityOf(prefix).id).toBe(prefix);
});
