// Debian's own kernel under emulation (QEMU), for what the kernel of the machine may lack: WireGuard, AppArmor. It sees the machine's
// files read-only, with a layer in memory above them. Some ten times slower than the machine. x86-64 only.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { run } from "./command.ts";

export interface KernelFiles {
  readonly directory: string;
  /** As `uname -r` prints it. */
  readonly release: string;
}

/** Kept outside the checkout. The first time it needs the network of the machine: 70 MB. */
export async function emulatedKernel(): Promise<KernelFiles> {
  const cache = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "flannel-lab");
  const directory = join(cache, "emulated-kernel-1");
  if (!existsSync(directory)) await fetchKernel(cache, directory);
  const [release] = readdirSync(join(directory, "lib/modules"));
  if (release === undefined) throw new Error(`${directory} holds no kernel: delete it`);
  return { directory, release };
}

async function fetchKernel(cache: string, directory: string): Promise<void> {
  mkdirSync(cache, { recursive: true });
  const temporary = mkdtempSync(join(cache, "kernel-"));
  try {
    const dependencies = await run(["apt-cache", "depends", "linux-image-amd64"]);
    const name = /Depends: (linux-image-\S+)/.exec(dependencies)?.[1];
    if (name === undefined) throw new Error("apt-cache knows no kernel behind linux-image-amd64");
    await run(["sh", "-c", `cd '${temporary}' && apt-get -q download ${name} && dpkg-deb -x ${name}_*.deb files`], {
      timeoutMs: 600_000,
    });
    const files = join(temporary, "files");
    const [release = ""] = readdirSync(join(files, "lib/modules"));
    await run(["depmod", "-b", files, release]);
    renameSync(files, directory);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** What the guest needs before it sees the machine's files. */
const bootModules = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

const init = (script: string): string => `#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
for module in /modules/*; do /bin/busybox insmod $module; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000,cache=loose host /below
/bin/busybox mount -t tmpfs none /above
/bin/busybox mkdir /above/upper /above/work
/bin/busybox mount -t overlay -o lowerdir=/below,upperdir=/above/upper,workdir=/above/work none /root
exec /bin/busybox switch_root /root /bin/sh ${script}
`;

const guestScript = ({ directory, release }: KernelFiles, commands: string): string => `
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
mkdir -p /lib/modules/${release}
mount --bind '${directory}/lib/modules/${release}' /lib/modules/${release}
mount -t tmpfs none /run; mount -t tmpfs none /tmp; mkdir -p /run/netns; ip link set lo up
stty -F /dev/ttyS1 raw -echo
(
${commands}
) >/dev/ttyS1 2>&1
sync; echo o > /proc/sysrq-trigger; sleep 60
`;

/** Runs shell commands as root in a guest of its own; resolves to what they printed. */
export async function runInEmulatedKernel(commands: string, timeoutMs: number): Promise<string> {
  const kernel = await emulatedKernel();
  const temporary = mkdtempSync(join(tmpdir(), "flannel-emulated-"));
  try {
    const script = join(temporary, "guest.sh");
    writeFileSync(script, guestScript(kernel, commands));
    await makeInitrd(kernel, temporary, script);
    const console = await run(qemu(kernel, temporary), { timeoutMs });
    const output = readFileSync(join(temporary, "output"), "utf8");
    return output === "" ? `the guest printed nothing; its console:\n${console}` : output;
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

async function makeInitrd({ directory, release }: KernelFiles, temporary: string, script: string): Promise<void> {
  const root = join(temporary, "initrd");
  for (const name of ["bin", "modules", "below", "above", "root", "proc", "dev"]) {
    mkdirSync(join(root, name), { recursive: true });
  }
  cpSync("/usr/bin/busybox", join(root, "bin/busybox"));
  const paths = new Set<string>();
  for (const name of bootModules) {
    const lines = await run(["modprobe", "-d", directory, "-S", release, "--show-depends", name]);
    for (const [, path] of lines.matchAll(/^insmod (\S+)/gm)) if (path !== undefined) paths.add(path);
  }
  for (const [index, path] of [...paths].entries())
    cpSync(path, join(root, "modules", `${10 + index}-${basename(path)}`));
  writeFileSync(join(root, "init"), init(script), { mode: 0o755 });
  await run(["sh", "-c", `cd '${root}' && find . | cpio --quiet -o -H newc > ../initrd.cpio`]);
}

function qemu({ directory, release }: KernelFiles, temporary: string): readonly string[] {
  const machine = ["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "2048", "-smp", "2", "-nographic", "-no-reboot"];
  // The kernel's own messages go to the first one, and would stand in the middle of lines.
  const lines = ["-serial", "mon:stdio", "-serial", `file:${join(temporary, "output")}`];
  const boot = ["-kernel", join(directory, "boot", `vmlinuz-${release}`), "-initrd", join(temporary, "initrd.cpio")];
  const files = "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap";
  const shared = ["-fsdev", files, "-device", "virtio-9p-pci,fsdev=root,mount_tag=host", "-nic", "none"];
  return [
    "qemu-system-x86_64",
    ...machine,
    ...lines,
    ...boot,
    "-append",
    "console=ttyS0 panic=-1 quiet mitigations=off no_timer_check",
    ...shared,
  ];
}
