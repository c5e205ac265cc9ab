// What else the image runs under, and how else it is made: a compose file, podman, upstream's init containers, the udp
// backend; by the Dockerfile, with the same files; for arm64, under emulation.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ContainerHost, sharedDirectory } from "../../../lab/container-host.ts";
import { Etcd } from "../../../lab/etcd.ts";
import { createLan, type Lan } from "../../../lab/lan.ts";
import { DEADLINE_MS } from "../../../lab/wait.ts";
import { architectures, ownArchitecture } from "../../../packaging/architecture.ts";
import { root } from "../../../packaging/checkout.ts";
import { imageConfig, packageImage, writeImageFiles } from "../../../packaging/image/image.ts";
import { documentedBlock } from "../../support/documented-block.ts";

const archive = `${sharedDirectory}/flannel-image.tar`;
const settings = imageConfig;
const podman = "podman --runtime runc --cgroup-manager cgroupfs";

const resources = new AsyncDisposableStack();
let lan: Lan;
let etcd: Etcd;
let docker: ContainerHost;
let values: Readonly<Record<string, string>>;

beforeAll(async () => {
  packageImage({ name: "flannel:latest", output: archive, isQuick: true });
  lan = resources.use(await createLan({ hosts: 2 }));
  etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  await etcd.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  values = { "http://10.0.0.1:2379": etcd.endpoints };
  docker = resources.use(await ContainerHost.boot(lan.host(1)));
  await docker.startDocker();
  await docker.sh(`docker load --quiet --input ${archive}`);
});

afterAll(() => resources.disposeAsync());

test.each(architectures)(
  "compressed as it is published it is no larger than 80 MB, and the same from two builds: $name",
  { timeout: 10 * DEADLINE_MS },
  (architecture) => {
    const output = `${sharedDirectory}/published.tar`;
    const [first, second] = [1, 2].map(() => {
      packageImage({ name: "flannel:1.2.3", output, isQuick: false, architecture, version: "1.2.3" });
      return readFileSync(output);
    }) as [Buffer, Buffer];
    rmSync(output);
    expect(first.length).toBeGreaterThan(20e6);
    expect(first.length).toBeLessThanOrEqual(80e6);
    expect(first.equals(second)).toBe(true);
  },
);

test("the documented compose file starts an agent that becomes ready", async () => {
  await docker.sh("mkdir /srv/flannel && touch /run/xtables.lock");
  writeFileSync(
    docker.file("/srv/flannel/docker-compose.yml"),
    documentedBlock("docs/running.md", "services:", values),
  );
  await docker.sh("cd /srv/flannel && docker-compose up --detach");
  await docker.sh("cd /srv/flannel && docker-compose exec -T flannel flannelctl wait");
  expect(await docker.sh("cat /run/flannel/subnet.env")).toContain("FLANNEL_NETWORK=10.5.0.0/16");
  await docker.sh("cd /srv/flannel && docker-compose down");
});

test("the udp backend runs with the TUN device besides", async () => {
  await etcd.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}');
  const block = documentedBlock("docs/running.md", "docker exec flannel flannelctl wait", values);
  await docker.sh(block.replace("docker run ", "docker run --device /dev/net/tun "));
  expect(await docker.sh("ip -d link show flannel0")).toContain("tun type tun");
  await docker.sh("docker rm --force flannel && ip link del flannel0 || :");
  await etcd.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
});

test("the init containers of upstream's manifest put the plugin and the configuration in their places", async () => {
  await docker.sh("mkdir -p /opt/cni/bin /etc/cni/net.d /srv/config && printf '{}' >/srv/config/cni-conf.json");
  const container = (volumes: readonly string[], command: string, ...args: readonly string[]) => {
    const mounts = volumes.map((volume) => `--volume ${volume}`).join(" ");
    return docker.sh(`docker run --rm --entrypoint ${command} ${mounts} flannel ${args.join(" ")}`);
  };
  await container(["/opt/cni/bin:/opt/cni/bin"], "cp", "-f", "/flannel", "/opt/cni/bin/flannel");
  await container(
    ["/etc/cni/net.d:/etc/cni/net.d", "/srv/config:/etc/kube-flannel/"],
    "/opt/bin/install-conf",
    "/etc/kube-flannel/cni-conf.json",
    "/etc/cni/net.d/10-flannel.conflist",
  );
  expect(await docker.sh("cat /etc/cni/net.d/10-flannel.conflist; ls -A /etc/cni/net.d")).toBe(
    "{}10-flannel.conflist\n",
  );
  expect(JSON.parse(await docker.sh("CNI_COMMAND=VERSION /opt/cni/bin/flannel </dev/null"))).toMatchObject({
    supportedVersions: expect.arrayContaining(["1.0.0"]),
  });
});

