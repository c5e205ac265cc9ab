// Access keys in the files of the vendors' own programs.
import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readAliKeyFiles } from "./ali/ali-key-files.ts";
import { iniSection } from "./key-files.ts";
import { readTencentKeyFiles } from "./tencent/tencent-key-files.ts";

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "keys-"));
});
afterAll(() => rm(home, { recursive: true }));

async function withHome(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const directory = join(home, name);
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), text);
  }
  return directory;
}

const cli = (profiles: readonly unknown[]) => JSON.stringify({ current: "work", profiles });

test("Alibaba Cloud: the command line's current profile, else the SDKs' file, else none", async () => {
  const ini =
    "[default]\ntype = access_key\naccess_key_id = FILE\naccess_key_secret = s3 ; #x\n[other]\ntype=access_key\n";
  const own = { name: "work", mode: "AK", access_key_id: "CLI", access_key_secret: "s1", sts_token: "no" };
  const temporary = { name: "sts", mode: "StsToken", access_key_id: "STS", access_key_secret: "s2", sts_token: "t" };
  const files = { ".aliyun/config.json": cli([own, temporary]), ".alibabacloud/credentials": ini };
  const HOME = await withHome("both", files);
  expect(readAliKeyFiles({ HOME })).toEqual({ id: "CLI", secret: "s1" });
  expect(readAliKeyFiles({ HOME, ALIBABA_CLOUD_PROFILE: "sts" })).toEqual({ id: "STS", secret: "s2", token: "t" });
  const ofSdk = { HOME, ALIBABA_CLOUD_CLI_PROFILE_DISABLED: "true" };
  expect(readAliKeyFiles(ofSdk)).toEqual({ id: "FILE", secret: "s3 ; #x" });
  expect(readAliKeyFiles({ ...ofSdk, ALIBABA_CLOUD_PROFILE: "other" })).toBeUndefined();
  const elsewhere = { HOME: "/nowhere", ALIBABA_CLOUD_CREDENTIALS_FILE: join(HOME, ".alibabacloud/credentials") };
  expect(readAliKeyFiles(elsewhere)).toEqual({ id: "FILE", secret: "s3 ; #x" });
  expect(readAliKeyFiles({ HOME: "/nowhere" })).toBeUndefined();
  const byRole = cli([{ name: "work", mode: "EcsRamRole", ram_role_name: "x" }]);
  expect(readAliKeyFiles({ HOME: await withHome("role", { ".aliyun/config.json": byRole }) })).toBeUndefined();
});

test("Tencent Cloud: the user's file, else that of all users, else none", async () => {
  const section = (id: string, more = "") => `# of ops\n[default]\nsecret_id = ${id}\nsecret_key = "k=="\n${more}`;
  const HOME = await withHome("tencent", {
    ".tencentcloud/credentials": section("USER", "token=t\r\n"),
    all: section("ALL"),
  });
  const all = join(HOME, "all");
  expect(readTencentKeyFiles({ HOME }, all)).toEqual({ id: "USER", secret: "k==", token: "t" });
  expect(readTencentKeyFiles({ HOME: "/nowhere" }, all)).toEqual({ id: "ALL", secret: "k==" });
  expect(readTencentKeyFiles({ HOME: "/nowhere" }, "/nowhere")).toBeUndefined();
});

test("a file that cannot be understood is named, and not quoted", async () => {
  const HOME = await withHome("broken", { ".aliyun/config.json": '{"access_key_secret": "geheim"' });
  expect(() => readAliKeyFiles({ HOME })).toThrow(
    `cannot take the access key from ${HOME}/.aliyun/config.json: it is no JSON: correct or remove that file`,
  );
  const large = await withHome("large", { ".tencentcloud/credentials": "x".repeat(70_000) });
  expect(() => readTencentKeyFiles({ HOME: large })).toThrow(/the file has 70000 bytes, which is too large/);
  const directory = await withHome("directory", { ".tencentcloud/credentials/x": "" });
  expect(() => readTencentKeyFiles({ HOME: directory })).toThrow(/cannot take the access key from/);
});

test("sections of INI files", () => {
  const text = "a=0\n[ one ]\nA = 1\n; b=2\n#c=3\nempty=\n[two]\na='2'\n[one]\nd=4";
  expect(Object.fromEntries(iniSection(text, "one") ?? [])).toEqual({ a: "1", empty: "", d: "4" });
  expect(Object.fromEntries(iniSection(text, "two") ?? [])).toEqual({ a: "2" });
  expect(iniSection(text, "three")).toBeUndefined();
});

test("a home directory that the unit hides has no key file; a file that the user names has to be readable", async () => {
  const HOME = await withHome("hidden", { ".aliyun/config.json": cli([]) });
  await chmod(HOME, 0);
  // Root without powers, as under `ProtectHome=` and `CapabilityBoundingSet=` of the unit.
  const ask = (program: string) =>
    execFileSync("setpriv", ["--bounding-set=-all", "--inh-caps=-all", process.execPath, "-e", program], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  const file = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
  const read = (env: object) =>
    ask(
      `import(${file("ali/ali-key-files.ts")}).then(({ readAliKeyFiles }) => console.log(String(readAliKeyFiles(${JSON.stringify(env)}))))`,
    );
  try {
    expect(read({ HOME })).toBe("undefined\n");
    const named = { HOME, ALIBABA_CLOUD_CREDENTIALS_FILE: join(HOME, "named") };
    expect(() => read(named)).toThrow(/cannot take the access key from .*named: EACCES/);
  } finally {
    await chmod(HOME, 0o700);
  }
});
