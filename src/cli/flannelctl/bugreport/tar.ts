// Writes a tar archive (POSIX ustar) of small text files. Pure.

const BLOCK_BYTES = 512;
const MAX_NAME_BYTES = 100;

export interface TarEntry {
  /** Relative, at most 100 bytes. */
  readonly name: string;
  readonly content: Uint8Array;
}

/** Regular files of root, mode 0600, in the given order. Throws on a name that does not fit. */
export function writeTar(entries: readonly TarEntry[], modifiedAtMs: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const { name, content } of entries) {
    blocks.push(header(name, content.length, modifiedAtMs), content);
    const rest = content.length % BLOCK_BYTES;
    if (rest > 0) blocks.push(new Uint8Array(BLOCK_BYTES - rest));
  }
  blocks.push(new Uint8Array(2 * BLOCK_BYTES));
  return Buffer.concat(blocks);
}

function header(name: string, size: number, modifiedAtMs: number): Uint8Array {
  const block = Buffer.alloc(BLOCK_BYTES);
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) throw new RangeError(`too long for an archive: ${name}`);
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  block.write(name, 0);
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(Math.floor(modifiedAtMs / 1_000), 136, 12);
  block.write("        ", 148, "latin1");
  block.write("0", 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  block.write("root", 265, "latin1");
  block.write("root", 297, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
