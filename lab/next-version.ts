// The program of this checkout under a later version number, in a directory of its own: what an upgrade puts in its place.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import manifest from "../package.json" with { type: "json" };

const root = fileURLToPath(new URL("..", import.meta.url));

export interface NextVersion extends Disposable {
  readonly version: string;
  /** Its launcher. */
  readonly flanneld: string;
}

/** Disposing removes its files. */
export function makeNextVersion(): NextVersion {
  const directory = mkdtempSync(join(tmpdir(), "flannel-next-"));
  const version = manifest.version.replace(/\d+$/, (patch) => String(Number(patch) + 1));
  const isNeeded = (path: string) => basename(path) !== "compile-cache" && !path.endsWith(".map");
  for (const each of ["bin", "dist"]) {
    cpSync(join(root, each), join(directory, each), { recursive: true, filter: isNeeded });
  }
  const bundle = join(directory, "dist");
  const quoted = `"${manifest.version}"`;
  for (const name of readdirSync(bundle).filter((each) => each.endsWith(".mjs"))) {
    const text = readFileSync(join(bundle, name), "utf8");
    if (text.includes(quoted)) writeFileSync(join(bundle, name), text.replaceAll(quoted, `"${version}"`));
  }
  // As a package has it.
  mkdirSync(join(directory, "node/bin"), { recursive: true });
  symlinkSync(process.execPath, join(directory, "node/bin/node"));
  return {
    version,
    flanneld: join(directory, "bin/flanneld"),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
