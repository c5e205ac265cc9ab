// Whole agents with the backend aws-vpc against moto, an emulator of AWS, with faults in front of it. No real cloud was used.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LabAgent } from "../../lab/agent.ts";
import { AwsMetadata } from "../../lab/cloud/aws-metadata.ts";
import { AwsWorld } from "../../lab/cloud/aws-world.ts";
import { denied, Ec2Front, type Ec2Rule } from "../../lab/cloud/ec2-front.ts";
import { ForwardProxy } from "../../lab/cloud/forward-proxy.ts";
import { startMoto } from "../../lab/cloud/moto.ts";
import { Etcd } from "../../lab/etcd.ts";
import { KubernetesPki } from "../../lab/kubernetes/pki.ts";
import { createLan, type Lan } from "../../lab/lan.ts";
import { attachPod } from "../../lab/pod.ts";
import { untilAllPing } from "../../lab/probe.ts";
import { until } from "../../lab/wait.ts";
import { everythingSaid } from "../support/everything-said.ts";

const resources = new AsyncDisposableStack();
const inAnHour = () => new Date(Date.now() + 3_600_000);
const PROXY_PASSWORD = "password-of-the-proxy";
const secretOf = (number: number) => `SECRET${number}/abcdefghijklmnopqrstuvwxyz0123`;
const credentials = (number: number, expiresAt = inAnHour()) => ({
  accessKeyId: `ASIALAB${number}`,
  secret: secretOf(number),
  token: `TOKEN${number}abcdefghijklmnopqrstuvwxyz`,
  expiresAt,
});

let lan: Lan;
let etcd: Etcd;
let front: Ec2Front;
/** The second host reaches AWS through it alone. */
let proxy: ForwardProxy;
let pki: KubernetesPki;
let world: AwsWorld;
const metadata: AwsMetadata[] = [];
const agents: LabAgent[] = [];
/** By host. */
const subnets: string[] = [];

/** Where the agent of a host notes which files its program is loaded from. */
const loadedFile = (index: number) => `/run/loaded-${index}`;

/** flanneld without its launcher, which lets no options for Node through. */
function notingLoads(file: string): readonly string[] {
  const hook = `import{registerHooks}from"node:module";import{appendFileSync}from"node:fs";registerHooks({load(u,c,n){appendFileSync("${file}",u+"\\n");return n(u,c)}})`;
  const bundle = fileURLToPath(new URL("../../dist/flanneld.mjs", import.meta.url));
  return [process.execPath, `--import=data:text/javascript,${encodeURIComponent(hook)}`, bundle];
}

function startAgent(index: number): LabAgent {
  const host = lan.hosts[index];
  if (host === undefined) throw new Error(`no host ${index}`);
  const { url } = proxy;
  const direct = { AWS_ENDPOINT_URL_EC2: front.url };
  const byProxy = {
    AWS_ENDPOINT_URL_EC2: front.secureUrl,
    NODE_EXTRA_CA_CERTS: pki.caFile,
    HTTPS_PROXY: url,
    HTTP_PROXY: url,
  };
  const env = {
    ...(index === 0 ? direct : byProxy),
    AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://${lan.storeAddress}:${9_001 + index}`,
    AWS_ACCESS_KEY_ID: "",
    AWS_SECRET_ACCESS_KEY: "",
    HOME: "/run",
  };
  return LabAgent.start(host, { etcdEndpoints: etcd.endpoints, env, program: notingLoads(loadedFile(index)) });
}

async function startMetadata(index: number): Promise<AwsMetadata> {
  const instance = { id: world.hosts[index]?.instance ?? "", region: "eu-west-1", credentials: credentials(1) };
  return resources.use(await AwsMetadata.start(instance, lan.storeAddress, 9_001 + index));
}

const reasonsOf = async (agent: LabAgent) => (await agent.status()).reasons.map(({ message }) => message).join("\n");
const hostOf = (index: number) => {
  const host = world.hosts[index];
  if (host === undefined) throw new Error(`no instance ${index}`);
  return host;
};
const agentOf = (index: number) => {
  const agent = agents[index];
  if (agent === undefined) throw new Error(`no agent ${index}`);
  return agent;
};
const subnetOf = (index: number) => subnets[index] ?? "";
const looksDone = async (agent: LabAgent) => (await agent.metric("flannel_cloud_looks_total"))["result=done"] ?? 0;

