// The picture of docs/benchmarks.md: `node bench/convergence-chart.ts RESULTS.json docs/convergence.svg` draws what
// `npm run bench -- convergence --json RESULTS.json` measured.
import { readFileSync, writeFileSync } from "node:fs";
import { z } from "zod";

const results = z.object({
  results: z.array(
    z.object({
      set: z.string(),
      figures: z.array(z.object({ name: z.string(), statistic: z.string(), value: z.number() })),
    }),
  ),
});

interface Point {
  readonly hosts: number;
  readonly ms: number;
}

interface Line {
  readonly perSecond: number;
  readonly statistic: string;
  readonly points: readonly Point[];
}

/** Colours that stay apart for the colour-blind, dark enough on white. */
const colours = ["#0b6e99", "#b3541e", "#6a3d9a"];
const size = { width: 720, height: 420 };
const plot = { left: 64, right: 150, top: 44, bottom: 52 };

function readLines(file: string): Line[] {
  const { results: sets } = results.parse(JSON.parse(readFileSync(file, "utf8")));
  const lines = new Map<string, { perSecond: number; statistic: string; points: Point[] }>();
  for (const { name, statistic, value } of sets.find(({ set }) => set === "convergence")?.figures ?? []) {
    const [, hosts, rate] = /^(\d+) hosts, (\d+)\/s: until all have it$/.exec(name) ?? [];
    if (hosts === undefined || rate === undefined) continue;
    const key = `${rate} ${statistic}`;
    const line = lines.get(key) ?? { perSecond: Number(rate), statistic, points: [] };
    line.points.push({ hosts: Number(hosts), ms: value });
    lines.set(key, line);
  }
  return [...lines.values()];
}

/** A logarithmic axis from `low` to `high` onto pixels. */
function scale(low: number, high: number, from: number, to: number): (value: number) => number {
  const span = Math.log(high) - Math.log(low);
  return (value) => from + ((Math.log(value) - Math.log(low)) / span) * (to - from);
}

function powersOfTen(low: number, high: number): number[] {
  const powers: number[] = [];
  for (let value = 10 ** Math.floor(Math.log10(low)); value <= high * 1.0001; value *= 10) powers.push(value);
  return powers;
}

function draw(lines: readonly Line[]): string {
  const points = lines.flatMap((line) => line.points);
  if (points.length === 0) throw new Error("the file has no figures of the set convergence");
  const hosts = [...new Set(points.map((point) => point.hosts))].sort((a, b) => a - b);
  const low = 10 ** Math.floor(Math.log10(Math.min(...points.map(({ ms }) => ms))));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...points.map(({ ms }) => ms))));
  const x = scale(hosts[0] ?? 1, hosts.at(-1) ?? 10, plot.left, size.width - plot.right);
  const y = scale(low, high, size.height - plot.bottom, plot.top);
  const rates = [...new Set(lines.map(({ perSecond }) => perSecond))].sort((a, b) => a - b);
  const colourOf = ({ perSecond }: Line) => colours[rates.indexOf(perSecond) % colours.length] ?? "#000000";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="13">`,
    "<title>From a lease that is written until all hosts have the peer</title>",
    `<rect width="${size.width}" height="${size.height}" fill="#ffffff"/>`,
    `<text x="${plot.left}" y="22" font-size="15" fill="#222222">Lease written → all hosts have the peer, in ms</text>`,
    ...powersOfTen(low, high).map((ms) => horizontal(ms, y(ms))),
    ...hosts.map((count) => tick(count, x(count))),
    `<text x="${(plot.left + size.width - plot.right) / 2}" y="${size.height - 12}" text-anchor="middle" fill="#444444">hosts</text>`,
    ...lines.map((line) => curve(line, x, y, colourOf(line))),
    ...labels(lines, x, y).map(({ line, left, top }) => {
      const text = `${line.perSecond}/s, ${line.statistic}`;
      return `<text x="${left}" y="${top}" fill="${colourOf(line)}">${text}</text>`;
    }),
    "</svg>",
    "",
  ].join("\n");
}

function horizontal(ms: number, at: number): string {
  const line = `<line x1="${plot.left}" x2="${size.width - plot.right}" y1="${at}" y2="${at}" stroke="#dddddd"/>`;
  return `${line}<text x="${plot.left - 8}" y="${at + 4}" text-anchor="end" fill="#444444">${ms.toLocaleString("en")}</text>`;
}

function tick(count: number, at: number): string {
  const bottom = size.height - plot.bottom;
  const text = count.toLocaleString("en");
  return `<text x="${at}" y="${bottom + 18}" text-anchor="middle" fill="#444444">${text}</text>`;
}

/** p50 drawn through, p99 dashed. */
function curve(line: Line, x: (hosts: number) => number, y: (ms: number) => number, colour: string): string {
  const path = line.points.map(({ hosts, ms }, index) => `${index === 0 ? "M" : "L"}${x(hosts)} ${y(ms)}`).join(" ");
  const dash = line.statistic === "p50" ? "" : ' stroke-dasharray="6 4"';
  return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`;
}

interface Label {
  readonly line: Line;
  readonly left: number;
  readonly top: number;
}

/** Each at the end of its line, moved down where it would cover the one above. */
function labels(lines: readonly Line[], x: (hosts: number) => number, y: (ms: number) => number): Label[] {
  const placed: Label[] = [];
  const ends = lines.flatMap((line) => {
    const last = line.points.at(-1);
    return last === undefined ? [] : [{ line, left: x(last.hosts) + 8, top: y(last.ms) + 4 }];
  });
  for (const { line, left, top } of ends.toSorted((a, b) => a.top - b.top)) {
    const above = placed.at(-1)?.top ?? Number.NEGATIVE_INFINITY;
    placed.push({ line, left, top: Math.max(top, above + 15) });
  }
  return placed;
}

const [source, target] = process.argv.slice(2);
if (source === undefined || target === undefined) {
  console.error("usage: node bench/convergence-chart.ts RESULTS.json PICTURE.svg");
  process.exitCode = 2;
} else {
  writeFileSync(target, draw(readLines(source)));
}
