// The files of unpacked Debian packages as the image sees them: by path, with /bin, /sbin and /lib below /usr as on every
// Debian, and with the libraries that a program loads.
import { execFileSync } from "node:child_process";
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { join } from "node:path";
import type { Architecture } from "../architecture.ts";
import type { DebianPackage } from "./debian-packages.ts";
import type { TarEntry } from "./tar.ts";

interface Found {
  readonly file: string;
  readonly from: DebianPackage;
}

export class DebianFiles {
  readonly #architecture: Architecture;
  readonly #found = new Map<string, Found>();
  readonly #used = new Set<DebianPackage>();

  /** `packages` and where each of them is unpacked. */
  constructor(architecture: Architecture, packages: readonly DebianPackage[], directories: readonly string[]) {
    this.#architecture = architecture;
    packages.forEach((from, index) => {
      const directory = directories[index] ?? "";
      for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
        if (entry.isDirectory()) continue;
        const file = join(entry.parentPath, entry.name);
        this.#found.set(placeOf(file.slice(directory.length + 1)), { file, from });
      }
    });
  }

  /** Packages that something was taken from, in the order of the list. */
  get used(): ReadonlySet<DebianPackage> {
    return this.#used;
  }

  /** The file at a path, in its place; what a link leads to takes its name. Throws when no package has it. */
  take(path: string, mode?: number): TarEntry {
    return { path, content: readFileSync(this.fileAt(path)), ...(mode === undefined ? {} : { mode }) };
  }

  /** Where the file at a path lies on this machine, links followed. */
  fileAt(path: string): string {
    return this.#find(path, path);
  }

  #find(path: string, wanted: string): string {
    const found = this.#found.get(path);
    if (found === undefined) throw new Error(`no Debian package of the image has ${wanted}`);
    this.#used.add(found.from);
    if (!lstatSync(found.file).isSymbolicLink()) return found.file;
    const to = readlinkSync(found.file);
    return this.#find(placeOf(join(to.startsWith("/") ? "" : join(path, ".."), to).replace(/^\/+/, "")), wanted);
  }

  /** Paths of the files in a directory whose name matches, and for links what they say. */
  list(directory: string, name: RegExp): readonly { readonly path: string; readonly linkTo?: string }[] {
    const paths = [...this.#found.keys()].filter((path) => path.startsWith(`${directory}/`));
    return paths
      .filter((path) => name.test(path.slice(directory.length + 1)))
      .map((path) => {
        const file = this.#found.get(path)?.file ?? "";
        return lstatSync(file).isSymbolicLink() ? { path, linkTo: readlinkSync(file) } : { path };
      });
  }

  /** Libraries that these programs load, those that the libraries load, and the loader: paths in the image. */
  librariesOf(programs: readonly string[]): readonly string[] {
    const { loader, triplet } = this.#architecture;
    const paths = new Set<string>();
    let files = programs;
    while (files.length > 0) {
      const added = neededBy(files, triplet)
        .filter((name) => !loader.endsWith(`/${name}`))
        .map((name) => `usr/lib/${triplet}/${name}`)
        .filter((path) => !paths.has(path));
      for (const path of added) paths.add(path);
      files = added.map((path) => this.fileAt(path));
    }
    return [...paths, loader].sort();
  }

  /** Licence text of a package that something was taken from: Debian's file `copyright`. */
  copyrightOf({ name }: DebianPackage): string {
    const path = `usr/share/doc/${name}`;
    // Packages of one source may share theirs, by a link in place of the directory.
    const link = this.#found.get(path);
    const directory = link === undefined ? path : join(path, "..", readlinkSync(link.file));
    return readFileSync(this.fileAt(`${directory}/copyright`), "utf8");
  }
}

/** `/lib` and the like are links to `/usr/lib` in the image, however the package has it. */
function placeOf(path: string): string {
  return /^(bin|sbin|lib|lib64)\//.test(path) ? `usr/${path}` : path;
}

/** Names that the dynamic sections of these programs have, each once. */
function neededBy(files: readonly string[], triplet: string): readonly string[] {
  const argv = ["--dynamic", "--wide", ...files.map((file) => realpathSync(file))];
  const text = execFileSync(`${triplet}-readelf`, argv, { encoding: "utf8", maxBuffer: 1 << 26 });
  return [...new Set([...text.matchAll(/\(NEEDED\)\s+Shared library: \[([^\]]+)\]/g)].map(([, name]) => name ?? ""))];
}
