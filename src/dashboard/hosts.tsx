// The other hosts of a small cluster, as they tell themselves: the matrix of who sees whom, and what their doctors found.
import { useMemo, useState } from "preact/hooks";
import { count } from "../terminal/text.ts";
import { Matrix, nameOf, type PairKey } from "./matrix.tsx";
import type { HostItem, MatrixItem, PairItem, RowItem, SourceItem } from "./messages.ts";
import type { NetworkModel } from "./model.ts";
import { describeSeen, describeTrouble, isOneWay, oneWayIn, oneWayOut, pairWords, seenWords } from "./pair-words.ts";
import { Badge, Freshness, More, Section } from "./parts.tsx";
import { ago } from "./words.ts";

interface HostsProps {
  readonly network: NetworkModel;
  readonly matrix: MatrixItem;
  readonly hosts: ReadonlyMap<string, HostItem>;
  /** Of `hosts`, which stays the same object. */
  readonly hostsVersion: number;
  readonly source: SourceItem | undefined;
  readonly nowMs: number;
}

/** States that the legend explains, beside those of one way and of who told nothing. */
const explained = ["up", "slow", "suspect", "down", "mtuBroken", "absent"] as const;

export function Hosts({ network, matrix, hosts, hostsVersion, source, nowMs }: HostsProps) {
  const [chosen, setChosen] = useState<PairKey>();
  const { rows } = network;
  const own = network.about?.ownSubnets[0]?.replace("/", "-");
  const left = matrix.total - matrix.shown.length;
  return (
    <Section id="hosts" title="Who sees whom" note={<Freshness source={source} nowMs={nowMs} />}>
      <p aria-live="polite">
        {matrix.told} of {count(matrix.total, "host")} told whom they see; {troubleText(matrix)}.
      </p>
      {left > 0 && (
        <p class="note">
          Shown are this host and the {matrix.shown.length - 1} with most trouble; {count(left, "more host")} in the
          counts.
        </p>
      )}
      <section class="scroll wide" aria-label="Matrix of hosts">
        <Matrix keys={matrix.shown} rows={rows} own={own} chosen={chosen} onChoose={setChosen} nowMs={nowMs} />
      </section>
      <MatrixLegend />
      {chosen !== undefined && <PairDetails pair={chosen} rows={rows} nowMs={nowMs} />}
      <Pairs matrix={matrix} rows={rows} onChoose={setChosen} />
      <Reports hosts={hosts} version={hostsVersion} nowMs={nowMs} />
    </Section>
  );
}

function troubleText({ troubled, pairs }: MatrixItem): string {
  const oneWay = pairs.filter(({ state, back }) => isOneWay(state, back)).length;
  if (troubled === 0) return "no way between two of them is in trouble";
  return `${count(troubled, "way")} in trouble${oneWay === 0 ? "" : `, ${oneWay} of them one way`}`;
}

function MatrixLegend() {
  const words = explained.map((state) => ({ state, ...seenWords(state) }));
  const oneWay = [
    { ...oneWayOut, state: "out" },
    { ...oneWayIn, state: "in" },
  ];
  const untold = { state: "untold", name: "empty", glyph: "", tone: "untold", meaning: "the host told nothing of it" };
  return (
    <ul class="legend" aria-label="Legend of the matrix">
      {[...words.slice(0, 3), ...oneWay, ...words.slice(3), untold].map(({ state, name, glyph, tone, meaning }) => (
        <li key={state}>
          <span class={`cell ${tone}`} aria-hidden="true">
            {glyph}
          </span>
          {name}: {meaning}
        </li>
      ))}
    </ul>
  );
}

interface PairDetailsProps {
  readonly pair: PairKey;
  readonly rows: ReadonlyMap<string, RowItem>;
  readonly nowMs: number;
}

function PairDetails({ pair: { from, to }, rows, nowMs }: PairDetailsProps) {
  const way = (a: string, b: string) => {
    const seen = rows.get(a)?.seen[b];
    return (
      <p>
        <strong>
          {nameOf(a, rows.get(a))} → {nameOf(b, rows.get(b))}
        </strong>
        : {seen === undefined ? "it told nothing" : describeSeen(seen)}
        {seen?.since !== undefined && `, since ${ago(seen.since, nowMs)}`}
      </p>
    );
  };
  if (from === to) {
    const { name = "no name known", address = "no address known", toldAt } = rows.get(from) ?? {};
    return (
      <p class="details">
        <strong>{name}</strong>, {address}, lease {from}: told whom it sees{" "}
        {toldAt === undefined ? "never" : ago(toldAt, nowMs)}
      </p>
    );
  }
  return (
    <section class="details" aria-label="Chosen pair" aria-live="polite">
      {way(from, to)}
      {way(to, from)}
    </section>
  );
}

interface PairsProps {
  readonly matrix: MatrixItem;
  readonly rows: ReadonlyMap<string, RowItem>;
  readonly onChoose: (pair: PairKey) => void;
}

