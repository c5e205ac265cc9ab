import { writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { TemporaryDirectory } from "../../../test/support/flannelctl.ts";
import { FlannelError } from "../../errors.ts";
import { fromStatus } from "../grpc/call-errors.ts";
import { grpcStatus } from "../grpc/rpc-error.ts";
import { ClusterClient } from "./cluster-client.ts";

/** Each endpoint answers with the next of the refusals. */
async function refusalOf(call: (client: ClusterClient) => Promise<unknown>, refusals: readonly FlannelError[]) {
  using directory = new TemporaryDirectory();
  const file = directory.file("x.pem");
  writeFileSync(file, "");
  const endpoints = "https://10.0.0.1:2379,https://10.0.0.2:2379";
  let calls = 0;
  const send = () => Promise.reject(refusals[calls++] ?? new Error("one call too many"));
  const client = new ClusterClient({ endpoints, caFile: file, certFile: file, keyFile: file }, send);
  const message = await call(client).then(() => "", String);
  return { message, calls };
}

const { signal } = new AbortController();
const away = new FlannelError("STORE_UNAVAILABLE", "the store at https://10.0.0.1:2379 cannot be reached");
const noHost = new FlannelError("CLUSTER_NOT_FOUND", "the cluster has no host h2");

test("a host that does not answer the store is not asked through each endpoint", async () => {
  const silent = fromStatus(grpcStatus.failedPrecondition, "host h2 does not answer", "examine host h2", "https://x");
  const { message, calls } = await refusalOf((client) => client.examineHost("h2", signal), [silent, silent]);
  expect(message).toContain("examine host h2: host h2 does not answer");
  expect(calls).toBe(1);
});

test("only of a removal it is said that an earlier attempt may have done it", async () => {
  const examined = await refusalOf((client) => client.examineHost("h2", signal), [away, noHost]);
  expect(examined).toEqual({ message: expect.stringMatching(/the cluster has no host h2$/), calls: 2 });
  const removed = await refusalOf((client) => client.removeHost("h2", signal), [away, noHost]);
  expect(removed.message).toMatch(/no host h2; the first attempt may have removed it already \(.*cannot be reached\)/);
});
