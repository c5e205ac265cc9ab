// The errno of a failed call, where the FFI library can only be asked for it in a call of its own. What the runtime does
// between the two (compile, collect garbage, load) may leave an errno of its own behind. Pure.

/** Of the same call, when each gives another errno. */
const MAX_CALLS = 8;

/**
 * Makes `result`, what a call has just returned, certain: the result itself, or minus its errno when it failed, as the
 * kernel itself returns it. An errno that is not among `expected` is believed only when `again`, the same call, gives it
 * a second time; so `again` must do no harm, and a call that succeeds the second time has succeeded. What the kernel
 * tells only once (ENOBUFS of a netlink socket, an ICMP error of a UDP socket) has to be among the expected ones.
 */
export type Settle = (result: number, expected: readonly number[], again: () => number) => number;

/** `readErrno` gives the live errno of this thread. */
export function settleBy(readErrno: () => number): Settle {
  return (result, expected, again) => {
    if (result >= 0) return result;
    let errno = readErrno();
    for (let calls = 1; calls < MAX_CALLS && !expected.includes(errno); calls++) {
      const repeated = again();
      if (repeated >= 0) return repeated;
      const next = readErrno();
      if (next === errno) break;
      errno = next;
    }
    return -errno;
  };
}
