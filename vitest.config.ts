// The tests by what they need. `kernel`, `lab`, `kube` and `cloud` change the network: scripts/test.ts runs each of their files in
// namespaces of its own, and they refuse to run elsewhere.
import { defineConfig } from "vitest/config";
import { DEADLINE_MS } from "./lab/wait.ts";

/** A test waits for several things, and what it waited for in vain is to be named by the wait. */
const timeouts = { testTimeout: 5 * DEADLINE_MS, hookTimeout: 3 * DEADLINE_MS };

/** CommonJS packages look as they do to Node and in the bundle. */
const common = { ...timeouts, deps: { interopDefault: false } };

/** All files in one process, which loads each module once. For tests that leave nothing behind and mock no module. */
const shared = { ...common, isolate: false };

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["{src,lab,scripts,packaging}/**/*.test.ts"], ...common } },
      { test: { name: "system", include: ["test/system/**/*.test.ts"], ...common } },
      { test: { name: "etcd", include: ["test/etcd/**/*.test.ts"], ...common } },
      // The contract tests of the store port once more, and what is the embedded store's own.
      {
        test: {
          name: "embedded",
          include: ["test/embedded/**/*.test.ts", "test/etcd/{acquire,keys,put-back,renew,watch,watch-faults}.test.ts"],
          env: { FLANNEL_TEST_STORE: "embedded" },
          ...shared,
        },
      },
      boxed("kernel"),
      boxed("lab"),
      boxed("kube"),
      boxed("cloud"),
    ],
  },
});

function boxed(name: string) {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      setupFiles: ["test/support/require-box.ts"],
      ...common,
      fileParallelism: false,
    },
  };
}
