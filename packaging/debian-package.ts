// The .deb, made by dpkg-deb.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root, sourceDate } from "./checkout.ts";
import type { Contents, Output } from "./contents.ts";
import { configurationFiles, home, writeHostLayout } from "./host-layout.ts";

/** Oldest glibc: Ubuntu 22.04 has 2.35, Debian 12 has 2.36; Node's own programs need 2.28, and libstdc++ of GCC 8. */
const control = (version: string, architecture: string, installedKiB: number) => `Package: flannel
Version: ${version}
Architecture: ${architecture}
Maintainer: flannel maintainers <flannel@localhost>
Installed-Size: ${installedKiB}
Depends: libc6 (>= 2.28), libstdc++6 (>= 8), libgcc-s1, nftables | iptables
Recommends: iptables, iproute2, kmod
Suggests: strongswan-charon, strongswan-swanctl, libstrongswan-standard-plugins, wireguard-go
Conflicts: flanneld
Section: net
Priority: optional
Description: connects containers on different hosts by plain IP
 Every host gets a subnet of one virtual network. The agent flanneld keeps its
 lease in etcd, or in flannel-store, which this package contains as well, and
 makes the kernel forward packets to the other hosts. It works together with
 hosts that run flannel's own agent.
`;

/** Runs the script of that name in flannel/scripts when `condition` on dpkg's arguments holds. */
const maintainerScript = (condition: string, script: string) => `#!/bin/sh
set -e
if ${condition}; then
  sh /${home}/scripts/${script} "$1" dpkg
fi
`;

/** After a purge nothing of ours is there any more: the script goes along as a whole. */
function purgeScript(): string {
  const text = readFileSync(join(root, "packaging/scripts/after-purge.sh"), "utf8");
  const body = text.slice(text.indexOf("\n") + 1);
  return `#!/bin/sh\nset -e\n[ "$1" = purge ] || exit 0\n${body}`;
}

/** Uses `stage`, an empty directory. Returns the file. */
export function makeDebianPackage(contents: Contents, stage: string, out: Output): string {
  const { version, architecture } = contents;
  writeHostLayout(contents, stage, "usr/share/zsh/vendor-completions");
  const bytes = contents.files.reduce((sum, { content }) => sum + content.length, 0);
  const directory = join(stage, "DEBIAN");
  mkdirSync(directory);
  const write = (name: string, text: string, mode: number) => {
    writeFileSync(join(directory, name), text);
    chmodSync(join(directory, name), mode);
  };
  write("control", control(version, architecture.name, Math.ceil(bytes / 1024)), 0o644);
  write("conffiles", configurationFiles.map((path) => `/${path}\n`).join(""), 0o644);
  write("postinst", maintainerScript('[ "$1" = configure ]', "after-install.sh"), 0o755);
  write("prerm", maintainerScript('[ "$1" = remove ] || [ "$1" = upgrade ]', "before-remove.sh"), 0o755);
  write("postrm", purgeScript(), 0o755);
  const target = join(out.directory, `flannel_${version}_${architecture.name}.deb`);
  // One thread: the number of threads shows in the bytes.
  const options = ["--root-owner-group", ...(out.isFast ? ["-Znone"] : ["-Zxz", "-z6", "--threads-max=1"])];
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(sourceDate()) };
  execFileSync("dpkg-deb", [...options, "--build", stage, target], { env, stdio: ["ignore", "ignore", "inherit"] });
  return target;
}
