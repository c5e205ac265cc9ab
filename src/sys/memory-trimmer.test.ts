// Which mappings may be given back without loss; that a process shrinks is tested on the store (test/embedded).
import { expect, test } from "vitest";
import { unchangedFilePages } from "./memory-trimmer.ts";

interface OwnPages {
  readonly anonymous?: number;
  /** Missing: a kernel that does not say. */
  readonly swap?: number | undefined;
}

function mapping(range: string, access: string, file: string, ownPages: OwnPages = {}): string {
  const { anonymous, swap } = { anonymous: 0, swap: 0, ...ownPages };
  const kilobytes = (name: string, count: number) => `${name}:${String(count).padStart(22 - name.length)} kB`;
  return [
    `${range} ${access} 00000000 08:01 ${inodeOf(file)}                     ${file}`,
    "Size:               1024 kB",
    "Rss:                 512 kB",
    kilobytes("Anonymous", anonymous),
    "AnonHugePages:         0 kB",
    ...(swap === undefined ? [] : [kilobytes("Swap", swap)]),
    "SwapPss:               0 kB",
    "VmFlags: rd ex mr mw me sd",
    "",
  ].join("\n");
}

const inodes = new Map<string, number>();
function inodeOf(file: string): number {
  if (!file.startsWith("/")) return 0;
  const inode = inodes.get(file) ?? 4_711 + inodes.size;
  inodes.set(file, inode);
  return inode;
}

test("only private file pages that nothing wrote to", () => {
  const smaps = [
    mapping("00400000-01000000", "r--p", "/opt/node"),
    mapping("01000000-03b00000", "r-xp", "/opt/node"),
    mapping("03b00000-03c00000", "r--p", "/opt/node", { anonymous: 8 }), // relocated
    mapping("03c00000-03d00000", "rw-p", "/opt/node"),
    mapping("10000000-10100000", "rw-p", "[heap]", { anonymous: 900 }),
    mapping("7f0000000000-7f0000100000", "r-xp", "", { anonymous: 1024 }), // text on huge pages
    mapping("7f1000000000-7f1000100000", "r--s", "/var/lib/shared"),
    mapping("7fffe0000000-7fffe0002000", "r-xp", "[vdso]"),
    mapping("7fd6dec00000-7fd6ded00000", "r-xp", "/lib/with spaces (deleted)"),
  ].join("");
  expect(unchangedFilePages(smaps)).toEqual([
    { start: 0x40_0000, end: 0x100_0000 },
    { start: 0x100_0000, end: 0x3b0_0000 },
    { start: 0x7fd6_dec0_0000, end: 0x7fd6_ded0_0000 },
  ]);
  expect(unchangedFilePages("")).toEqual([]);
  expect(unchangedFilePages("rubbish\nAnonymous:      0 kB\n")).toEqual([]);
});

test("a page that is swapped out is a page of its own", () => {
  const text = mapping("00400000-01000000", "r-xp", "/opt/node");
  const relocated = (swap: number | undefined) => text + mapping("01000000-01100000", "r--p", "/opt/node", { swap });
  expect(unchangedFilePages(relocated(0))).toHaveLength(2);
  expect(unchangedFilePages(relocated(8))).toEqual([{ start: 0x40_0000, end: 0x100_0000 }]);
  expect(unchangedFilePages(relocated(undefined))).toEqual([{ start: 0x40_0000, end: 0x100_0000 }]);
});

test("a file that nothing is executed from may be gone the next time", () => {
  const smaps = [
    mapping("00400000-00500000", "r--p", "/opt/node"),
    mapping("7f0000000000-7f0000010000", "r--p", "/etc/ld.so.cache"),
    mapping("7f1000000000-7f1000010000", "r--p", "/lib/libc.so.6"),
    mapping("7f1000010000-7f1000020000", "r-xp", "/lib/libc.so.6"),
    mapping("7fffe0000000-7fffe0002000", "r-xp", "[vdso]"),
  ].join("");
  expect(unchangedFilePages(smaps)).toEqual([
    { start: 0x7f10_0000_0000, end: 0x7f10_0001_0000 },
    { start: 0x7f10_0001_0000, end: 0x7f10_0002_0000 },
  ]);
});
