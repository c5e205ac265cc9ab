// The box: a process tree with its own network, mount, process, host-name and IPC namespaces and an empty /run. It is
// gone with its first process, and so is all that was made in it, whatever happened: nothing to clean up by hand.

const enter = `
mount -t tmpfs -o mode=755 none /run && mkdir -p /run/netns /run/lock /run/flannel && ip link set dev lo up || exit 70
"$@"
`;

/**
 * The argument list that runs `argv` in a new box. The shell stays as process 1 of the box, so that orphans are
 * reaped. The box dies when its first process or the `unshare` process is killed, and when our process dies. A box
 * that could not be prepared ends with 70 or, where namespaces are forbidden, with 1.
 */
export function boxed(argv: readonly string[]): readonly string[] {
  const namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc"];
  const life = ["--fork", "--kill-child=SIGKILL", "--propagation", "private", "--mount-proc"];
  const guard = ["setpriv", "--pdeathsig", "KILL", "--"];
  return [
    ...guard,
    "unshare",
    ...namespaces,
    ...life,
    "env",
    "LAB_BOX=1",
    "sh",
    "-c",
    `${enter}exit $?`,
    "box",
    ...argv,
  ];
}

/** The lab makes bridges and firewall rules in the current network namespace: it must never be the machine's own. */
export function requireBox(): void {
  if (process.env["LAB_BOX"] === "1") return;
  throw new Error("the lab only runs in a box (LAB_BOX=1), never in the machine's own network: use npm test");
}
