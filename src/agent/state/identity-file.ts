// The file in which upstream keeps a backend's identity (a key): read at the start, and made where it is missing, so that
// either program goes on with what the other one had.
import { dirname } from "node:path";
import type { BackendModule } from "../../backend/backend.ts";
import { describeError, FlannelError } from "../../errors.ts";
import { ensureDirectory, isMissingFile, readSmallFile, writeFileAtomically } from "../../sys/files.ts";
import type { Logger } from "../../telemetry/logger.ts";

const MAX_BYTES = 4_096;
const DIRECTORY_MODE = 0o755;
/** As upstream. */
const FILE_MODE = 0o400;

export interface IdentityFile {
  readonly path: string;
  readonly content: string;
}

/** Undefined when the backend has none or the file does not exist. Throws `CONFIG_INVALID` when it cannot be read. */
export function readIdentityFile({ identity }: BackendModule): IdentityFile | undefined {
  const path = identity?.file?.path(process.env);
  if (path === undefined) return undefined;
  try {
    return { path, content: readSmallFile(path, MAX_BYTES) };
  } catch (cause) {
    if (isMissingFile(cause)) return undefined;
    throw new FlannelError("CONFIG_INVALID", `cannot read ${path}: ${describeError(cause)}`, {
      cause,
      tellsCause: true,
    });
  }
}

/** Makes the file where it is missing or outdated. The identity is remembered elsewhere, too: that this failed is reported, not thrown. */
export async function makeIdentityFile({ identity }: BackendModule, made: unknown, logger: Logger): Promise<void> {
  const path = identity?.file?.path(process.env);
  if (identity?.file === undefined || path === undefined) return;
  try {
    const content = identity.file.content(made);
    if (currentContent(path) === content) return;
    ensureDirectory(dirname(path), DIRECTORY_MODE);
    await writeFileAtomically(path, content, FILE_MODE);
  } catch (error) {
    logger.warn(
      "identity.file-not-written",
      `cannot write ${path}; the state directory has the key, upstream would make another one`,
      {
        error,
      },
    );
  }
}

/** Without the line feed that people put at its end. */
function currentContent(path: string): string | undefined {
  try {
    return readSmallFile(path, MAX_BYTES).trim();
  } catch {
    return undefined;
  }
}