/** SIGHUP, and the look that it asks for has ended well. */
async function lookAgain(agent: LabAgent): Promise<void> {
  const before = await looksDone(agent);
  agent.signal("SIGHUP");
  await until(async () => (await looksDone(agent)) > before, { what: "a look at the route table" });
}

/** Asks for looks until something holds. */
function askUntil(agent: LabAgent, what: string, look: () => Promise<boolean>): Promise<unknown> {
  const asked = async () => {
    if (await look()) return true;
    agent.signal("SIGHUP");
    return false;
  };
  return until(asked, { what, intervalMs: 1_000 });
}

beforeAll(async () => {
  lan = resources.use(await createLan({ hosts: 2 }));
  const [store, moto] = await Promise.all([
    Etcd.start({ members: [{ address: lan.storeAddress }] }),
    startMoto(15_000),
  ]);
  etcd = resources.use(store);
  resources.use(moto);
  pki = await KubernetesPki.create("/run/pki");
  const { certificateFile, keyFile } = await pki.issueServer([`IP:${lan.storeAddress}`]);
  const [cert, key] = await Promise.all([certificateFile, keyFile].map((file) => readFile(file, "utf8")));
  front = resources.use(await Ec2Front.start(moto.url, lan.storeAddress, { cert: cert ?? "", key: key ?? "" }));
  proxy = resources.use(await ForwardProxy.start(lan.storeAddress, PROXY_PASSWORD));
  world = await AwsWorld.create(moto.url, "192.168.50.0/24", ["192.168.50.11", "192.168.50.12", "192.168.50.99"]);
  const config = { Network: "10.5.0.0/16", Backend: { Type: "aws-vpc" } };
  await etcd.put("/coreos.com/network/config", JSON.stringify(config));
  for (const index of [0, 1]) agents.push(resources.use(startAgent(index)));
});

afterAll(() => resources.disposeAsync());

describe("at boot", () => {
  it("waits for a metadata service that is away, and says so", async () => {
    for (const agent of agents) {
      await until(async () => (await reasonsOf(agent)).includes("9001") || (await reasonsOf(agent)).includes("9002"), {
        what: "the reason",
      });
      expect(await reasonsOf(agent)).toMatch(/http:\/\/192\.168\.50\.1:900[12] does not answer/);
    }
    expect(front.calls).toEqual([]);
    for (const index of [0, 1]) metadata.push(await startMetadata(index));
    for (const [index, agent] of agents.entries()) {
      await agent.untilReady({ peers: 1 });
      subnets[index] = (await agent.status()).lease?.subnet ?? "";
      expect(agent.events("cloud.failed.recovered")).toHaveLength(1);
    }
  });

  it("leads each host's subnet to it, with the source/destination check off", async () => {
    expect(await world.routes()).toEqual({
      [subnetOf(0)]: hostOf(0).networkInterface,
      [subnetOf(1)]: hostOf(1).networkInterface,
    });
    for (const index of [0, 1]) expect(await world.sourceDestinationCheck(hostOf(index))).toBe(false);
    const status = await agentOf(0).status();
    expect(status.dataPlane?.features).toEqual({
      instance: `${hostOf(0).instance} in eu-west-1`,
      nextHop: hostOf(0).networkInterface,
      tables: expect.stringMatching(new RegExp(`^${world.table} \\(\\d routes\\)$`)),
    });
  });

  it("lets containers reach each other by the VPC's router, without any route in the hosts", async () => {
    await world.forward();
    const pods = await Promise.all(agents.map(async (agent) => attachPod(agent.host, await agent.untilSubnetEnv())));
    await untilAllPing(pods);
    expect(await lan.host(1).namespace.ip("route", "show", subnetOf(1))).toBe("");
  });
});

