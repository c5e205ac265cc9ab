// How kernel errors are classified and what people read.
import { expect, test } from "vitest";
import { errnoName, errnos, fromErrno, hasErrno } from "./errno.ts";

test.each([
  [errnos.EPERM, "KERNEL_DENIED", false],
  [errnos.EACCES, "KERNEL_DENIED", false],
  [errnos.EEXIST, "KERNEL_EXISTS", false],
  [errnos.ENOENT, "KERNEL_NOT_FOUND", false],
  [errnos.ESRCH, "KERNEL_NOT_FOUND", false],
  [errnos.ENODEV, "KERNEL_NOT_FOUND", false],
  [errnos.ENXIO, "KERNEL_NOT_FOUND", false],
  [errnos.EBUSY, "KERNEL_BUSY", true],
  [errnos.EOPNOTSUPP, "KERNEL_UNSUPPORTED", false],
  [errnos.EAFNOSUPPORT, "KERNEL_UNSUPPORTED", false],
  [errnos.EPROTONOSUPPORT, "KERNEL_UNSUPPORTED", false],
  [errnos.EINVAL, "KERNEL_REJECTED", false],
  [errnos.ENOBUFS, "KERNEL_REJECTED", true],
  [errnos.EINTR, "KERNEL_REJECTED", true],
  [errnos.EAGAIN, "KERNEL_REJECTED", true],
  [errnos.ENETDOWN, "KERNEL_REJECTED", true],
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