test("podman runs it with the documented options", async () => {
  await using host = await ContainerHost.boot(lan.host(2));
  await host.sh(`${podman} load --quiet --input ${archive}`);
  const block = documentedBlock("docs/running.md", "docker exec flannel flannelctl wait", values)
    .replace("docker run ", `${podman} run --cgroup-parent=${host.cgroup} `)
    .replace("docker exec ", `${podman} exec `);
  await host.sh(block);
  expect(await host.sh("cat /run/flannel/subnet.env")).toContain("FLANNEL_NETWORK=10.5.0.0/16");
});

/** Path, kind, mode, owner, target and checksum of everything below a directory, one a line. */
function listing(directory: string): string {
  const script =
    'cd "$1" && find . -mindepth 1 -printf "%p %y %m %U:%G %l\\n" | sort && find . -type f -print0 | sort -z | xargs -0 sha256sum';
  return execFileSync("sh", ["-euc", script, "sh", directory], { encoding: "utf8", maxBuffer: 1 << 26 });
}

test("the Dockerfile makes the same image as the archive, by each builder", async () => {
  const context = `${sharedDirectory}/context`;
  // The last stage, on the files that the first stage's command writes.
  const text = readFileSync(join(root, "Dockerfile"), "utf8");
  const stage = text.slice(text.lastIndexOf("FROM scratch")).replace("--from=files /image/", "./files/");
  expect(text).toContain("package image --directory /image");
  mkdirSync(context);
  writeFileSync(join(context, "Dockerfile"), stage);
  writeImageFiles(join(context, "files"), ownArchitecture(), "1.2.3");
  packageImage({ name: "archived:1", output: archive, isQuick: true, version: "1.2.3" });
  await docker.sh(`docker load --quiet --input ${archive}`);
  await docker.sh(`DOCKER_BUILDKIT=0 docker build --quiet --tag classic:1 ${context}`);
  await docker.sh(`DOCKER_BUILDKIT=1 docker build --quiet --tag buildkit:1 ${context}`);
  const look = async (host: ContainerHost, program: string, name: string) => {
    const directory = mkdtempSync(`${sharedDirectory}/image-`);
    const unpack = `${program} export $(${program} create ${name}:1) | tar --extract --numeric-owner --directory ${directory}`;
    await host.sh(unpack);
    const { Entrypoint, Env, WorkingDir, Labels, Cmd, User } = JSON.parse(
      await host.sh(`${program} inspect --type image --format '{{json .Config}}' ${name}:1`),
    );
    return { files: listing(directory).split("\n"), config: { Entrypoint, Env, WorkingDir, Labels, Cmd, User } };
  };
  const archived = await look(docker, "docker", "archived");
  for (const name of ["classic", "buildkit"]) {
    const built = await look(docker, "docker", name);
    expect(built.files).toEqual(archived.files);
    expect(built.config).toEqual(archived.config);
  }
  // Docker and podman put mount points of their own into what they export.
  await using host = await ContainerHost.boot(lan.host(2));
  await host.sh(`${podman} load --quiet --input ${archive} && ${podman} build --quiet --tag podman:1 ${context}`);
  const [loaded, built] = [await look(host, podman, "archived"), await look(host, podman, "podman")];
  expect(built.files).toEqual(loaded.files);
  expect(built.config).toMatchObject({ ...loaded.config, Labels: expect.objectContaining(settings.Labels ?? {}) });
  expect(archived.config).toMatchObject(settings);
});

test("the programs of arm64's image run, under emulation", async () => {
  const arm64 = architectures.find(({ name }) => name === "arm64");
  if (arm64 === undefined) throw new Error("there is no arm64");
  const directory = mkdtempSync(`${sharedDirectory}/arm64-`);
  writeImageFiles(directory, arm64, "1.2.3");
  const emulator = "qemu-aarch64-static";
  execFileSync("cp", [`/usr/bin/${emulator}`, directory]);
  const inImage = (...argv: readonly string[]) =>
    docker.sh(`chroot ${directory} /${emulator} ${argv.join(" ")} 2>&1 || :`);
  expect(await inImage("/usr/bin/node", "/opt/dist/flanneld.mjs", "--version")).toContain("0.");
  // It asks the kernel through koffi.
  expect(await inImage("/usr/bin/node", "/opt/dist/flannelctl.mjs", "version")).toContain("linux-arm64");
  expect(await inImage("/usr/sbin/iptables-legacy", "--version")).toContain("(legacy)");
  expect(await inImage("/usr/sbin/ip", "-V")).toContain("iproute2");
  expect(await inImage("/usr/sbin/ipset", "--version")).toContain("ipset v");
  expect(await inImage("/usr/bin/busybox", "echo", "well")).toContain("well");
  // The emulator lacks their protocol of netlink: they load, and say so.
  expect(await inImage("/usr/sbin/nft", "--version")).toMatch(/nftables v|Protocol not supported/);
  expect(await inImage("/usr/sbin/xtables-nft-multi", "iptables", "--version")).toMatch(
    /nf_tables|Protocol not supported/,
  );
  expect(readdirSync(join(directory, "usr/lib"))).toContain("ld-linux-aarch64.so.1");
});