describe("what others change", () => {
  it("is put right: a route deleted, or led elsewhere in one step", async () => {
    await world.deleteRoute(subnetOf(0));
    await lookAgain(agentOf(0));
    expect((await world.routes())[subnetOf(0)]).toBe(hostOf(0).networkInterface);
    await world.pointRoute(subnetOf(0), hostOf(2));
    const from = front.calls.length;
    await lookAgain(agentOf(0));
    expect((await world.routes())[subnetOf(0)]).toBe(hostOf(0).networkInterface);
    expect(front.actionsSince(from)).toContain("ReplaceRoute");
    expect(front.actionsSince(from)).not.toContain("DeleteRoute");
    expect(await agentOf(0).metric("flannel_cloud_repairs_total")).toEqual({ "": 2 });
    expect(agentOf(0).events("cloud.repaired").at(-1)).toContain(hostOf(2).networkInterface);
  });

  it("stays when it is right or none of ours; black holes inside the network go, by two agents at once", async () => {
    await world.addRoute("10.5.200.0/24", hostOf(2));
    await world.addRoute("10.5.201.0/24", hostOf(2));
    await world.addRoute("10.9.0.0/24", hostOf(2));
    const before = await world.routes();
    await Promise.all(agents.map(lookAgain));
    expect(await world.routes()).toEqual(before);
    const { networkInterface } = hostOf(2);
    // moto has no black holes: the host of these routes is gone from here on.
    front.rewrite = (_, xml) =>
      xml.replaceAll(
        new RegExp(
          `(<networkInterfaceId>${networkInterface}</networkInterfaceId>(?:(?!</item>).)*<state>)active`,
          "gs",
        ),
        "$1blackhole",
      );
    await Promise.all(agents.map(lookAgain));
    front.rewrite = (_, xml) => xml;
    expect(await world.routes()).toEqual({
      [subnetOf(0)]: hostOf(0).networkInterface,
      [subnetOf(1)]: hostOf(1).networkInterface,
      "10.9.0.0/24": networkInterface,
    });
    expect(agents.flatMap((agent) => agent.events("cloud.failed").slice(1))).toEqual([]);
    await world.deleteRoute("10.9.0.0/24");
  });

  it("is named when it takes a part of the subnet away", async () => {
    const part = subnetOf(0).replace(/\/24$/, "/25");
    await world.addRoute(part, hostOf(2));
    agentOf(0).signal("SIGHUP");
    await until(async () => (await reasonsOf(agentOf(0))).includes(`the route ${part}`), { what: "the reason" });
    await world.deleteRoute(part);
    await lookAgain(agentOf(0));
  });
});

