// How kernel errors are classified and what people read.
import { expect, test } from "vitest";
import { errnoName, errnos, fromErrno, hasErrno } from "./errno.ts";

test.each([
  [errnos.EPERM, "kernel.denied", false],
  [errnos.EACCES, "kernel.denied", false],
  [errnos.EEXIST, "kernel.exists", false],
  [errnos.ENOENT, "kernel.notFound", false],
  [errnos.ESRCH, "kernel.notFound", false],
  [errnos.ENODEV, "kernel.notFound", false],
  [errnos.ENXIO, "kernel.notFound", false],
  [errnos.EBUSY, "kernel.busy", true],
  [errnos.EOPNOTSUPP, "kernel.unsupported", false],
  [errnos.EAFNOSUPPORT, "kernel.unsupported", false],
  [errnos.EPROTONOSUPPORT, "kernel.unsupported", false],
  [errnos.EINVAL, "kernel.rejected", false],
  [errnos.ENOBUFS, "kernel.rejected", true],
  [errnos.EINTR, "kernel.rejected", true],
  [errnos.EAGAIN, "kernel.rejected", true],
  [errnos.ENETDOWN, "kernel.rejected", true],
] as const)("errno %i is %s, retryable %s", (errno, code, retryable) => {
  expect(fromErrno("do it", errno)).toMatchObject({ code, retryable });
});

test("names are those of the kernel's documentation", () => {
  expect([11, 95, 105, 4711].map(errnoName)).toEqual(["EAGAIN", "EOPNOTSUPP", "ENOBUFS", "errno 4711"]);
});

test("the message has the operation, the name and the kernel's own words if there are any", () => {
  const operation = "add route 10.5.3.0/24 dev flannel.1";
  const plain = fromErrno(operation, errnos.ENODEV);
  expect(plain.message).toBe(`${operation}: ENODEV (No such device)`);
  expect(plain.details).toEqual({ operation, errno: "ENODEV" });
  const explained = fromErrno(operation, errnos.EINVAL, { kernelText: "Nexthop has invalid gateway" });
  expect(explained.message).toBe(`${operation}: EINVAL (Nexthop has invalid gateway)`);
  expect(explained.details).toEqual({ operation, errno: "EINVAL", kernelText: "Nexthop has invalid gateway" });
  expect(fromErrno(operation, errnos.EPERM).message).toContain("CAP_NET_ADMIN");
});

test("hasErrno asks by name", () => {
  expect(hasErrno(fromErrno("x", errnos.ENOBUFS), "ENOBUFS")).toBe(true);
  expect(hasErrno(fromErrno("x", errnos.ENOBUFS), "EPERM")).toBe(false);
  expect(hasErrno(new Error("ENOBUFS"), "ENOBUFS")).toBe(false);
});
