// The access key in the files of Tencent Cloud's own programs.
import { join } from "node:path";
import type { AccessKey } from "../access-key.ts";
import { homeIn, iniSection, readKeyFile } from "../key-files.ts";

/** Throws `CLOUD_DENIED`. */
export function readTencentKeyFiles(
  env: Readonly<Record<string, string | undefined>>,
  ofAllUsers = "/etc/tencentcloud/credentials",
): AccessKey | undefined {
  for (const path of [join(homeIn(env), ".tencentcloud/credentials"), ofAllUsers]) {
    const text = readKeyFile(path);
    const profile = text === undefined ? undefined : iniSection(text, "default");
    const [id, secret, token] = ["secret_id", "secret_key", "token"].map((name) => profile?.get(name));
    if (id && secret) return { id, secret, ...(token && { token }) };
  }
  return undefined;
}
