// Debian's user-mode-linux: a second kernel that runs as a process, for what the machine's may lack (ipip, IPsec). It sees the
// machine's files read-only. Much faster than emulation (emulated-kernel.ts), but without WireGuard. x86-64 only.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";

const prepare = `exec 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LAB_BOX=1 LAB_SECOND_KERNEL=1
mount -t proc none /proc; mount -t sysfs none /sys; mount -t tmpfs none /run; mount -t tmpfs none /tmp
mount --bind /usr/lib/uml/modules /lib/modules
mkdir -p /run/netns; ip link set dev lo up
`;

/** Runs shell commands as root in a guest of its own; resolves to what its console showed. */
export async function runInSecondKernel(commands: string, timeoutMs: number): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "flannel-second-kernel-"));
  // A machine without kernel packages lacks the place where the guest, which cannot write, has its modules.
  mkdirSync("/lib/modules", { recursive: true });
  try {
    const script = join(directory, "init.sh");
    // Its own /tmp hides the script, which the shell has open by then.
    writeFileSync(script, `${prepare}\n${commands}\nhalt -f\n`);
    const root = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"];
    const console = ["con=null", "con0=null,fd:1", "con1=null", "quiet"];
    const kernel = ["linux.uml", "mem=1536M", ...root, ...console, "init=/bin/sh", "--", script];
    // The kernel is several processes: they go together with their process namespace.
    const namespace = [
      "unshare",
      "--pid",
      "--fork",
      "--kill-child=SIGKILL",
      "sh",
      "-c",
      '"$@" 2>/dev/null; exit 0',
      "guest",
    ];
    return await run([...namespace, ...kernel], { timeoutMs });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
