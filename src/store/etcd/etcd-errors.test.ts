import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { describeError, FlannelError } from "../../errors.ts";
import { fromGrpc, isTokenRejected, isTooLarge, isUnreachable } from "./etcd-errors.ts";

function serviceError(code: status, details: string): ServiceError {
  return Object.assign(new Error(`${code} ${details}`), { code, details, metadata: new Metadata() });
}

describe("classification", () => {
  test.each([
    [status.UNAVAILABLE, "connect ECONNREFUSED", "STORE_UNAVAILABLE", true],
    [status.DEADLINE_EXCEEDED, "Deadline exceeded", "STORE_UNAVAILABLE", true],
    [status.UNKNOWN, "raft: stopped", "STORE_UNAVAILABLE", true],
    [status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", "STORE_UNAVAILABLE", true],
    [status.UNIMPLEMENTED, "unknown service", "STORE_UNAVAILABLE", false],
    [status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", "STORE_COMPACTED", true],
    [status.UNAUTHENTICATED, "etcdserver: invalid auth token", "STORE_UNAUTHORIZED", false],
    [status.PERMISSION_DENIED, "etcdserver: permission denied", "STORE_UNAUTHORIZED", false],
    [
      status.INVALID_ARGUMENT,
      "etcdserver: authentication failed, invalid user ID or password",
      "STORE_UNAUTHORIZED",
      false,
    ],
    [status.INVALID_ARGUMENT, "etcdserver: user name is empty", "STORE_UNAUTHORIZED", false],
    [status.INVALID_ARGUMENT, "etcdserver: request is too large", "INTERNAL", false],
    [status.NOT_FOUND, "etcdserver: requested lease not found", "INTERNAL", false],
  ])("%i %s is %s", (code, details, expected, retryable) => {
    const error = fromGrpc(serviceError(code, details), "read the leases", "http://a:1");
    expect(error).toMatchObject({ code: expected, retryable });
    expect(error.message).toContain("read the leases");
    expect(error.message).toContain("http://a:1");
    expect(error.message).toContain(details);
  });
});

test.each([
  [status.UNAVAILABLE, "connect ECONNREFUSED", true],
  [status.DEADLINE_EXCEEDED, "Deadline exceeded", true],
  [status.UNAVAILABLE, "etcdserver: no leader", undefined],
  [status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", undefined],
  [status.PERMISSION_DENIED, "etcdserver: permission denied", undefined],
])("%i %s: whether no answer came is %s", (code, details, expected) => {
  expect(fromGrpc(serviceError(code, details), "write", "a").details["isUnanswered"]).toBe(expected);
});

test("ours pass, unknown ones are internal, long ones become one short line", () => {
  const ours = new FlannelError("CANCELLED", "x");
  expect(fromGrpc(ours, "watch", "a")).toBe(ours);
  expect(fromGrpc(new TypeError("x"), "watch", "a")).toMatchObject({ code: "INTERNAL" });
  const { message } = fromGrpc(serviceError(status.UNAVAILABLE, `a\nb ${"x".repeat(5_000)}`), "watch", "a");
  expect(message.length).toBeLessThan(400);
  expect(message).not.toContain("\n");
});

test.each([
  [
    "No connection established. Last error: Error: connect ECONNREFUSED 10.0.0.1:2379. Resolution note: ",
    "connect ECONNREFUSED 10.0.0.1:2379",
  ],
  [
    "No connection established. Last error: Failed to connect (2026-11-23T22:50:53.277Z). Resolution note: ",
    "Failed to connect",
  ],
  [
    "No connection established. Last error: Error: unable to verify the first certificate; if the root CA is " +
      "installed locally, try running Node.js with --use-system-ca. Resolution note: ",
    "unable to verify the first certificate (see --etcd-cafile)",
  ],
  [
    "No connection established. Last error: 407D:error:0A000412:SSL routines:ssl3_read_bytes:ssl/tls alert bad " +
      "certificate:../deps/openssl/rec.c:918:SSL alert number 42 (2026-11-23T22:50:52.779Z). Resolution note: ",
    "ssl/tls alert bad certificate",
  ],
  ["Deadline exceeded after 5.002s,name resolution: 0.006s,Waiting for LB pick", "timed out after 5.002 s"],
])("an operator reads the reason alone and once: %s", (details, reason) => {
  const error = fromGrpc(serviceError(status.UNAVAILABLE, details), "read the leases", "http://a:1");
  expect(describeError(error)).toBe(`read the leases: etcd http://a:1 is not available: ${reason}`);
});

test("what to do about it", () => {
  expect(isUnreachable(serviceError(status.UNAVAILABLE, ""))).toBe(true);
  expect(isUnreachable(serviceError(status.PERMISSION_DENIED, ""))).toBe(false);
  expect(isTokenRejected(serviceError(status.UNAUTHENTICATED, "etcdserver: invalid auth token"))).toBe(true);
  expect(isTokenRejected(serviceError(status.INVALID_ARGUMENT, "etcdserver: revision of auth store is old"))).toBe(
    true,
  );
  expect(isTokenRejected(serviceError(status.INVALID_ARGUMENT, "authentication failed, invalid user"))).toBe(false);
  expect(isTooLarge(serviceError(status.RESOURCE_EXHAUSTED, "Received message larger than max (20 vs 10)"))).toBe(true);
  expect(isTooLarge(serviceError(status.RESOURCE_EXHAUSTED, "etcdserver: too many requests"))).toBe(false);
});
