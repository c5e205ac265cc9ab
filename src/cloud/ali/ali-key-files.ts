// The access key in the files of Alibaba Cloud's own programs: that of its command line, then that of its SDKs.
import { join } from "node:path";
import { tryParseJson } from "../../json/try-parse-json.ts";
import { listIn, textIn } from "../../json/untyped-fields.ts";
import type { AccessKey } from "../access-key.ts";
import { homeIn, iniSection, readKeyFile, unusableKeyFile } from "../key-files.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Profiles that lead to keys by other ways than a key in the file are passed over. Throws `CLOUD_DENIED`. */
export function readAliKeyFiles(env: Environment): AccessKey | undefined {
  const home = homeIn(env);
  const isCliOff = env["ALIBABA_CLOUD_CLI_PROFILE_DISABLED"]?.toLowerCase() === "true";
  const ofCli = isCliOff ? undefined : cliKey(join(home, ".aliyun/config.json"), env);
  return ofCli ?? sdkKey(home, env);
}

function cliKey(path: string, env: Environment): AccessKey | undefined {
  const text = readKeyFile(path);
  if (text === undefined) return undefined;
  const config = tryParseJson(text);
  if (config === undefined) throw unusableKeyFile(path, "it is no JSON");
  const name = env["ALIBABA_CLOUD_PROFILE"] || textIn(config, "current") || "default";
  const profile = listIn(config, "profiles").find((each) => textIn(each, "name") === name);
  if (!["AK", "StsToken"].includes(textIn(profile, "mode"))) return undefined;
  const token = textIn(profile, "mode") === "StsToken" ? textIn(profile, "sts_token") : "";
  return keyOf(textIn(profile, "access_key_id"), textIn(profile, "access_key_secret"), token);
}

function sdkKey(home: string, env: Environment): AccessKey | undefined {
  const named = env["ALIBABA_CLOUD_CREDENTIALS_FILE"];
  const text = named ? readKeyFile(named, true) : readKeyFile(join(home, ".alibabacloud/credentials"));
  const profile = text === undefined ? undefined : iniSection(text, env["ALIBABA_CLOUD_PROFILE"] || "default");
  if (profile?.get("type") !== "access_key") return undefined;
  return keyOf(profile.get("access_key_id"), profile.get("access_key_secret"));
}

function keyOf(id = "", secret = "", token = ""): AccessKey | undefined {
  return id === "" || secret === "" ? undefined : { id, secret, ...(token !== "" && { token }) };
}
