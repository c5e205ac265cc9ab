// The files of a cluster on the store's host, and how they are written: whole or not at all, synced, for the owner alone.
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { describeError, FlannelError } from "../../errors.ts";
import { ensureDirectory, isMissingFile } from "../../sys/files.ts";

export interface ClusterFiles {
  readonly directory: string;
  readonly caCertificate: string;
  readonly caKey: string;
  readonly serverCertificate: string;
  readonly serverKey: string;
  readonly adminCertificate: string;
  readonly adminKey: string;
  readonly members: string;
}

/** @param directory `DATA-DIR/cluster` */
export function clusterFiles(directory: string): ClusterFiles {
  const file = (name: string) => join(directory, name);
  return {
    directory,
    caCertificate: file("ca.pem"),
    caKey: file("ca-key.pem"),
    serverCertificate: file("server.pem"),
    serverKey: file("server-key.pem"),
    adminCertificate: file("admin.pem"),
    adminKey: file("admin-key.pem"),
    members: file("members.json"),
  };
}

/** With mode 0700, also when it was there with another one. Throws `FILE_FAILED`. */
export function makeClusterDirectory(directory: string): void {
  try {
    ensureDirectory(directory, 0o700);
    chmodSync(directory, 0o700);
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot make ${directory}: ${describeError(cause)}`, { cause });
  }
}

/** On return it is on disk, mode 0600; else `FILE_FAILED`, and the old file is as it was. */
export function writeSecretFile(path: string, text: string): void {
  // One name for all attempts: what a crash leaves is overwritten by the next.
  const temporary = `${path}.new`;
  try {
    rmSync(temporary, { force: true });
    const fd = openSync(temporary, "wx", 0o600);
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
    syncDirectory(dirname(path));
  } catch (cause) {
    throw new FlannelError("FILE_FAILED", `cannot write ${path}: ${describeError(cause)}`, { cause, tellsCause: true });
  }
}

/** What `path` held before it was last replaced. */
export function formerOf(path: string): string {
  return `${path}.before`;
}

/** As writeSecretFile; what was there is kept as the former one. */
export function replaceSecretFile(path: string, text: string): void {
  if (existsSync(path)) writeSecretFile(formerOf(path), readClusterFile(path));
  writeSecretFile(path, text);
}

/** The file and its former one change places. A crash between the two writes loses what is not wanted now. */
export function bringBackFormer(path: string): void {
  const present = readClusterFile(path);
  writeSecretFile(path, readClusterFile(formerOf(path)));
  writeSecretFile(formerOf(path), present);
}

/** Throws `FILE_FAILED`. */
export function readClusterFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (isMissingFile(cause)) {
      throw new FlannelError("FILE_FAILED", `there is no ${path}`, { cause, tellsCause: true });
    }
    throw new FlannelError("FILE_FAILED", `cannot read ${path}: ${describeError(cause)}`, { cause, tellsCause: true });
  }
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
