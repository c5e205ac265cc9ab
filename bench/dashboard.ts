// The page of `flannelctl dashboard` in a real Chromium: how soon it is there, and how long a change takes from the feed to the
// screen, with 1,000 peers of which a twelfth has other figures with each look; and in a cluster of 1,000 hosts that tell whom they see.
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
import { MatrixWorld } from "./dashboard-matrix.ts";

const sizes = [3, 1_000];
const PEERS_JUDGED = 1_000;
const HOSTS = 1_000;
const UPDATES_PER_ROUND = 8;
/** News of a twelfth of the peers are longer than this for each peer; what concerns no peer is shorter. */
const PEER_TEXT_LENGTH = 5;
/** A row of the matrix is longer. */
const ROW_TEXT_LENGTH = 1_000;
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

/** What is on the screen once all is, and how long the news are that count. */
interface Page {
  readonly cells: string;
  readonly cellCount: number;
  readonly leastLength: number;
}

interface Samples {
  readonly firstPaint: number[];
  readonly complete: number[];
  readonly updates: number[];
}

export const dashboardSet: BenchSet = {
  name: "dashboard",
  title: "the page of flannelctl dashboard in Chromium",
  async run(context) {
    const samples = new Map<number, Samples>(sizes.map((size) => [size, noSamples()]));
    const [ofMatrix, looksMs] = [noSamples(), [] as number[]];
    await using browser = await LabBrowser.start(boxNamespace);
    // The first page of a browser pays for its start.
    await using warm = await browser.open();
    await warm.page.goto("about:blank");
    for (let round = 1; round <= context.rounds; round++) {
      for (const [size, into] of samples) await measurePeers(browser, size, into, context, round);
      looksMs.push(...(await measureMatrix(browser, ofMatrix, context, round)));
    }
    const inWords = (count: number) => count.toLocaleString("en");
    const figures = [
      ...[...samples].flatMap(([size, each]) => figuresOf(`${inWords(size)} peers`, each, size === PEERS_JUDGED)),
      ...figuresOf(`matrix of ${inWords(HOSTS)} hosts`, ofMatrix, true),
      medianFigure({ name: `matrix of ${inWords(HOSTS)} hosts: the server's look at all pairs`, unit: "ms" }, looksMs),
    ];
    return { figures, notes: [`the page is one file of ${(statSync(pageFile).size / 1_000).toFixed(0)} KB`] };
  },
};

function noSamples(): Samples {
  return { firstPaint: [], complete: [], updates: [] };
}

/** How long each look of the page's server took. */
async function measureMatrix(browser: LabBrowser, into: Samples, context: BenchContext, round: number) {
  context.progress(`round ${round} of ${context.rounds}: the matrix of ${HOSTS} hosts`);
  await using world = await MatrixWorld.open(HOSTS);
  const page = { cells: "#hosts .matrix button", cellCount: world.cells, leastLength: ROW_TEXT_LENGTH };
  await measurePage(browser, world.link, page, into);
  return world.looksMs;
}

async function measurePeers(browser: LabBrowser, peers: number, into: Samples, context: BenchContext, round: number) {
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
    const page = { cells: "#peers .cells li", cellCount: peers, leastLength: peers * PEER_TEXT_LENGTH };
    await measurePage(browser, link, page, into);
  } finally {
    child.kill("SIGINT");
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measurePage(browser: LabBrowser, link: string, { cells, cellCount, leastLength }: Page, into: Samples) {
  await using opened = await browser.open();
  const { page } = opened;
  await page.addInitScript(stopwatch(leastLength));
  const start = performance.now();
  await page.goto(link, { waitUntil: "commit" });
  await page
    .locator(cells)
    .nth(cellCount - 1)
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
}

function figuresOf(what: string, { firstPaint, complete, updates }: Samples, isJudged: boolean): readonly Figure[] {
  return [
    medianFigure({ name: `${what}: first paint`, unit: "ms", ...(isJudged && { atMost: 1_000 }) }, firstPaint),
    medianFigure({ name: `${what}: link → all on the screen`, unit: "ms" }, complete),
    medianFigure({ name: `${what}: news → screen`, unit: "ms", ...(isJudged && { atMost: 100 }) }, updates),
    percentileFigure({ name: `${what}: news → screen`, unit: "ms" }, 99, updates),
  ];
}
