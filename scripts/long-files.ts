// Sources that grow towards the limit of 500 lines, at which the check stops: time to ask which two subjects they hold.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const WARN_LINES = 350;

export interface LongFile {
  readonly file: string;
  readonly lines: number;
}

/** Longest first. Tests and generated code may be long. */
export function longFiles(root: string, warnLines = WARN_LINES): LongFile[] {
  const listing = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "*.ts"], {
    cwd: root,
    encoding: "utf8",
  });
  const sources = listing
    .split("\n")
    .filter((file) => /^(?:src|lab|scripts|packaging)\//.test(file) && existsSync(join(root, file)));
  return sources
    .filter((file) => !/\.test\.ts$|^src\/etcd-api\/etcd\.ts$|^src\/flannel-store\/membership\/cluster\.ts$/.test(file))
    .map((file) => ({ file, lines: readFileSync(join(root, file), "utf8").split("\n").length - 1 }))
    .filter(({ lines }) => lines > warnLines)
    .sort((a, b) => b.lines - a.lines);
}
