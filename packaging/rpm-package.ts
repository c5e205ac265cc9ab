// The .rpm, made by rpmbuild from the same tree as the .deb.
import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root, sourceDate } from "./checkout.ts";
import type { Contents, Output } from "./contents.ts";
import { configurationFiles, home, writeHostLayout } from "./host-layout.ts";

/**
 * rpm gives the number of packages that remain: 0 at a removal, 1 at an upgrade, when it runs the old package's script after
 * the new one's files are there. Removing it deletes no data.
 */
const spec = (version: string) => `Name: flannel
Version: ${version}
Release: 1
Summary: connects containers on different hosts by plain IP
License: Apache-2.0
# Only what stands here: Node's own libraries have other names on other distributions.
AutoReqProv: no
Requires: libc.so.6(GLIBC_2.28)(64bit)
Requires: libstdc++.so.6(GLIBCXX_3.4.25)(64bit)
Requires: libgcc_s.so.1()(64bit)
Requires: (nftables or iptables)
Suggests: strongswan
%description
Every host gets a subnet of one virtual network. The agent flanneld keeps its lease in etcd, or in flannel-store, which
this package contains as well, and makes the kernel forward packets to the other hosts.
%files
%defattr(-,root,root)
${configurationFiles.map((path) => `%config(noreplace) /${path}\n`).join("")}/usr/bin/flannelctl
/usr/sbin/flanneld
/usr/sbin/flannel-store
/${home}
/usr/lib/systemd/system/flanneld.service
/usr/lib/systemd/system/flannel-store.service
/usr/share/bash-completion/completions/flannelctl
/usr/share/zsh/site-functions/_flannelctl
/usr/share/fish/vendor_completions.d/flannelctl.fish
/usr/share/doc/flannel
/usr/share/man/man1/flannelctl.1.gz
/usr/share/man/man8/flanneld.8.gz
/usr/share/man/man8/flannel-store.8.gz
%post
sh /${home}/scripts/after-install.sh
%preun
if [ "$1" = 0 ]; then sh /${home}/scripts/before-remove.sh remove rpm; fi
`;

/** Uses `stage`, an empty directory. Returns the file. */
export function makeRpmPackage(contents: Contents, stage: string, out: Output): string {
  const { version, architecture } = contents;
  const tree = join(stage, "tree");
  mkdirSync(tree);
  writeHostLayout(contents, tree, "usr/share/zsh/site-functions");
  const specFile = join(stage, "flannel.spec");
  writeFileSync(specFile, spec(version));
  const settings = {
    _topdir: join(stage, "build"),
    _rpmdir: join(stage, "out"),
    _rpmfilename: "flannel.rpm",
    _build_id_links: "none",
    _binary_payload: out.isFast ? "w0.gzdio" : "w6.xzdio",
    _buildhost: "localhost",
    use_source_date_epoch_as_buildtime: "1",
    clamp_mtime_to_source_date_epoch: "1",
    // The programs are as they are to be: nothing is stripped, compressed or rewritten.
    __os_install_post: "%{nil}",
  };
  const defines = Object.entries(settings).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
  const argv = ["-bb", "--quiet", "--target", `${architecture.rpm}-linux`, "--buildroot", tree, ...defines, specFile];
  const env = { ...process.env, SOURCE_DATE_EPOCH: String(sourceDate()) };
  execFileSync("rpmbuild", argv, { cwd: root, env, stdio: ["ignore", "ignore", "inherit"] });
  const target = join(out.directory, `flannel-${version}-1.${architecture.rpm}.rpm`);
  const made = join(stage, "out/flannel.rpm");
  renameSync(made, target);
  return target;
}
