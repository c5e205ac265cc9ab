// `npm run package -- image`: the container image for this machine's architecture, as an archive that containerd, docker
// and podman load.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { packageImage } from "../scripts/package/image.ts";
import { packageVersion, root } from "./checkout.ts";

const usage = `usage: npm run package -- image [--name NAME:TAG] [--output FILE] [--quick]

  --name NAME:TAG   what the image is called; default flannel:VERSION
  --output FILE     default .cache/packages/flannel-image.tar
  --quick           compress less, in a moment`;

/** `args` without the word `image`. Returns the exit code. */
export function imageCommand(args: readonly string[]): number {
  const options = {
    name: { type: "string" },
    output: { type: "string", default: join(root, ".cache/packages/flannel-image.tar") },
    quick: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  } as const;
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  if (values.help || positionals.length > 0) {
    console.error(usage);
    return values.help ? 0 : 2;
  }
  // A tag holds no tilde.
  const name = values.name ?? `flannel:${packageVersion().replace("~", "-")}`;
  const bytes = packageImage({ name, output: values.output, isQuick: values.quick });
  console.log(`${values.output}: ${name}, ${(bytes / 1e6).toFixed(1)} MB`);
  return 0;
}
