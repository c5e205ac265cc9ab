// The tarball for hosts without a package manager that we serve: flannel/ with its install script.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { sourceDate } from "./checkout.ts";
import type { Contents, Output } from "./contents.ts";

/** `stage` has flannel/. Returns the file. */
export function makeArchive({ version, architecture }: Contents, stage: string, out: Output): string {
  const target = join(out.directory, `flannel-${version}-linux-${architecture.name}.tar.gz`);
  const same = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", `--mtime=@${sourceDate()}`];
  const script = 'tar "$@" -C "$stage" -cf - flannel | gzip -"$level" -n >"$target"';
  execFileSync("sh", ["-euc", script, "sh", ...same], {
    env: { ...process.env, stage, target, level: out.isFast ? "1" : "9" },
    stdio: "inherit",
  });
  return target;
}
