// `npm run package -- image`: the container image as an archive that containerd, docker and podman load; its files; and the
// list of Debian's packages in it.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { architectures, ownArchitecture } from "../architecture.ts";
import { packageVersion, root } from "../checkout.ts";
import { updateDebianLock } from "./debian-update.ts";
import { imageName, packageImage, writeImageFiles } from "./image.ts";

const usage = `usage: npm run package -- image [--name NAME:TAG] [--output FILE] [--arch amd64|arm64] [--version TEXT] [--quick]
       npm run package -- image --directory DIR [--arch amd64|arm64] [--version TEXT]
       npm run package -- image --update-debian

  --name NAME:TAG   what the image is called; default flannel:VERSION
  --output FILE     default dist-packages/flannel-image-VERSION-ARCH.tar
  --arch NAME       default: that of this machine
  --version TEXT    version of the contents (default: from the git tag of the commit)
  --quick           compress less, in a moment
  --directory DIR   write the image's files into a new directory instead, as the Dockerfile wants them
  --update-debian   lock Debian's packages in it as the mirror has them today, and say what has changed`;

/** `args` without the word `image`. Returns the exit code. */
export function imageCommand(args: readonly string[]): number {
  const options = {
    name: { type: "string" },
    output: { type: "string" },
    arch: { type: "string", default: ownArchitecture().name },
    version: { type: "string", default: packageVersion() },
    quick: { type: "boolean", default: false },
    directory: { type: "string" },
    "update-debian": { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  } as const;
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  const architecture = architectures.find(({ name }) => name === values.arch);
  if (values.help || positionals.length > 0 || architecture === undefined) {
    console.error(usage);
    return values.help ? 0 : 2;
  }
  if (values["update-debian"]) {
    const changes = updateDebianLock();
    console.log(changes.length === 0 ? "nothing has changed" : changes.join("\n"));
    return 0;
  }
  const { version } = values;
  if (values.directory !== undefined) {
    writeImageFiles(values.directory, architecture, version);
    return 0;
  }
  const name = values.name ?? imageName(version);
  const output = values.output ?? join(root, "dist-packages", imageFileName(version, architecture.name));
  const bytes = packageImage({ name, output, isQuick: values.quick, architecture, version });
  console.log(`${output}: ${name}, ${(bytes / 1e6).toFixed(1)} MB`);
  return 0;
}

export function imageFileName(version: string, architecture: string): string {
  return `flannel-image-${version}-${architecture}.tar`;
}
