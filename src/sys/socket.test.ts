// Receiving where errno was overwritten between the call and the question for it.
import koffi from "koffi";
import { afterEach, expect, test, vi } from "vitest";
import { errnos, hasErrno } from "./errno.ts";
import { AF_UNIX, bindSocket, openSocket, receiveDatagram, SOCK_DGRAM } from "./socket.ts";

afterEach(() => vi.restoreAllMocks());

function openEmpty() {
  const fd = openSocket("test socket", AF_UNIX, SOCK_DGRAM, 0);
  bindSocket("test socket", fd, new Uint8Array([AF_UNIX, 0]));
  return fd;
}

test("an empty socket is empty, whatever errno was found first", () => {
  using fd = openEmpty();
  vi.spyOn(koffi, "errno").mockReturnValueOnce(errnos.ENOENT);
  expect(receiveDatagram("receive", fd, new Uint8Array(10))).toBeUndefined();
});

test("a listener takes a failure that it cannot name for a loss, which the kernel tells once", () => {
  using fd = openEmpty();
  vi.spyOn(koffi, "errno").mockReturnValueOnce(errnos.ENOENT);
  const receive = (): unknown => receiveDatagram("receive", fd, new Uint8Array(10), true);
  expect(receive).toThrow(expect.toSatisfy((error: unknown) => hasErrno(error, "ENOBUFS")));
  expect(receive()).toBeUndefined();
});
