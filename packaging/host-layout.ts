// Where a package of a distribution puts things on a host: the directory flannel/ as a whole, and what has to lie
// elsewhere, as links or copies. Pure but for the tree it writes.
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { type Contents, writeContents } from "./contents.ts";

/** Without the slash in front, as below a package's root. */
export const home = "usr/lib/flannel";

/** Files that the host's administrator edits: never overwritten. */
export const configurationFiles = ["etc/default/flanneld", "etc/default/flannel-store"] as const;

/** Documents, and what they link to. */
export const documentPaths = [
  ...["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"],
  ...["docs", "examples", "deploy"],
];

const links: Readonly<Record<string, string>> = {
  "usr/bin/flannelctl": "../lib/flannel/bin/flannelctl",
  "usr/sbin/flanneld": "../lib/flannel/bin/flanneld",
  "usr/sbin/flannel-store": "../lib/flannel/bin/flannel-store",
  ...Object.fromEntries(documentPaths.map((name) => [`usr/share/doc/flannel/${name}`, `../../../lib/flannel/${name}`])),
};

const copies: Readonly<Record<string, string>> = {
  "etc/default/flanneld": "defaults/flanneld",
  "etc/default/flannel-store": "defaults/flannel-store",
  "usr/share/bash-completion/completions/flannelctl": "completions/flannelctl.bash",
  "usr/share/fish/vendor_completions.d/flannelctl.fish": "completions/flannelctl.fish",
  "usr/share/doc/flannel/copyright": "THIRD-PARTY-LICENSES.txt",
};

const manualPages = ["man/man1/flannelctl.1", "man/man8/flanneld.8", "man/man8/flannel-store.8"];
const units = ["flanneld.service", "flannel-store.service"];

/** The tree of a package, below `directory`. `zshFunctions`: where the distribution has completions for zsh. */
export function writeHostLayout(contents: Contents, directory: string, zshFunctions: string): void {
  writeContents(contents, join(directory, dirname(home)));
  const inHome = (path: string) => join(directory, home, path);
  const place = (path: string, write: (target: string) => void) => {
    const target = join(directory, path);
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    write(target);
  };
  for (const [path, to] of Object.entries(links)) place(path, (target) => symlinkSync(to, target));
  const zshCompletion = { [`${zshFunctions}/_flannelctl`]: "completions/_flannelctl" };
  for (const [path, from] of Object.entries({ ...copies, ...zshCompletion })) {
    place(path, (target) => {
      copyFileSync(inHome(from), target);
      chmodSync(target, 0o644);
    });
  }
  for (const path of manualPages) {
    place(`usr/share/${path}.gz`, (target) =>
      writeFileSync(target, gzipSync(readFileSync(inHome(path)), { level: 9 })),
    );
  }
  for (const unit of units) {
    const text = readFileSync(inHome(`deploy/${unit}`), "utf8");
    // What people read at the top is about copying it.
    const body = text.slice(text.indexOf("[Unit]")).replaceAll("/opt/flannel", `/${home}`);
    place(`usr/lib/systemd/system/${unit}`, (target) => writeFileSync(target, body));
  }
}