describe("faults of the API", () => {
  it("a list that is behind does not make the agent write twice, nor be ready too early", async () => {
    await world.deleteRoute(subnetOf(0));
    let old: string | undefined;
    let isBehind = true;
    front.rewrite = ({ action, parameters }, xml) => {
      if (action !== "DescribeRouteTables" || parameters.get("RouteTableId.1") === null || !isBehind) return xml;
      old ??= xml;
      return old;
    };
    const from = front.calls.length;
    agentOf(0).signal("SIGHUP");
    await until(async () => (await reasonsOf(agentOf(0))).includes("does not list it yet"), { what: "the reason" });
    const creations = () => front.actionsSince(from).filter((action) => action === "CreateRoute").length;
    await until(() => front.actionsSince(from).filter((action) => action === "DescribeRouteTables").length > 5, {
      what: "more looks",
    });
    expect(creations()).toBe(1);
    isBehind = false;
    await agentOf(0).untilReady();
    expect(creations()).toBe(1);
    front.rewrite = (_, xml) => xml;
  });

  it("throttling delays, and leaves a host ready whose route is in place", async () => {
    const code = "RequestLimitExceeded";
    let refused = 0;
    const rule: Ec2Rule = () =>
      refused++ < 12 ? { status: 503, code, message: "Request limit exceeded." } : undefined;
    {
      using _rule = front.with(rule);
      const after = agentOf(0).events("cloud.failed.recovered").length;
      agentOf(0).signal("SIGHUP");
      const line = await agentOf(0).untilEvent("cloud.failed", { after: agentOf(0).events("cloud.failed").length });
      expect(line).toContain("AWS takes no more requests now (RequestLimitExceeded)");
      expect(await reasonsOf(agentOf(0))).toBe("");
      expect((await agentOf(0).status()).dataPlane?.features?.["lastLookFailed"]).toContain("RequestLimitExceeded");
      await agentOf(0).untilEvent("cloud.failed.recovered", { after });
    }
  });

  it("names the permission that is missing, without AWS's encoded text", async () => {
    await world.pointRoute(subnetOf(0), hostOf(2));
    {
      using _rule = front.with(denied("ReplaceRoute"));
      agentOf(0).signal("SIGHUP");
      await until(async () => (await reasonsOf(agentOf(0))).includes("lacks ec2:ReplaceRoute: allow that action"), {
        what: "the reason",
      });
      expect(await reasonsOf(agentOf(0))).not.toContain("xxxx");
    }
    await lookAgain(agentOf(0));
    await agentOf(0).untilReady();
    expect((await world.routes())[subnetOf(0)]).toBe(hostOf(0).networkInterface);
  });

  it("a proxy that is away, or refuses, is an API that does not answer; nothing goes around it", async () => {
    proxy.isClosed = true;
    proxy.dropAll();
    const from = front.calls.length;
    const after = agentOf(1).events("cloud.failed.recovered").length;
    agentOf(1).signal("SIGHUP");
    const line = await agentOf(1).untilEvent("cloud.failed", { after: agentOf(1).events("cloud.failed").length });
    expect(line).toMatch(/the EC2 API does not answer .*503/);
    expect(front.calls.slice(from)).toEqual([]);
    expect(await reasonsOf(agentOf(1))).toBe("");
    proxy.isClosed = false;
    await askUntil(agentOf(1), "recovery", () =>
      Promise.resolve(agentOf(1).events("cloud.failed.recovered").length > after),
    );
    expect(new Set(proxy.asked)).toEqual(new Set([new URL(front.secureUrl).host]));
  });

  it("credentials that expired are read anew", async () => {
    const expired: Ec2Rule = ({ accessKeyId }) =>
      accessKeyId === "ASIALAB1" ? { status: 400, code: "RequestExpired", message: "Request has expired." } : undefined;
    using _rule = front.with(expired);
    const after = agentOf(0).events("cloud.failed.recovered").length;
    agentOf(0).signal("SIGHUP");
    const line = await agentOf(0).untilEvent("cloud.failed", { after: agentOf(0).events("cloud.failed").length });
    expect(line).toContain("AWS does not accept the credentials (RequestExpired");
    for (const each of metadata) each.credentials = credentials(2);
    await askUntil(agentOf(0), "recovery", () =>
      Promise.resolve(agentOf(0).events("cloud.failed.recovered").length > after),
    );
    expect(front.calls.at(-1)?.accessKeyId).toBe("ASIALAB2");
    await lookAgain(agentOf(1));
  });

  it("credentials of the role are renewed before they end, without a look that fails", async () => {
    const last: Ec2Rule = ({ accessKeyId }) =>
      accessKeyId === "ASIALAB2" ? { status: 400, code: "RequestExpired", message: "Request has expired." } : undefined;
    using _rule = front.with(last);
    // Less than AWS's client wants to be left of them.
    for (const each of metadata) each.credentials = credentials(3, new Date(Date.now() + 120_000));
    await askUntil(agentOf(0), "credentials that end", () =>
      Promise.resolve(front.calls.at(-1)?.accessKeyId === "ASIALAB3"),
    );
    await lookAgain(agentOf(0));
    const failed = agentOf(0).events("cloud.failed").length;
    for (const each of metadata) each.isAway = true;
    await lookAgain(agentOf(0));
    expect(front.calls.at(-1)?.accessKeyId).toBe("ASIALAB3");
    for (const each of metadata) [each.isAway, each.credentials] = [false, credentials(4)];
    await askUntil(agentOf(0), "the next credentials", () =>
      Promise.resolve(front.calls.at(-1)?.accessKeyId === "ASIALAB4"),
    );
    await lookAgain(agentOf(0));
    expect(agentOf(0).events("cloud.failed")).toHaveLength(failed);
  });

  // The second time as if AWS had raised it.
  it.each([50, 100])(
    "a table that is full with %d routes is named and counted, not asked again and again, and concerns no other host",
    async (quota) => {
      await world.deleteRoute(subnetOf(0));
      const count = async () => Object.keys(await world.routes()).length + 1; // with the VPC's own
      const room = quota - (await count());
      for (let index = 0; index < room; index++) await world.addRoute(`10.77.${quota + index}.0/24`, hostOf(2));
      const full = {
        status: 400,
        code: "RouteLimitExceeded",
        message: "The maximum number of routes has been reached.",
      };
      const rule: Ec2Rule = async ({ action }) =>
        action === "CreateRoute" && (await count()) >= quota ? full : undefined;
      {
        using _rule = front.with(rule);
        agentOf(0).signal("SIGHUP");
        await until(async () => (await reasonsOf(agentOf(0))).includes(`is full with ${quota} routes`), {
          what: "the reason",
        });
        expect(await agentOf(0).metric("flannel_cloud_tables_full")).toEqual({ "": 1 });
        expect(await agentOf(0).metric("flannel_cloud_table_routes")).toEqual({ "": quota });
        const from = front.calls.length;
        const looks = () => front.actionsSince(from).filter((action) => action === "DescribeRouteTables").length;
        await askUntil(agentOf(0), "two more looks", () => Promise.resolve(looks() > 3));
        expect(front.actionsSince(from)).not.toContain("CreateRoute");
        await lookAgain(agentOf(1));
        expect(await reasonsOf(agentOf(1))).toBe("");
        expect(await agentOf(1).metric("flannel_cloud_tables_full")).toEqual({ "": 0 });
        await world.deleteRoute(`10.77.${quota}.0/24`);
        await askUntil(agentOf(0), "the route", async () => (await reasonsOf(agentOf(0))) === "");
      }
      expect(await agentOf(0).metric("flannel_cloud_tables_full")).toEqual({ "": 0 });
    },
  );
});

