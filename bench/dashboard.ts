// The page of `flannelctl dashboard` in a real Chromium: how soon it is there, and how long a change takes from the feed to the
// screen, with 1,000 peers of which a twelfth has other figures with each look.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LabBrowser } from "../lab/browser.ts";
import { boxNamespace } from "../lab/namespace.ts";
import { until } from "../lab/wait.ts";
import { SimulatedAgent } from "../test/support/simulated-agent.ts";
import { type BenchContext, type BenchSet, type Figure, medianFigure, percentileFigure } from "./bench-set.ts";

const sizes = [3, 1_000];
const PEERS_JUDGED = 1_000;
const UPDATES_PER_ROUND = 8;
/** News of a twelfth of the peers are longer than this for each peer; what concerns no peer is shorter. */
const PEER_TEXT_LENGTH = 5;
const flannelctl = fileURLToPath(new URL("../bin/flannelctl", import.meta.url));
const pageFile = fileURLToPath(new URL("../dist/dashboard.html", import.meta.url));

/**
 * Before the page's own script: notes from when a message of the feed is taken apart until the frame after it has been drawn.
 * The page takes lines apart with JSON.parse and nothing else.
 */
const stopwatch = (leastLength: number) => `
  window.updates = [];
  const parse = JSON.parse;
  JSON.parse = (text) => {
    const start = performance.now();
    if (text.length > ${leastLength}) requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => window.updates.push(performance.now() - start);
      channel.port2.postMessage(0);
    });
    return parse(text);
  };`;

interface Samples {
  readonly firstPaint: number[];
  readonly complete: number[];
  readonly updates: number[];
}

export const dashboardSet: BenchSet = {
  name: "dashboard",
  title: "the page of flannelctl dashboard in Chromium",
  async run(context) {
    const samples = new Map<number, Samples>(
      sizes.map((size) => [size, { firstPaint: [], complete: [], updates: [] }]),
    );
    await using browser = await LabBrowser.start(boxNamespace);
    // The first page of a browser pays for its start.
    await using warm = await browser.open();
    await warm.page.goto("about:blank");
    for (let round = 1; round <= context.rounds; round++) {
      for (const [size, into] of samples) await measure(browser, size, into, context, round);
    }
    const figures = [...samples].flatMap(([size, each]) => figuresOf(size, each));
    return { figures, notes: [`the page is one file of ${(statSync(pageFile).size / 1_000).toFixed(0)} KB`] };
  },
};

async function measure(browser: LabBrowser, peers: number, into: Samples, context: BenchContext, round: number) {
  context.progress(`round ${round} of ${context.rounds}: ${peers} peers`);
  const directory = mkdtempSync(join(tmpdir(), "bench-dashboard-"));
  const socket = join(directory, "flanneld.sock");
  await using _agent = await SimulatedAgent.listen(socket, { peers });
  const options = ["--socket", socket, "--root", directory, "--etcd-endpoints", "http://127.0.0.1:9"];
  const child = spawn(flannelctl, [...options, "dashboard", "--listen", "127.0.0.1:0"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let printed = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
  });
  try {
    const link = await until(() => /^http:\S+$/m.exec(printed)?.[0], { what: "the link" });
    await using opened = await browser.open();
    const { page } = opened;
    await page.addInitScript(stopwatch(peers * PEER_TEXT_LENGTH));
    const start = performance.now();
    await page.goto(link, { waitUntil: "commit" });
    await page
      .locator("#peers .cells li")
      .nth(peers - 1)
      .waitFor();
    into.complete.push(performance.now() - start);
    into.firstPaint.push(
      await page.evaluate<number>("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
    );
    const before = await page.evaluate<number>("updates.length");
    const count = () => page.evaluate<number>("updates.length");
    await until(async () => (await count()) >= before + UPDATES_PER_ROUND, { what: "updates", intervalMs: 500 });
    into.updates.push(...(await page.evaluate<number[]>(`updates.slice(${before})`)));
    if (opened.problems.length > 0) throw new Error(opened.problems.join("\n"));
  } finally {
    child.kill("SIGINT");
    rmSync(directory, { recursive: true, force: true });
  }
}

function figuresOf(size: number, { firstPaint, complete, updates }: Samples): readonly Figure[] {
  const peers = `${size.toLocaleString("en")} peers`;
  const isJudged = size === PEERS_JUDGED;
  return [
    medianFigure({ name: `${peers}: first paint`, unit: "ms", ...(isJudged && { atMost: 1_000 }) }, firstPaint),
    medianFigure({ name: `${peers}: link → all peers on the screen`, unit: "ms" }, complete),
    medianFigure({ name: `${peers}: news → screen`, unit: "ms", ...(isJudged && { atMost: 100 }) }, updates),
    percentileFigure({ name: `${peers}: news → screen`, unit: "ms" }, 99, updates),
  ];
}
