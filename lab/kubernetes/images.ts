// Images of the lab, made from files of the machine: no registry.
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ownArchitecture } from "../../packaging/architecture.ts";
import { writeImageArchive } from "../../packaging/image/image-archive.ts";
import { busyboxImage } from "./node-config.ts";

const applets = ["sh", "sleep", "cat", "ping", "nc", "httpd", "hostname", "ip", "ls", "mkdir", "cp", "mv", "wget"];

/** Debian's static busybox; it sleeps unless told otherwise. Gives the archive's path. */
export async function makeBusyboxImage(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  const program = await readFile("/bin/busybox");
  const file = join(directory, "busybox-image.tar");
  const files = [
    { path: "bin", content: "directory" as const },
    { path: "bin/busybox", content: program, mode: 0o755 },
    ...applets.map((name) => ({ path: `bin/${name}`, content: { linkTo: "busybox" } })),
    { path: "tmp", content: "directory" as const, mode: 0o1777 },
  ];
  const config = { Cmd: ["/bin/sleep", "2147483647"], Env: ["PATH=/bin"] };
  const { name: architecture } = ownArchitecture();
  writeImageArchive(file, { name: busyboxImage, architecture, createdSeconds: 0, config, layers: [files] }, 1);
  return file;
}
