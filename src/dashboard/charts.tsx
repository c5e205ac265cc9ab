// Round trip and loss over the time that this page was looked at, as lines.
import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { SampleItem } from "./messages.ts";
import { milliseconds } from "./words.ts";

interface ChartsProps {
  readonly network: string;
  readonly samples: readonly SampleItem[];
}

export function Charts({ network, samples }: ChartsProps) {
  const own = useMemo(() => samples.filter((sample) => sample.network === network), [network, samples]);
  const last = own.at(-1);
  if (last === undefined) return null;
  const seconds = (ms: number | null) => (ms === null ? undefined : ms / 1_000);
  const loss = last.lossPercent === null ? "not measured" : `${last.lossPercent.toFixed(1)} %`;
  return (
    <div class="charts">
      <figure>
        <figcaption>
          Round trip through the tunnel: median {milliseconds(seconds(last.rttP50Ms))}, slowest peer{" "}
          {milliseconds(seconds(last.rttWorstMs))}
        </figcaption>
        <Lines samples={own} series={rttSeries} values={rttValues} unit="ms" />
      </figure>
      <figure>
        <figcaption>Loss over all peers: {loss} (times are UTC)</figcaption>
        <Lines samples={own} series={lossSeries} values={lossValues} unit="%" />
      </figure>
    </div>
  );
}

interface LineStyle {
  /** Of the style sheet. */
  readonly colour: string;
  readonly dash?: readonly number[];
}

const rttSeries: readonly LineStyle[] = [{ colour: "--line-1" }, { colour: "--line-2", dash: [6, 4] }];
const lossSeries: readonly LineStyle[] = [{ colour: "--line-1" }];
const rttValues = (sample: SampleItem) => [sample.rttP50Ms, sample.rttWorstMs];
const lossValues = (sample: SampleItem) => [sample.lossPercent];

interface LinesProps {
  readonly samples: readonly SampleItem[];
  readonly series: readonly LineStyle[];
  readonly values: (sample: SampleItem) => readonly (number | null)[];
  readonly unit: string;
}

const HEIGHT = 130;

function Lines({ samples, series, values, unit }: LinesProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const data = useMemo((): uPlot.AlignedData => {
    const columns = series.map((_, column) => samples.map((sample) => values(sample)[column] ?? null));
    return [samples.map(({ atMs }) => atMs / 1_000), ...columns];
  }, [samples, series, values]);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const parent = place.current;
    if (parent === null) return undefined;
    const draw = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(parent, series, unit), latest.current, parent);
    };
    draw();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: widthOf(parent), height: HEIGHT }));
    resized.observe(parent);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => {
      scheme.removeEventListener("change", draw);
      resized.disconnect();
      plot.current?.destroy();
    };
  }, [series, unit]);
  useEffect(() => plot.current?.setData(data), [data]);
  return <div ref={place} class="plot" aria-hidden="true" />;
}

/** UTC, as in the journal. */
function clock(seconds: number): string {
  return new Date(seconds * 1_000).toISOString().slice(11, 19);
}

function widthOf(parent: HTMLElement): number {
  return Math.max(120, parent.clientWidth);
}

function optionsOf(parent: HTMLElement, series: readonly LineStyle[], unit: string): uPlot.Options {
  const style = getComputedStyle(parent);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--dim"),
    grid: { stroke: colour("--rule"), width: 1 },
    ticks: { show: false },
    font: `12px ${style.fontFamily}`,
  };
  return {
    width: widthOf(parent),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { y: { range: (_, __, most) => [0, Math.max(unit === "%" ? 1 : 0.5, (most ?? 0) * 1.1)] } },
    axes: [
      { ...axis, space: 70, values: (_, ticks) => ticks.map(clock) },
      { ...axis, size: 64, space: 30, values: (_, ticks) => ticks.map((tick) => `${tick} ${unit}`) },
    ],
    series: [
      {},
      ...series.map(({ colour: name, dash }) => ({
        stroke: colour(name),
        width: 2,
        points: { show: false },
        ...(dash !== undefined && { dash: [...dash] }),
      })),
    ],
  };
}