describe("several tables and other agents", () => {
  it("takes several route tables from the configuration while it runs", async () => {
    const RouteTableID = [world.table, world.secondTable];
    const config = { Network: "10.5.0.0/16", Backend: { Type: "aws-vpc", RouteTableID } };
    await etcd.put("/coreos.com/network/config", JSON.stringify(config));
    await until(async () => (await agentOf(0).metric("flannel_cloud_tables_in_place"))[""] === 2, {
      what: "both tables",
    });
    await until(async () => Object.keys(await world.routes(world.secondTable)).length === 2, {
      what: "routes of both hosts",
    });
    expect(await world.routes(world.secondTable)).toEqual({
      [subnetOf(0)]: hostOf(0).networkInterface,
      [subnetOf(1)]: hostOf(1).networkInterface,
    });
  });

  it("shows its secrets nowhere", async () => {
    for (const [index, agent] of agents.entries()) {
      const address = subnetOf(index === 0 ? 1 : 0).replace("0/24", "2");
      const told = await everythingSaid(agent, { etcdEndpoints: etcd.endpoints, address, inReport: "cloud." });
      const ofKeys = [1, 2, 3, 4].flatMap((number) => [secretOf(number), credentials(number).token]);
      for (const secret of [...ofKeys, PROXY_PASSWORD]) expect(told).not.toContain(secret);
      expect(told).not.toMatch(/AWS4-HMAC|X-Amz-Security/i);
    }
  });
});

describe("the client of AWS", () => {
  it("is loaded by an agent of this backend, and by no other", async () => {
    expect(await readFile(loadedFile(0), "utf8")).toMatch(/\/dist\/aws-routes-/);
    await etcd.put("/plain/config", JSON.stringify({ Network: "10.77.0.0/16", Backend: { Type: "host-gw" } }));
    const directory = "/run/plain";
    const program = notingLoads(loadedFile(2));
    const args = ["--etcd-prefix=/plain"];
    await using agent = LabAgent.start(lan.host(1), { etcdEndpoints: etcd.endpoints, directory, program, args });
    await agent.untilReady();
    const loaded = await readFile(loadedFile(2), "utf8");
    expect(loaded).toMatch(/\/dist\/flanneld-program-/);
    expect(loaded).not.toMatch(/\/(dist|node_modules)\/[^\n]*(aws|cloud|smithy)/);
  });
});
