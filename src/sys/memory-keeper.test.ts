// Which mappings may be given back without loss; that a process shrinks is tested on the store (test/embedded).
import { expect, test } from "vitest";
import { unchangedFilePages } from "./memory-keeper.ts";

function mapping(range: string, access: string, file: string, anonymousKb: number): string {
  const inode = file.startsWith("/") ? 4711 : 0;
  return [
    `${range} ${access} 00000000 08:01 ${inode}                     ${file}`,
    "Size:               1024 kB",
    "Rss:                 512 kB",
    `Anonymous:      ${String(anonymousKb).padStart(8)} kB`,
    "AnonHugePages:         0 kB",
    "VmFlags: rd ex mr mw me sd",
    "",
  ].join("\n");
}

test("only private file pages that nothing wrote to", () => {
  const smaps = [
    mapping("00400000-01000000", "r--p", "/opt/node", 0),
    mapping("01000000-03b00000", "r-xp", "/opt/node", 0),
    mapping("03b00000-03c00000", "r--p", "/opt/node", 8), // relocated
    mapping("03c00000-03d00000", "rw-p", "/opt/node", 0),
    mapping("10000000-10100000", "rw-p", "[heap]", 900),
    mapping("7f0000000000-7f0000100000", "r-xp", "", 1024), // text on huge pages
    mapping("7f1000000000-7f1000100000", "r--s", "/var/lib/shared", 0),
    mapping("7fffe0000000-7fffe0002000", "r-xp", "[vdso]", 0),
    mapping("7fd6dec00000-7fd6ded00000", "r-xp", "/lib/with spaces (deleted)", 0),
  ].join("");
  expect(unchangedFilePages(smaps)).toEqual([
    { start: 0x40_0000, end: 0x100_0000 },
    { start: 0x100_0000, end: 0x3b0_0000 },
    { start: 0x7fd6_dec0_0000, end: 0x7fd6_ded0_0000 },
  ]);
  expect(unchangedFilePages("")).toEqual([]);
  expect(unchangedFilePages("rubbish\nAnonymous:      0 kB\n")).toEqual([]);
});
