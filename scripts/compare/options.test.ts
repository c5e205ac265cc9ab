// The command line of the comparison of builds.
import { describe, expect, it } from "vitest";
import { CompareUsageError, parseCompareOptions, selectPlans } from "./options.ts";

describe("parseCompareOptions", () => {
  it("compares with the revision before, in both ways, unless told otherwise", () => {
    expect(parseCompareOptions([])).toEqual({ base: "HEAD~1", modes: ["neutral", "upgrade"], only: [], help: false });
    const words = ["--base", "v1", "upgrade", "--only=udp", "--only=etcd"];
    expect(parseCompareOptions(words)).toEqual({ base: "v1", modes: ["upgrade"], only: ["udp", "etcd"], help: false });
  });

  it.each([
    [["sideways"], /^sideways: there is no such comparison/],
    [["neutral", "upgrade"], /^upgrade: at most one/],
    [["--base="], /^--base=: must be a revision/],
    [["--base=-x"], /^--base=-x: must be a revision/],
    [["--bass=x"], /^Unknown option '--bass'\.$/],
  ])("refuses %j with a sentence", (argv, sentence) => {
    expect(() => parseCompareOptions(argv)).toThrow(CompareUsageError);
    expect(() => parseCompareOptions(argv)).toThrow(sentence);
  });
});

describe("selectPlans", () => {
  const plans = [{ name: "vxlan" }, { name: "vxlan-dual" }, { name: "udp" }];

  it("takes those whose name contains one of the parts", () => {
    expect(selectPlans(plans, [])).toEqual(plans);
    expect(selectPlans(plans, ["dual", "udp"]).map(({ name }) => name)).toEqual(["vxlan-dual", "udp"]);
  });

  it("refuses parts that are in no name", () => {
    expect(() => selectPlans(plans, ["wireguard"])).toThrow("matches none of vxlan, vxlan-dual, udp");
  });
});
