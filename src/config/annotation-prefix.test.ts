import { describe, expect, it } from "vitest";
import { annotationNames } from "./annotation-prefix.ts";

describe("annotationNames", () => {
  // Upstream's own vectors.
  it.each([
    ["flannel.alpha.coreos.com", "flannel.alpha.coreos.com/backend-type"],
    ["flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/backend-type"],
    ["flannel.alpha.coreos.com/prefix", "flannel.alpha.coreos.com/prefix-backend-type"],
    ["flannel.alpha.coreos.com/prefix-", "flannel.alpha.coreos.com/prefix-backend-type"],
    ["org.com", "org.com/backend-type"],
    ["org9.com", "org9.com/backend-type"],
    ["org.com/9", "org.com/9-backend-type"],
  ])("%s gives %s", (prefix, name) => {
    expect(annotationNames(prefix).backendType).toBe(name);
  });

  it.each(["org", "org/", "org/prefix", "org.COM", "org.com/PREFIX", "org.com/a/b", ""])("refuses %j", (prefix) => {
    expect(() => annotationNames(prefix)).toThrow(RangeError);
  });
});
