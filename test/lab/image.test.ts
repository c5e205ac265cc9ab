// The image as the documentation runs it with Docker: two hosts, the agent in a container on each, containers on Docker
// networks made of their subnets. What else the image runs under is in long/image.test.ts and test/kube.
import { expect, test } from "vitest";
import { ContainerHost, sharedDirectory } from "../../lab/container-host.ts";
import { Etcd } from "../../lab/etcd.ts";
import { createLan } from "../../lab/lan.ts";
import { until } from "../../lab/wait.ts";
import { packageImage } from "../../packaging/image/image.ts";
import { documentedBlock } from "../support/documented-block.ts";

const archive = `${sharedDirectory}/flannel-image.tar`;
const busybox = "tar -C /usr -c bin/busybox | docker import --change 'ENTRYPOINT [\"/bin/busybox\"]' - busybox";

test("the documented commands connect containers of two hosts, with no more rights than they say", async () => {
  packageImage({ name: "flannel:latest", output: archive, isQuick: true });
  await using resources = new AsyncDisposableStack();
  const lan = resources.use(await createLan({ hosts: 2 }));
  const etcd = resources.use(await Etcd.start({ members: [{ address: lan.storeAddress }] }));
  await etcd.put("/coreos.com/network/config", '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}');
  const values = { "http://10.0.0.1:2379": etcd.endpoints };
  const hosts: ContainerHost[] = [];
  for (const host of lan.hosts) hosts.push(resources.use(await ContainerHost.boot(host)));
  const addresses = await Promise.all(
    hosts.map(async (host) => {
      await host.startDocker();
      await host.sh(`docker load --quiet --input ${archive}`);
      await host.sh(busybox);
      await host.sh(documentedBlock("docs/running.md", "docker exec flannel flannelctl wait", values));
      await host.sh(documentedBlock("docs/running.md", "--name web --network flannel"));
      return (await host.sh("docker inspect -f '{{.NetworkSettings.Networks.flannel.IPAddress}}' web")).trim();
    }),
  );
  const [h1, h2] = hosts as [ContainerHost, ContainerHost];
  await h2.sh("echo 'from h2' | docker exec --interactive web /bin/busybox tee /index.html");
  await until(
    async () => (await h1.sh(`docker exec web /bin/busybox wget -qO- http://${addresses[1]}`)) === "from h2\n",
    {
      what: "the container on h1 to reach the one on h2",
    },
  );
  const status = await h1.sh(
    "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/$(docker inspect -f '{{.State.Pid}}' flannel)/status",
  );
  // NET_ADMIN is number 12, NET_RAW 13; a filter of seccomp is mode 2.
  expect(status.split(/\s+/)).toEqual(["CapEff:", "0000000000003000", "NoNewPrivs:", "1", "Seccomp:", "2", ""]);
  const refused = await h1.trySh("docker exec flannel sh -c ': >/etc/x' 2>&1");
  expect(refused.stdout).toContain("Read-only file system");
});
