import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { FileLock } from "./file-lock.ts";
import { holderIn, holderName, lockHolder } from "./lock-holder.ts";

it("names who holds a lock, and nobody when it is free", () => {
  const directory = mkdtempSync(join(tmpdir(), "lock-holder-"));
  try {
    const path = join(directory, "lock");
    {
      using _lock = FileLock.acquire(path);
      expect(lockHolder(path)).toMatchObject({ pid: process.pid, program: expect.stringMatching(/./) });
    }
    expect(lockHolder(path)).toBeUndefined();
    expect(lockHolder(join(directory, "nothing"))).toBeUndefined();
  } finally {
    rmSync(directory, { recursive: true });
  }
});

it("tells who holds from who waits, by device and inode", () => {
  const locks = `1: FLOCK  ADVISORY  WRITE 11 fe:00:45 0 EOF
2: -> FLOCK  ADVISORY  WRITE 12 00:2c:456 0 EOF
2: FLOCK  ADVISORY  WRITE 13 00:2c:456 0 EOF
3: OFDLCK ADVISORY  WRITE -1 103:11:7 0 EOF
`;
  expect(holderIn(locks, 0x2c, 456)).toBe(13);
  expect(holderIn(locks, 0xfe00, 456)).toBeUndefined();
  expect(holderIn(locks, (0x103 << 8) | 0x11, 7)).toBe(-1);
  expect(holderName({})).toBe("a process in another namespace");
  expect(holderName({ pid: 13, program: "flock" })).toBe("flock (pid 13)");
});