/** What is wrong in words, one way first; a host that nobody reaches is one line. */
function Pairs({ matrix: { pairs, unreached, troubled }, rows, onChoose }: PairsProps) {
  if (troubled === 0) return null;
  const told = unreached.reduce((sum, { witnesses }) => sum + witnesses, pairs.length);
  return (
    <>
      <h3>Ways in trouble</h3>
      <ul class="pairs">
        {unreached.map(({ key, witnesses }) => (
          <li key={key}>
            <Badge tone="bad">✕ down</Badge> nobody reaches {nameOf(key, rows.get(key))}: {count(witnesses, "host")} say
            so
          </li>
        ))}
        {pairs.map((pair) => (
          <PairLine key={`${pair.from} ${pair.to}`} pair={pair} rows={rows} onChoose={onChoose} />
        ))}
      </ul>
      {troubled > told && <p class="note">{count(troubled - told, "more way")} in trouble</p>}
    </>
  );
}

function PairLine({ pair, rows, onChoose }: Omit<PairsProps, "matrix"> & { readonly pair: PairItem }) {
  const { from, to, back } = pair;
  const { glyph, name, tone } = pairWords(pair, back);
  return (
    <li>
      <Badge tone={tone}>
        <span aria-hidden="true">{glyph} </span>
        {name}
      </Badge>{" "}
      <button type="button" class="link" onClick={() => onChoose({ from, to })}>
        {nameOf(from, rows.get(from))} → {nameOf(to, rows.get(to))}
      </button>{" "}
      {describeTrouble(pair)}
    </li>
  );
}

interface ReportsProps {
  readonly hosts: ReadonlyMap<string, HostItem>;
  readonly version: number;
  readonly nowMs: number;
}

function Reports({ hosts, version, nowMs }: ReportsProps) {
  const groups = useMemo(() => {
    const all = [...hosts].map(([address, host]) => ({ address, host }));
    return {
      found: all.filter(({ host }) => host.findings.length > 0 || (host.agent ?? "running") !== "running"),
      silent: all.filter(({ host }) => host.problem !== undefined),
      unasked: all.filter(({ host }) => host.askedAt === undefined).length,
      fine: all.filter(({ host }) => host.toldAt !== undefined && host.findings.length === 0).length,
    };
  }, [hosts, version]);
  const { found, silent, unasked, fine } = groups;
  return (
    <>
      <h3>What other hosts' doctors found</h3>
      <p>
        {count(fine, "host")} found nothing, {found.length} found something, {silent.length} did not answer
        {unasked > 0 && `, ${unasked} not asked yet`}.
      </p>
      <More items={found} step={10} noun="hosts">
        {(shown) =>
          shown.map(({ address, host }) => <Report key={address} address={address} host={host} nowMs={nowMs} />)
        }
      </More>
      {silent.length > 0 && (
        <details>
          <summary>No answer ({silent.length})</summary>
          <More items={silent} step={50} noun="hosts">
            {(shown) => (
              <ul>
                {shown.map(({ address, host }) => (
                  <li key={address}>
                    <strong>{host.name ?? address}</strong>{" "}
                    {host.toldAt === undefined ? "never answered" : `no answer since ${ago(host.toldAt, nowMs)}`}; asked{" "}
                    {ago(host.askedAt, nowMs)}: {host.problem}
                  </li>
                ))}
              </ul>
            )}
          </More>
        </details>
      )}
    </>
  );
}

interface ReportProps {
  readonly address: string;
  readonly host: HostItem;
  readonly nowMs: number;
}

function Report({ address, host, nowMs }: ReportProps) {
  const { name, findings, moreFindings, unknown, toldAt, agent } = host;
  const isError = findings.some(({ severity }) => severity === "error") || agent === "absent";
  return (
    <article class={`finding ${isError ? "error" : "warning"}`}>
      <h4>
        {name ?? address} {name !== undefined && <span class="note">{address}, </span>}
        <span class="note">as of {ago(toldAt, nowMs)}</span>
      </h4>
      {agent !== undefined && agent !== "running" && <p class="bad-text">its agent is {agent}</p>}
      <ul>
        {findings.map(({ code, severity, summary, evidence, remedies }) => (
          <li key={`${code} ${evidence[0] ?? ""}`}>
            <Badge tone={severity === "error" ? "bad" : "warn"}>{severity}</Badge> <strong>{code}</strong>: {summary}
            <br />
            <span class="note">seen:</span> {evidence.join("; ")}
            <br />
            <span class="note">remedy there:</span> <code class="remedy">{remedies[0]}</code>
          </li>
        ))}
      </ul>
      {moreFindings + unknown > 0 && (
        <p class="note">
          {moreFindings > 0 && `${count(moreFindings, "more finding")} `}
          {unknown > 0 && `${unknown} could not be looked at`}
        </p>
      )}
    </article>
  );
}
