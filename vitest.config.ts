// The tests by what they need. `kernel` and `lab` change the network: scripts/run-boxed.ts runs each of their files in
// namespaces of its own, and they refuse to run elsewhere.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["{src,lab,scripts}/**/*.test.ts"], testTimeout: 60_000 } },
      { test: { name: "system", include: ["test/system/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 60_000 } },
      { test: { name: "etcd", include: ["test/etcd/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 60_000 } },
      // The contract tests of the store port once more, and what is the embedded store's own.
      {
        test: {
          name: "embedded",
          include: ["test/embedded/**/*.test.ts", "test/etcd/{acquire,keys,renew,watch,watch-faults}.test.ts"],
          env: { FLANNEL_TEST_STORE: "embedded" },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      boxed("kernel"),
      boxed("lab"),
    ],
  },
});

function boxed(name: string) {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      setupFiles: ["test/support/require-box.ts"],
      testTimeout: 120_000,
      hookTimeout: 60_000,
      fileParallelism: false,
    },
  };
}
