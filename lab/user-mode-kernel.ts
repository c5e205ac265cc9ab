// A second Linux kernel that runs as a process (user-mode-linux, with its modules), for what the kernel of the machine may lack:
// ESP. It sees the machine's files read-only, with an empty /run. Near the machine's own speed. x86-64 only.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";

const guestScript = (modules: readonly string[], commands: string): string => `{
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc none /proc; mount -t sysfs none /sys; mount -t tmpfs none /run; mkdir -p /run/netns; ip link set lo up
mount -t tmpfs none /lib/modules && mkdir -p "/lib/modules/$(uname -r)"
mount --bind "/usr/lib/uml/modules/$(uname -r)" "/lib/modules/$(uname -r)"
modprobe -a ${modules.join(" ")}
(
${commands}
) 2>&1
echo o > /proc/sysrq-trigger; sleep 60
}
`;

/** Runs shell commands as root in a guest of its own that has loaded the modules; resolves to what its console printed. */
export async function runInUserModeKernel(
  modules: readonly string[],
  commands: string,
  timeoutMs: number,
): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "flannel-user-mode-"));
  try {
    const script = join(directory, "guest.sh");
    writeFileSync(script, guestScript(modules, commands));
    const root = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"];
    const console = ["con=null", "con0=null,fd:1", "con1=null", "quiet"];
    const kernel = ["linux.uml", "mem=1G", ...root, ...console, "init=/bin/sh", "--", script];
    // The kernel is several processes: they go together with their process namespace.
    const namespace = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "sh", "-c", '"$@"; exit 0', "guest"];
    return await run(["setpriv", "--pdeathsig", "KILL", ...namespace, ...kernel], { timeoutMs });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
