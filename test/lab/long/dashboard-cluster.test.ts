// `flannelctl dashboard` on one host of a small cluster, over TLS, as somebody at the browser of another host sees it: the other
// hosts tell whom they see and what their doctors find, and a way that is broken in one direction shows.
import type { ChildProcess } from "node:child_process";
import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { LabBrowser, type LabPage } from "../../../lab/browser.ts";
import { run } from "../../../lab/command.ts";
import { dropUdpOneWay } from "../../../lab/faults.ts";
import { createLan, type Lan } from "../../../lab/lan.ts";
import { MemberHost } from "../../../lab/member-host.ts";
import { until } from "../../../lab/wait.ts";

const flannelctl = fileURLToPath(new URL("../../../bin/flannelctl", import.meta.url));
const PORT = 8475;
/** The host of the page has the name of the machine; the others are told by their names in the cluster. */
const own = hostname();
const resources = new AsyncDisposableStack();
let lan: Lan;
let members: readonly [MemberHost, MemberHost, MemberHost];
let browser: LabBrowser;
let dashboard: ChildProcess;
let printed = "";
let opened: LabPage;

beforeAll(async () => {
  lan = resources.use(await createLan({ hosts: 3 }));
  const member = (number: number) => resources.use(new MemberHost(lan.host(number)));
  members = [member(1), member(2), member(3)];
  const [h1, h2, h3] = members;
  const join = await h1.init();
  await h1.startStore();
  await h2.join(join);
  await h3.join(await h1.createToken());
  for (const host of members) host.startAgent();
  for (const host of members) await host.agent.untilReady({ peers: 2 });
  browser = resources.use(await LabBrowser.start(h3.host.namespace));
});

afterAll(() => resources.disposeAsync());

const addressOf = (host: MemberHost) => host.host.ipv4 ?? "";
const link = () => until(() => /^https:\S+$/m.exec(printed)?.[0], { what: "the link" });
const cell = (from: string, to: string) =>
  opened.page.locator(`#hosts .matrix button[aria-label^="${from} sees ${to}:"]`);
/** Waits until a cell says so. */
const untilCell = (from: string, to: string, wanted: RegExp) =>
  until(
    async () => {
      const label = (await cell(from, to).getAttribute("aria-label", { timeout: 1_000 })) ?? "";
      if (!wanted.test(label)) throw new Error(label);
      return true;
    },
    { what: `${from} → ${to} to be ${wanted}` },
  );

it("is refused elsewhere than on loopback without TLS", async () => {
  const [h1] = members;
  const { exitCode, stderr } = await h1.tryCtl("dashboard", "--listen", `${addressOf(h1)}:${PORT}`);
  expect(exitCode).toBe(2);
  expect(stderr).toContain("--tls-cert");
});

it("with TLS lets in who takes its certificate and has the link, once, and nobody else", async () => {
  const [h1] = members;
  const [certificate, key] = [h1.file("page.pem"), h1.file("page-key.pem")];
  const argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = `subjectAltName=IP:${addressOf(h1)}`;
  await run([...argv, ...["-days", "2", "-subj", "/CN=h1", "-addext", names, "-keyout", key, "-out", certificate]]);
  const words = ["dashboard", "--listen", `${addressOf(h1)}:${PORT}`, "--tls-cert", certificate, "--tls-key", key];
  dashboard = h1.host.namespace.spawn([flannelctl, "--root", h1.root, ...words], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  resources.defer(() => void dashboard.kill("SIGKILL"));
  dashboard.stdout?.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
  });
  const url = await link();
  expect(url).toMatch(new RegExp(`^https://${addressOf(h1)}:${PORT}/\\?token=`));

  await using careful = await browser.open();
  await expect(careful.page.goto(url)).rejects.toThrow("ERR_CERT_AUTHORITY_INVALID");
  await expect(careful.page.goto(url.replace("https:", "http:"))).rejects.toThrow(/ERR_(EMPTY|CONNECTION|INVALID)/);
  await using guesser = await browser.open({ ignoreHTTPSErrors: true });
  const guessed = await guesser.page.goto(url.replace(/token=.*/, `token=${"A".repeat(43)}`));
  expect(guessed?.status()).toBe(401);
  expect(await guesser.page.locator("#app").count()).toBe(0);

  // The link is good still: none of these had it right.
  opened = await browser.open({ ignoreHTTPSErrors: true });
  await opened.page.goto(url);
  await opened.page.locator("#hosts .matrix").waitFor();
  const cookies = await opened.page.context().cookies(opened.page.url());
  expect(cookies).toMatchObject([{ secure: true, httpOnly: true, sameSite: "Lax" }]);
  const again = await guesser.page.goto(url);
  expect(again?.status()).toBe(401);
});

it("shows who sees whom, as each host tells it", async () => {
  for (const from of [own, "h2", "h3"]) {
    for (const to of [own, "h2", "h3"]) {
      if (from !== to) await untilCell(from, to, /: up, round trip/);
    }
  }
  const { page } = opened;
  expect(await page.locator("#hosts").innerText()).toContain("3 of 3 hosts told whom they see; no way between");
  await page.locator('#hosts .matrix button[data-index="1"]').focus();
  for (const key of ["ArrowDown", "ArrowRight", "Home", "End"]) await page.keyboard.press(key);
  expect(await page.evaluate<string>("document.activeElement.dataset.index")).toBe("8");
  expect(await page.locator("#hosts .matrix button[tabindex='0']").count()).toBe(1);
  await cell("h2", "h3").focus();
  await page.keyboard.press("Enter");
  expect(await page.locator("#hosts .details").innerText()).toMatch(/h2 → h3: up.*\n+h3 → h2: up/);
});

it("shows a way between two other hosts that is broken in one direction, and which", async () => {
  const [, h2, h3] = members;
  const undo = await dropUdpOneWay(h2.host, h3.host, 8472);
  await untilCell("h2", "h3", /: one way, .*ours do not arrive there/);
  await untilCell("h3", "h2", /: one way/);
  expect(await cell("h2", "h3").innerText()).toBe("⇥");
  expect(await cell("h3", "h2").innerText()).toBe("⇤");
  const text = await opened.page.locator("#hosts").innerText();
  expect(text).toContain("2 ways in trouble, 2 of them one way");
  expect(text).toMatch(/one way h2 → h3 .*seen from there: one way/);
  expect(await opened.page.locator("#hosts .finding").first().innerText()).toMatch(/^h[23]/);
  for (const colorScheme of ["light", "dark"] as const) {
    await opened.page.emulateMedia({ colorScheme });
    expect(await opened.seriousFaults()).toEqual([]);
  }
  await undo();
});

it("says which host does not answer, and keeps what it told", async () => {
  const [, h2] = members;
  await h2.agent.kill9();
  const hosts = opened.page.locator("#hosts");
  await until(async () => (await hosts.innerText()).includes("1 did not answer"), { what: "h2 to be silent" });
  await hosts.locator("summary").click();
  expect(await hosts.innerText()).toMatch(/h2 no answer since .*its flanneld does not run/);
  expect(opened.problems).toEqual([]);
  const ended = new Promise((resolve) => dashboard.once("close", resolve));
  dashboard.kill("SIGINT");
  expect(await ended).toBe(0);
});
