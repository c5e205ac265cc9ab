// `flannelctl init` and `join` killed at every file they write: the same command run again makes a whole of it.
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { tryRun } from "../../lab/command.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { MemberHost } from "../../lab/member-host.ts";

let lan: Lan;
const hosts: MemberHost[] = [];

beforeAll(async () => {
  lan = await createLan({ hosts: 2 });
});

afterEach(async () => {
  for (const host of hosts.splice(0)) await host[Symbol.asyncDispose]();
});

afterAll(() => lan[Symbol.asyncDispose]());

function member(number: number): MemberHost {
  const host = new MemberHost(lan.host(number));
  hosts.push(host);
  return host;
}

/**
 * Dies when it is about to write `file` for the `time`th time: at the renaming of the new one, or at the look whether there
 * is an old one.
 */
async function dieAt(host: MemberHost, file: string, time: number, words: readonly string[]): Promise<void> {
  const isClusterFile = file.includes("cluster/");
  const path = host.file(isClusterFile ? `${file}.new` : file);
  const calls = isClusterFile ? "rename" : "statx,lstat,newfstatat";
  const inject = `inject=${calls}:signal=KILL:when=${time}`;
  const tracer = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", `trace=${calls}`, "-e", inject];
  const argv = [...tracer, ...host.argv(...words, "--no-systemd", "--name", host.host.name)];
  const result = await tryRun(argv);
  // strace ends as its child does.
  expect(result, result.stderr).toMatchObject({ exitCode: -1, stdout: "" });
}

async function expectWorks(host: MemberHost): Promise<void> {
  expect(JSON.parse(await host.ctl("config", "get"))).toEqual({ Network: "10.5.0.0/16", Backend: { Type: "vxlan" } });
}

describe("init", () => {
  const cluster = "var/lib/flannel-store/cluster";
  it.each([
    [`${cluster}/ca-key.pem`, 1],
    [`${cluster}/ca.pem`, 1],
    [`${cluster}/server-key.pem`, 1],
    [`${cluster}/server.pem`, 1],
    [`${cluster}/admin-key.pem`, 1],
    [`${cluster}/admin.pem`, 1],
    [`${cluster}/members.json`, 1],
    ["etc/flannel/host-key.pem", 1],
    [`${cluster}/members.json`, 2],
    [`${cluster}/members.json`, 3],
    ["etc/flannel/ca.pem", 1],
    ["etc/flannel/host.pem", 1],
    ["etc/flannel/flanneld.env", 1],
  ])("killed at %s (%d)", async (file, time) => {
    const [h1, h2] = [member(1), member(2)];
    await dieAt(h1, file, time, ["init"]);
    const joinCommand = await h1.init();
    await h1.startStore();
    await expectWorks(h1);
    await h2.join(joinCommand);
    await expectWorks(h2);
    const { hosts: listed } = JSON.parse(await h1.ctl("host", "list", "--json"));
    expect(listed.map(({ name }: { name: string }) => name)).toEqual(["h1", "h2"]);
    expect(await h1.host.namespace.run(["ls", "-A", h1.file("etc/flannel")])).toBe(
      "ca.pem\nflanneld.env\nhost-key.pem\nhost.pem\n",
    );
  });
});

describe("join", () => {
  it.each(["host-key.pem", "ca.pem", "host.pem", "flanneld.env"])(
    "killed at %s: the token is still good",
    async (name) => {
      const [h1, h2] = [member(1), member(2)];
      const joinCommand = await h1.init();
      await h1.startStore();
      await dieAt(h2, `etc/flannel/${name}`, 1, joinCommand);
      await h2.join(joinCommand);
      await expectWorks(h2);
    },
  );
});
