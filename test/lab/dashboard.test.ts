// `flannelctl dashboard` as somebody at a browser sees it: real agents, a real etcd, a real Chromium.
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LabAgent } from "../../lab/agent.ts";
import { LabBrowser, type LabPage } from "../../lab/browser.ts";
import { until } from "../../lab/wait.ts";
import { Scene } from "../support/scene.ts";
import { leaseDirectory, putConfig, vxlanConfig } from "../support/store-peers.ts";

const flannelctl = fileURLToPath(new URL("../../bin/flannelctl", import.meta.url));
/** What a host could write into its lease, or into what the agent logs of it. */
const HOSTILE = `<script>alert("lease")</script><img src=x onerror=alert(1)>\u001b]0;x\u0007`;

let scene: Scene;
let agents: readonly LabAgent[];
let browser: LabBrowser;
let dashboard: ChildProcess;
let printed = "";
let opened: LabPage;

beforeAll(async () => {
  scene = await Scene.open(2);
  await scene.clear();
  await putConfig(scene.etcd, vxlanConfig);
  agents = [scene.start(1), scene.start(2)];
  await scene.etcd.put(`${leaseDirectory}10.5.250.0-24`, hostileLease());
  browser = await LabBrowser.start(scene.host(1).namespace);
  await Promise.all(agents.map((agent) => agent.untilReady({ peers: 1 })));
  const [first] = agents;
  const argv = [
    flannelctl,
    `--subnet-file=${first?.subnetFile}`,
    `--etcd-endpoints=${scene.etcd.endpoints}`,
    "dashboard",
  ];
  dashboard = scene.host(1).namespace.spawn(argv, { stdio: ["ignore", "pipe", "inherit"] });
  dashboard.stdout?.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
  });
  opened = await browser.open();
});

afterAll(async () => {
  dashboard?.kill("SIGKILL");
  await browser?.[Symbol.asyncDispose]();
  await scene?.[Symbol.asyncDispose]();
});

function hostileLease(): string {
  return JSON.stringify({ PublicIP: "192.168.50.99", BackendType: HOSTILE, BackendData: { VNI: 1, VtepMAC: HOSTILE } });
}

const text = (selector: string) => opened.page.locator(selector).innerText();
/** Waits until a part of the page has such a text; what it has instead stands in the error. */
const untilText = (selector: string, wanted: RegExp, what: string) =>
  until(
    async () => {
      const found = await text(selector);
      if (!wanted.test(found)) throw new Error(found);
      return true;
    },
    { what },
  );
const link = () => until(() => /^http:\S+$/m.exec(printed)?.[0], { what: "the link" });

it("shows peers, addresses, topology, plan, journal and findings of real hosts, by a link that works once", async () => {
  const url = await link();
  await opened.page.goto(url);
  const { page } = opened;
  await page.locator("#peers .cells button").first().waitFor();
  const [own, other] = await Promise.all(agents.map(async (agent) => (await agent.status()).lease));
  await untilText("#peers table", /up/, "the peer to be up");
  expect(await text("#peers table")).toContain(other?.key);
  expect(await page.title()).toContain("flannel");
  await untilText("#space", /3 of 255/, "the map");
  expect(await page.locator("#space button.use-own").getAttribute("aria-label")).toContain(own?.subnet);
  expect(await page.locator("#space button.use-leased, #space button.use-reserved").count()).toBe(2);
  await untilText("#topology", /flannel\.1/, "the way to the peer");
  expect(await text("#topology")).toContain("192.168.50.12");
  expect(await text("#plan")).toMatch(/the kernel matches/);
  await untilText("#journal", /lease\.acquired/, "the journal");
  await untilText("#findings", /\d+ checks? in/, "doctor");
  // The address bar has no token any more, and another browser cannot use it.
  expect(page.url()).not.toContain("token");
  await using second = await browser.open();
  const answer = await second.page.goto(url);
  expect(answer?.status()).toBe(401);
});

it("asks nobody but flannelctl, breaks no policy, and runs nothing of what leases say", async () => {
  const { page, requests, problems } = opened;
  await until(async () => (await text("#space")).includes("10.5.250.0-24") || (await openLeases()), {
    what: "the lease",
  });
  const content = await page.locator("body").innerText();
  expect(content).toContain('<script>alert("lease")</script>');
  expect(content).toContain("\\x1b]0;x\\x07");
  expect(content).not.toContain("\u001b");
  expect(await page.locator("#app script, #app img").count()).toBe(0);
  const origin = new URL(page.url()).origin;
  expect(requests.filter((url) => !url.startsWith(`${origin}/`) && !url.endsWith("/favicon.ico"))).toEqual([]);
  expect(problems).toEqual([]);
});

async function openLeases(): Promise<false> {
  await opened.page.locator("#space summary").click();
  return false;
}

it("follows: a peer that goes is told, a change in the kernel too, and the journal tells the repair", async () => {
  const { page } = opened;
  const { namespace } = scene.host(1);
  const other = (await agents[1]?.status())?.lease?.subnet ?? "";
  await namespace.ip("route", "del", other);
  await untilText("#journal", /host\.repaired/, "the repair");
  await scene.host(2).namespace.ip("link", "set", "dev", "eth0", "down");
  await untilText("#peers table", /\bdown\b/, "the peer to be down");
  expect(await page.locator("#peers .cells button.bad").count()).toBe(1);
  await page.locator("#peers .cells button.bad").click();
  expect(await text("#peers .details")).toContain("down");
});

describe("for everybody", () => {
  it.each([
    ["light", 1_280],
    ["dark", 380],
  ] as const)("axe-core finds nothing serious in the %s scheme, %i pixels wide", async (colorScheme, width) => {
    const { page } = opened;
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    expect(await opened.seriousFaults()).toEqual([]);
    const overhang = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
    expect(overhang).toBeLessThanOrEqual(0);
  });

  it("keys alone reach a cell, move among cells, and choose one", async () => {
    const { page } = opened;
    await page.setViewportSize({ width: 1_280, height: 900 });
    await page.locator("#space .cells button").first().focus();
    const label = () => page.evaluate<string>("document.activeElement.getAttribute('aria-label')");
    const first = await label();
    expect(first).toMatch(/^10\.5\.1\.0\/24/);
    await page.keyboard.press("ArrowRight");
    expect(await label()).toMatch(/^10\.5\.2\.0\/24/);
    await page.keyboard.press("End");
    expect(await label()).toMatch(/^10\.5\.255\.0\/24/);
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("ArrowDown");
    expect(await label()).toMatch(/^10\.5\.255\.0\/24/);
    await page.keyboard.press("Enter");
    expect(await page.locator("#space [role=status]").innerText()).toContain("10.5.255.0/24");
    // One stop for all cells.
    expect(await page.locator("#space .cells button[tabindex='0']").count()).toBe(1);
    await page.keyboard.press("Home");
    expect(await label()).toBe(first);
  });
});

it("Ctrl-C ends it with 0, and the page says that it is not updated any more", async () => {
  const ended = new Promise((resolve) => dashboard.once("close", resolve));
  dashboard.kill("SIGINT");
  expect(await ended).toBe(0);
  await untilText(".connection", /Trying again/, "the page to say so");
});
