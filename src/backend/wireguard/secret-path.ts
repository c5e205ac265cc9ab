// Paths of files with secrets, as the configuration names them. Pure.
import { invalid } from "../../config/address-pool.ts";

/** Throws `CONFIG_INVALID` for what cannot be the path of a file on every host. */
export function checkSecretPath(key: string, path: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  const isPath = /^\/[^\u0000-\u001f\u007f]{1,4000}$/.test(path) && !path.endsWith("/");
  if (!isPath) throw invalid(key, path, "must be the absolute path of a file, such as /etc/flannel/psk");
}
