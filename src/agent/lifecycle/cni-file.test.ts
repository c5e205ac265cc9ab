import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../../../lab/wait.ts";
import { parseConfig } from "../../backend/registry.ts";
import { parsePrefix } from "../../ip/address.ts";
import { silentLogger } from "../../telemetry/logger.ts";
import { forgetBootFile } from "./cni-boot-file.ts";
import { CniFile } from "./cni-file.ts";

let directory: string;
let file: string;
let template: string;
let subnetFile: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cni-file-"));
  file = join(directory, "net.d/10-flannel.conflist");
  template = join(directory, "cni-conf.json");
  writeFileSync(template, '{"name":"cbr0","plugins":[{"type":"flannel"}]}');
  subnetFile = join(directory, "subnet.env");
  writeFileSync(subnetFile, "");
});

afterEach(() => rmSync(directory, { recursive: true }));

const { config } = parseConfig('{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}');

function content(mtuBytes: number) {
  return { config, subnets: { subnet: parsePrefix("10.1.17.0/24") }, mtuBytes, ipMasq: true };
}

function written(): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

test("the file is written when packets can flow, and follows the MTU and the template", async () => {
  await using cni = new CniFile({ file, template }, subnetFile, silentLogger);
  cni.follow(undefined);
  expect(written()).toBe("");
  cni.follow(content(1450));
  await until(() => written().includes('"mtu": 1450'), { what: "the file" });
  cni.follow(content(1400));
  await until(() => written().includes('"mtu": 1400'), { what: "the new MTU" });
  writeFileSync(template, '{"name":"other","plugins":[{"type":"flannel"}]}');
  cni.follow(content(1400));
  await until(() => written().includes('"name": "other"'), { what: "the new name" });
  rmSync(file);
  cni.follow(content(1400));
  await until(() => written() !== "", { what: "the file that was removed" });
});

test("what has systemd remove it at boot is there before it, comes back, and goes when the host is handed over", async () => {
  const bootFile = join(directory, "tmpfiles.d/flannel-cni.conf");
  const line = `r! ${file}\n`;
  const kept = () => {
    try {
      return readFileSync(bootFile, "utf8");
    } catch {
      return "";
    }
  };
  await using cni = new CniFile({ file, template, bootFile }, subnetFile, silentLogger);
  cni.follow(undefined);
  expect(kept()).toBe("");
  mkdirSync(file, { recursive: true });
  cni.follow(content(1450));
  await until(() => kept().endsWith(line), { what: "the line, although the configuration cannot be written" });
  rmdirSync(file);
  cni.follow(content(1450));
  await until(() => written() !== "", { what: "the file" });
  rmSync(bootFile);
  cni.follow(content(1450));
  await until(() => kept().endsWith(line), { what: "the line that was removed" });
  writeFileSync(bootFile, kept().replace("r!", "r"));
  cni.follow(content(1450));
  await until(() => kept().endsWith(line), { what: "the line that was changed" });
  await cni.handOver();
  cni.follow(content(1400));
  await until(() => written().includes("1400"), { what: "the new MTU" });
  expect([kept(), existsSync(bootFile)]).toEqual(["", false]);
});

test("a file of somebody else's in its place stays, and costs no pod its network", async () => {
  const bootFile = join(directory, "flannel-cni.conf");
  for (const put of [
    () => writeFileSync(bootFile, "d /run/mine\n"),
    () => symlinkSync("/dev/null", bootFile),
    () => mkdirSync(bootFile),
  ]) {
    put();
    const before = lstatSync(bootFile).ino;
    await using cni = new CniFile({ file, template, bootFile }, subnetFile, silentLogger);
    cni.follow(content(1450));
    await until(() => written() !== "", { what: "the file" });
    await cni.handOver();
    forgetBootFile(bootFile, silentLogger);
    expect(lstatSync(bootFile).ino).toBe(before);
    rmSync(bootFile, { recursive: true });
    rmSync(file);
  }
});

test("a template that cannot be used costs nothing but the change", async () => {
  await using cni = new CniFile({ file, template }, subnetFile, silentLogger);
  cni.follow(content(1450));
  await until(() => written() !== "", { what: "the file" });
  const before = written();
  writeFileSync(template, "{");
  cni.follow(content(1450));
  await cni[Symbol.asyncDispose]();
  expect(written()).toBe(before);
});

test("a file of an earlier boot is withdrawn, one of this boot stays, whatever the clock said when it was written", async () => {
  await using first = new CniFile({ file, template }, subnetFile, silentLogger);
  first.follow(content(1450));
  await until(() => written() !== "", { what: "the file" });
  await using _restarted = new CniFile({ file, template }, subnetFile, silentLogger);
  expect(written()).not.toBe("");
  utimesSync(file, 1, 1);
  await using _afterClockJump = new CniFile({ file, template }, subnetFile, silentLogger);
  expect(written()).not.toBe("");
  rmSync(subnetFile);
  await using _booted = new CniFile({ file, template }, subnetFile, silentLogger);
  expect(written()).toBe("");
  first.follow(content(1450));
  await until(() => written() !== "", { what: "the file again" });
});

test("as a link into /run it leads nowhere from a boot until packets can flow, and comes anew for those who watch", async () => {
  const target = join(directory, "run/10-flannel.conflist");
  const options = { file, template, target };
  const inode = () => lstatSync(file).ino;
  {
    await using earlier = new CniFile({ file, template }, subnetFile, silentLogger);
    earlier.follow(content(1450));
    await until(() => written() !== "", { what: "the file of a version without the link" });
  }
  {
    await using cni = new CniFile(options, subnetFile, silentLogger);
    expect(written()).not.toBe("");
    cni.follow(content(1450));
    await until(() => lstatSync(file).isSymbolicLink(), { what: "the link" });
    expect([readlinkSync(file), written()]).toEqual([target, expect.stringContaining('"mtu": 1450')]);
    const before = inode();
    cni.follow(content(1400));
    await until(() => written().includes('"mtu": 1400') && inode() !== before, { what: "the link anew" });
  }
  const stays = inode();
  {
    await using restarted = new CniFile(options, subnetFile, silentLogger);
    expect(written()).toContain('"mtu": 1400');
    restarted.follow(content(1400));
    await restarted[Symbol.asyncDispose]();
    expect([inode(), written()]).toEqual([stays, expect.stringContaining('"mtu": 1400')]);
  }
  {
    await using handed = new CniFile(options, subnetFile, silentLogger);
    handed.follow(content(1400));
    await handed.handOver();
    expect([lstatSync(file).isFile(), written()]).toEqual([true, expect.stringContaining('"mtu": 1400')]);
    handed.follow(content(1300));
    await until(() => written().includes('"mtu": 1300'), { what: "the new MTU" });
    expect(lstatSync(file).isFile()).toBe(true);
  }
  {
    await using again = new CniFile(options, subnetFile, silentLogger);
    again.follow(content(1400));
    await until(() => lstatSync(file).isSymbolicLink(), { what: "the link again" });
  }
  rmSync(join(directory, "run"), { recursive: true });
  rmSync(subnetFile);
  {
    await using booted = new CniFile(options, subnetFile, silentLogger);
    booted.follow(undefined);
    expect([readlinkSync(file), written()]).toEqual([target, ""]);
    const dangling = inode();
    booted.follow(content(1400));
    await until(() => written() !== "" && inode() !== dangling, { what: "the file again" });
  }
  writeFileSync(subnetFile, "");
  await using without = new CniFile({ file, template }, subnetFile, silentLogger);
  without.follow(content(1400));
  await until(() => lstatSync(file).isFile(), { what: "a file again, without the flag" });
});
