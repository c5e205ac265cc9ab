// Writes tar archives (POSIX ustar) that have the same bytes whoever makes them, when and where: no times, no owners but
// root, entries in the order given.

export interface TarEntry {
  /** Without a slash at either end, at most 255 bytes. */
  readonly path: string;
  readonly content: Uint8Array | { readonly linkTo: string } | "directory";
  /** Default 0o755 for directories, 0o644 for files; links have none. */
  readonly mode?: number;
}

const blockBytes = 512;

/** The archive, as pieces to be written one after the other. */
export function* tarOf(entries: Iterable<TarEntry>): Generator<Uint8Array> {
  for (const entry of entries) {
    yield headerOf(entry);
    if (!(entry.content instanceof Uint8Array)) continue;
    yield entry.content;
    const rest = entry.content.length % blockBytes;
    if (rest > 0) yield new Uint8Array(blockBytes - rest);
  }
  yield new Uint8Array(2 * blockBytes);
}

function headerOf({ path, content, mode }: TarEntry): Uint8Array {
  const header = Buffer.alloc(blockBytes);
  const isDirectory = content === "directory";
  const [prefix, name] = splitPath(isDirectory ? `${path}/` : path);
  const size = content instanceof Uint8Array ? content.length : 0;
  const octal = (value: number, offset: number, digits: number) =>
    header.write(`${value.toString(8).padStart(digits, "0")}\0`, offset, "latin1");
  header.write(name, 0);
  octal(mode ?? (isDirectory ? 0o755 : 0o644), 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(size, 124, 11);
  octal(0, 136, 11);
  header.write("        ", 148, "latin1");
  header.write(isDirectory ? "5" : content instanceof Uint8Array ? "0" : "2", 156, "latin1");
  if (!isDirectory && !(content instanceof Uint8Array)) writeText(header, content.linkTo, 157, 100);
  header.write("ustar\x0000", 257, "latin1");
  header.write("root", 265, "latin1");
  header.write("root", 297, "latin1");
  octal(0, 329, 7);
  octal(0, 337, 7);
  header.write(prefix, 345);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

/** A path that is too long for its field has its front part in another one. */
function splitPath(path: string): readonly [prefix: string, name: string] {
  if (Buffer.byteLength(path) <= 100) return ["", path];
  for (let slash = path.indexOf("/"); slash > 0; slash = path.indexOf("/", slash + 1)) {
    const [prefix, name] = [path.slice(0, slash), path.slice(slash + 1)];
    if (name !== "" && Buffer.byteLength(prefix) <= 155 && Buffer.byteLength(name) <= 100) return [prefix, name];
  }
  throw new Error(`${path} is too long for a tar archive`);
}

function writeText(header: Buffer, text: string, offset: number, bytes: number): void {
  if (Buffer.byteLength(text) > bytes) throw new Error(`${text} is too long for a tar archive`);
  header.write(text, offset);
}
