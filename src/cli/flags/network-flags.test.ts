import { describe, expect, test } from "vitest";
import { resolveAgentOptions } from "./flanneld-flags.ts";

function optionsOf(...argv: string[]) {
  const invocation = resolveAgentOptions(argv, {});
  if (invocation.action !== "run") throw new Error("it does not run");
  return invocation.options;
}

describe("flags about several networks", () => {
  test("without them there is one network without a name", () => {
    expect(optionsOf().several).toBeUndefined();
    expect(optionsOf("--networks=", "--watch-networks=false").several).toBeUndefined();
  });

  test("names, in their order, and where their files go", () => {
    expect(optionsOf("--networks=red, blue,,green.1").several).toEqual({
      names: ["red", "blue", "green.1"],
      isWatching: false,
      directory: "/run/flannel/networks",
    });
    expect(optionsOf("--watch-networks", "--subnet-dir=/run/x/nets/").several).toEqual({
      names: [],
      isWatching: true,
      directory: "/run/x/nets",
    });
  });

  test("flannelctl finds the agent where it finds one with a single network", () => {
    expect(optionsOf("--networks=red").controlSocket).toBe("/run/flannel/flanneld.sock");
    expect(optionsOf("--networks=red", "--control-socket=/run/c.sock").controlSocket).toBe("/run/c.sock");
  });

  test("with an embedded store as with etcd", () => {
    expect(optionsOf("--store=embedded", "--networks=red").several?.names).toEqual(["red"]);
  });

  test.each([
    ["--networks=a/b", /each must be 1 to 63 letters/],
    ["--networks=..", /each must be 1 to 63 letters/],
    ["--networks=.a", /each must be/],
    [`--networks=${"a".repeat(64)}`, /each must be/],
    ["--networks=a,b,a", /name each network once \(a\)/],
    ["--networks=,", /must name a network/],
    [`--networks=${Array.from({ length: 257 }, (_, index) => `n${index}`).join(",")}`, /at most 256/],
    ["--networks=a --subnet-dir=nets", /absolute path/],
    ["--networks=a --kube-subnet-mgr", /a Kubernetes cluster has one network/],
    ["--watch-networks --kube-subnet-mgr", /--watch-networks needs etcd/],
    ["--networks=a --subnet-file=/run/a.env", /--subnet-file is for one network.*--subnet-dir/],
    ["--watch-networks --cni-conf-file=/etc/cni/x.conflist", /--cni-conf-file is for one network/],
    ["--watch-networks --cni-conf-target=/run/x.conflist", /--cni-conf-target is for one network/],
    ["--watch-networks --cni-boot-file=/etc/tmpfiles.d/x.conf", /--cni-boot-file is for one network/],
    ["--watch-networks=maybe", /must be true or false/],
  ])("%s is refused", (line, message) => {
    expect(() => optionsOf(...line.split(" "))).toThrow(message);
  });
});
