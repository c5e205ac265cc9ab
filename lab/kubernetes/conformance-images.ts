// The images that the Kubernetes project's tests name, under their names, made from files of this machine: agnhost with the
// tools that the tests run in it, the same with glibc's way to names, the pod that does nothing; and CoreDNS.
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { writeImageArchive } from "../../packaging/image/image-archive.ts";
import type { TarEntry } from "../../packaging/image/tar.ts";
import { run } from "../command.ts";
import { conformanceProgram, sourceOfPackage } from "./conformance-programs.ts";

/** Of Debian: netcat-openbsd, bind9-dnsutils, curl. busybox's own nc has no -u, and its shell would take that one. */
const tools = [
  "/usr/bin/dash",
  "/usr/bin/curl",
  "/usr/bin/dig",
  "/usr/bin/getent",
  "/usr/bin/nc.openbsd",
  "/usr/bin/nslookup",
];

const applets = [
  ...["cat", "cp", "date", "dd", "echo", "env", "expr", "false", "grep", "head", "hostname", "ifconfig", "ip", "ls"],
  ...[
    "mkdir",
    "netstat",
    "printf",
    "ps",
    "sed",
    "seq",
    "sleep",
    "sort",
    "tail",
    "test",
    "timeout",
    "true",
    "uniq",
    "wc",
  ],
];

const agnhostPackage = "k8s.io/kubernetes/test/images/agnhost";

export const coreDnsImage = "lab.local/coredns:1";

/** Writes the archives below a directory that is there, and gives their paths. */
export async function makeConformanceImages(directory: string): Promise<readonly string[]> {
  const sources = await sourceOfPackage(agnhostPackage);
  const agnhost = { path: "agnhost", content: await readFile(conformanceProgram("agnhost")), mode: 0o755 };
  const system = await systemFiles();
  const certificates = await Promise.all(
    ["localhost.crt", "localhost.key"].map(async (name) => ({
      path: name,
      content: await readFile(join(sources, "porter", name)),
    })),
  );
  const version = (await readFile(join(sources, "VERSION"), "utf8")).trim();
  const glibcVersion = (await readFile(join(sources, "../glibc-dns-testing/VERSION"), "utf8")).trim();
  const coreDns = { path: "coredns", content: await readFile(conformanceProgram("coredns")), mode: 0o755 };
  const pause = await pauseName(sources);
  const agnhostFiles = [...system, agnhost, { path: "agnhost-2", content: { linkTo: "agnhost" } }, ...certificates];
  const images: readonly LabImage[] = [
    {
      name: `registry.k8s.io/e2e-test-images/agnhost:${version}`,
      files: agnhostFiles,
      entry: ["/agnhost"],
      arguments: ["pause"],
    },
    { name: `registry.k8s.io/e2e-test-images/glibc-dns-testing:${glibcVersion}`, files: agnhostFiles, entry: [] },
    { name: pause, files: [agnhost], entry: ["/agnhost", "pause"] },
    { name: coreDnsImage, files: [coreDns], entry: ["/coredns"] },
  ];
  return images.map((image, index) => {
    const file = join(directory, `conformance-image-${index}.tar`);
    const config = {
      Entrypoint: image.entry,
      Cmd: image.arguments ?? [],
      Env: ["PATH=/usr/bin:/bin"],
    };
    writeImageArchive(
      file,
      { name: image.name, architecture: "amd64", createdSeconds: 0, config, layers: [image.files] },
      1,
    );
    return file;
  });
}

interface LabImage {
  readonly name: string;
  readonly files: readonly TarEntry[];
  readonly entry: readonly string[];
  readonly arguments?: readonly string[];
}

/** As the tests name it, which is not the kubelet's own. */
async function pauseName(agnhostSources: string): Promise<string> {
  const manifest = await readFile(join(agnhostSources, "../../utils/image/manifest.go"), "utf8");
  const version = /configs\[Pause\] = Config\{list\.GcRegistry, "pause", "([^"]+)"\}/.exec(manifest)?.[1];
  if (version === undefined) throw new Error("the tests of Kubernetes name their image pause in another way now");
  return `registry.k8s.io/pause:${version}`;
}

/** A shell, the tools and what they load. */
async function systemFiles(): Promise<readonly TarEntry[]> {
  const libraries = (await Promise.all(tools.map(librariesOf))).flat();
  const programs = await Promise.all(tools.map((path) => fileEntry(`usr/bin/${basename(path)}`, path)));
  const links = { sh: "dash", nc: "nc.openbsd", ...Object.fromEntries(applets.map((name) => [name, "busybox"])) };
  return [
    ...["etc", "tmp", "uploads", "usr", "usr/bin", "usr/lib", "usr/lib64"].map((path) => ({
      path,
      content: "directory" as const,
      ...(path === "tmp" ? { mode: 0o1777 } : {}),
    })),
    ...["bin", "lib", "lib64"].map((path) => ({ path, content: { linkTo: `usr/${path}` } })),
    { path: "etc/nsswitch.conf", content: Buffer.from("hosts: files dns\n") },
    { path: "etc/passwd", content: Buffer.from("root:x:0:0:root:/root:/bin/sh\n") },
    ...programs,
    await fileEntry("usr/bin/busybox", "/bin/busybox"),
    ...Object.entries(links).map(([name, linkTo]) => ({ path: `usr/bin/${name}`, content: { linkTo } })),
    ...(await Promise.all([...new Set(libraries)].map((path) => fileEntry(placeOf(path), path)))),
  ];
}

async function librariesOf(program: string): Promise<readonly string[]> {
  const text = await run(["ldd", program]);
  return [...text.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].flatMap(([, path]) => path ?? []);
}

/** Without the directory of the architecture: the loader looks in /usr/lib as well. */
function placeOf(library: string): string {
  return library.includes("/lib64/") ? `usr/lib64/${basename(library)}` : `usr/lib/${basename(library)}`;
}

async function fileEntry(path: string, source: string): Promise<TarEntry> {
  return { path, content: await readFile(source), mode: 0o755 };
}
