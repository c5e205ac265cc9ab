// `npm run package -- WHAT`: makes what people install. So far WHAT is `image`, the container image for this machine's
// architecture, as an archive that containerd, docker and podman load.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { packageImage } from "./package/image.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const usage = `usage: npm run package -- image [--name NAME:TAG] [--output FILE] [--quick]

  --name NAME:TAG   what the image is called; default flannel:VERSION
  --output FILE     default .cache/packages/flannel-image.tar
  --quick           compress less, in a moment`;

function main(args: readonly string[]): number {
  const options = {
    name: { type: "string" },
    output: { type: "string" },
    quick: { type: "boolean", default: false },
  } as const;
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
  if (positionals.length !== 1 || positionals[0] !== "image") {
    console.error(usage);
    return 2;
  }
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const output = values.output ?? join(root, ".cache/packages/flannel-image.tar");
  const name = values.name ?? `flannel:${version}`;
  const bytes = packageImage({ name, output, isQuick: values.quick });
  console.log(`${output}: ${name}, ${(bytes / 1e6).toFixed(1)} MB`);
  return 0;
}

process.exitCode = main(process.argv.slice(2));
