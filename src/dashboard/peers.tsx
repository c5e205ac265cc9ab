// The peers: a matrix with a cell for each, a table with the worst first, and all that is known of the chosen one.
import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { count } from "../terminal/text.ts";
import { CellGrid } from "./cell-grid.tsx";
import type { PeerItem, SourceItem } from "./messages.ts";
import type { NetworkModel } from "./model.ts";
import { Badge, Freshness, More, Pairs, Scroll, Section, useFilter } from "./parts.tsx";
import {
  ago,
  bytes,
  countStates,
  describeCounts,
  describePeer,
  lossTone,
  milliseconds,
  mtu,
  mtuTone,
  peerStates,
  percent,
  rttTone,
  stateRank,
  type Tone,
} from "./words.ts";

const views = {
  state: { name: "state", tone: ({ state }) => peerStates[state].tone, glyph: ({ state }) => peerStates[state].glyph },
  rtt: { name: "round trip", tone: ({ rttSeconds }) => rttTone(rttSeconds?.p50), glyph: () => "" },
  loss: { name: "loss", tone: ({ lossRatio }) => lossTone(lossRatio), glyph: () => "" },
  mtu: { name: "MTU", tone: mtuTone, glyph: () => "" },
} satisfies Record<string, { name: string; tone: (peer: PeerItem) => Tone; glyph: (peer: PeerItem) => string }>;

type View = keyof typeof views;

const toneGlyph: Readonly<Record<Tone, string>> = { good: "", plain: "·", warn: "!", bad: "✕", none: "?" };

const scales: Readonly<Record<View, readonly (readonly [Tone, string])[]>> = {
  state: [],
  rtt: [
    ["good", "up to 5 ms"],
    ["plain", "up to 20 ms"],
    ["warn", "up to 100 ms"],
    ["bad", "longer"],
    ["none", "not measured"],
  ],
  loss: [
    ["good", "none"],
    ["plain", "under 1 %"],
    ["warn", "under 10 %"],
    ["bad", "10 % and more"],
    ["none", "not measured"],
  ],
  mtu: [
    ["good", "whole packets pass"],
    ["warn", "large ones are fragmented"],
    ["bad", "large ones get lost"],
    ["none", "not measured"],
  ],
};

interface PeersProps {
  readonly network: NetworkModel;
  /** Of `network.peers`, which stays the same object. */
  readonly version: number;
  readonly source: SourceItem | undefined;
  readonly nowMs: number;
  readonly chart: ComponentChildren;
}

const byName = new Intl.Collator("en", { numeric: true });

export function Peers({ network, version, source, nowMs, chart }: PeersProps) {
  const [view, setView] = useState<View>("state");
  const [chosen, setChosen] = useState<string>();
  const byKey = useMemo(
    () => [...network.peers.values()].sort((a, b) => byName.compare(a.key, b.key)),
    [network.peers, version],
  );
  const cells = useMemo(() => byKey.map((peer) => cellOf(peer, view)), [byKey, view]);
  const counts = useMemo(() => countStates(byKey), [byKey]);
  const { about } = network;
  const peer = chosen === undefined ? undefined : network.peers.get(chosen);
  return (
    <Section id="peers" title="Peers" note={<Freshness source={source} nowMs={nowMs} />}>
      {about?.probes === undefined && about !== undefined && (
        <p class="note">Probes are off or have not begun: round trip, loss and path MTU are not known.</p>
      )}
      {about?.probes?.problem !== undefined && <p class="bad-text">Probes cannot be sent: {about.probes.problem}</p>}
      <p aria-live="polite">{describeCounts(counts)}</p>
      <ViewChoice view={view} onChoose={setView} />
      {byKey.length === 0 ? (
        <p>No other host has a lease.</p>
      ) : (
        <CellGrid label={`Peers by ${views[view].name}`} cells={cells} chosen={chosen} onChoose={setChosen} />
      )}
      <Legend view={view} states={counts.map(([state]) => state)} />
      {about !== undefined && about.morePeers > 0 && (
        <p class="note">{count(about.morePeers, "more peer")}: flannelctl peers</p>
      )}
      {peer !== undefined && <PeerDetails peer={peer} nowMs={nowMs} />}
      {chart}
      <PeerTable peers={byKey} onChoose={setChosen} nowMs={nowMs} />
    </Section>
  );
}

function cellOf(peer: PeerItem, view: View) {
  const { tone: toneOf, glyph } = views[view];
  const tone = toneOf(peer);
  return { key: peer.key, glyph: view === "state" ? glyph(peer) : toneGlyph[tone], tone, label: describePeer(peer) };
}

function ViewChoice({ view, onChoose }: { readonly view: View; readonly onChoose: (view: View) => void }) {
  return (
    <fieldset class="choice">
      <legend>Show</legend>
      {(Object.keys(views) as View[]).map((each) => (
        <label key={each}>
          <input type="radio" name="view" checked={each === view} onChange={() => onChoose(each)} /> {views[each].name}
        </label>
      ))}
    </fieldset>
  );
}

function Legend({ view, states }: { readonly view: View; readonly states: readonly PeerItem["state"][] }) {
  const entries =
    view === "state"
      ? states.map((state) => {
          const { name, glyph, tone, meaning } = peerStates[state];
          return { key: state, glyph, tone, text: `${name}: ${meaning}` };
        })
      : scales[view].map(([tone, text]) => ({ key: tone, glyph: toneGlyph[tone], tone, text }));
  return (
    <ul class="legend" aria-label="Legend">
      {entries.map(({ key, glyph, tone, text }) => (
        <li key={key}>
          <span class={`cell ${tone}`} aria-hidden="true">
            {glyph}
          </span>
          {text}
        </li>
      ))}
    </ul>
  );
}

function PeerDetails({ peer, nowMs }: { readonly peer: PeerItem; readonly nowMs: number }) {
  const { name, tone } = peerStates[peer.state];
  const pairs: readonly (readonly [string, string | undefined])[] = [
    ["Host", peer.host],
    ["Subnets", peer.subnets.join(", ")],
    ["Why", peer.reason],
    ["Since", peer.since === undefined ? undefined : ago(peer.since, nowMs)],
    ["Round trip", peer.rttSeconds && `${milliseconds(peer.rttSeconds.p50)}, p99 ${milliseconds(peer.rttSeconds.p99)}`],
    ["Loss", peer.lossRatio === undefined ? undefined : percent(peer.lossRatio)],
    ["MTU", mtu(peer)],
    ["Unfragmented up to", peer.pathMtu && `${peer.pathMtu.wholeBytes} bytes`],
    ["Goes out by", peer.device],
    ["Endpoint", peer.endpoint],
    ["Received", peer.receivedBytes === undefined ? undefined : bytes(peer.receivedBytes)],
    ["Sent", peer.sentBytes === undefined ? undefined : bytes(peer.sentBytes)],
    ["Lease changed", peer.changedAt === undefined ? undefined : ago(peer.changedAt, nowMs)],
  ];
  return (
    <section class="details" aria-label="Chosen peer">
      <h3>
        {peer.key} <Badge tone={tone}>{name}</Badge>
      </h3>
      <Pairs pairs={pairs} />
    </section>
  );
}

const columns = {
  peer: { name: "Peer", compare: (a: PeerItem, b: PeerItem) => byName.compare(a.key, b.key) },
  host: { name: "Host", compare: (a: PeerItem, b: PeerItem) => byName.compare(a.host ?? "", b.host ?? "") },
  state: { name: "State", compare: (a: PeerItem, b: PeerItem) => stateRank(a.state) - stateRank(b.state) },
  rtt: {
    name: "Round trip",
    compare: (a: PeerItem, b: PeerItem) => (b.rttSeconds?.p50 ?? -1) - (a.rttSeconds?.p50 ?? -1),
  },
  loss: { name: "Loss", compare: (a: PeerItem, b: PeerItem) => (b.lossRatio ?? -1) - (a.lossRatio ?? -1) },
  mtu: { name: "MTU", compare: (a: PeerItem, b: PeerItem) => mtuOf(a) - mtuOf(b) },
} as const;

type Column = keyof typeof columns;

function mtuOf({ mtuBytes, pathMtu }: PeerItem): number {
  return pathMtu?.overlayBytes ?? mtuBytes ?? Number.POSITIVE_INFINITY;
}

interface PeerTableProps {
  readonly peers: readonly PeerItem[];
  readonly onChoose: (key: string) => void;
  readonly nowMs: number;
}

function PeerTable({ peers, onChoose, nowMs }: PeerTableProps) {
  const filter = useFilter("Filter peers");
  const [order, setOrder] = useState<Column>("state");
  const rows = useMemo(() => {
    const found =
      filter.text === "" ? peers : peers.filter((peer) => describePeer(peer).toLowerCase().includes(filter.text));
    return found.toSorted((a, b) => columns[order].compare(a, b) || byName.compare(a.key, b.key));
  }, [peers, filter.text, order]);
  if (peers.length === 0) return null;
  return (
    <>
      {filter.field}
      <More items={rows} step={25} noun={order === "state" ? "peers, less urgent ones" : "peers"}>
        {(shown) => (
          <Scroll label="Table of peers">
            <table>
              <caption class="unseen">Peers, ordered by {columns[order].name}</caption>
              <thead>
                <tr>
                  {(Object.keys(columns) as Column[]).map((column) => (
                    <th
                      key={column}
                      scope="col"
                      class={["rtt", "loss", "mtu"].includes(column) ? "number" : ""}
                      aria-sort={column === order ? "ascending" : "none"}
                    >
                      <button type="button" onClick={() => setOrder(column)}>
                        {columns[column].name}
                      </button>
                    </th>
                  ))}
                  <th scope="col">Since</th>
                  <th scope="col">Why</th>
                </tr>
              </thead>
              <tbody>
                {shown.map((peer) => (
                  <PeerRow key={peer.key} peer={peer} onChoose={onChoose} nowMs={nowMs} />
                ))}
              </tbody>
            </table>
          </Scroll>
        )}
      </More>
    </>
  );
}

function PeerRow({ peer, onChoose, nowMs }: { peer: PeerItem; onChoose: (key: string) => void; nowMs: number }) {
  const { name, glyph, tone } = peerStates[peer.state];
  return (
    <tr>
      <th scope="row">
        <button type="button" class="link" onClick={() => onChoose(peer.key)}>
          {peer.key}
        </button>
      </th>
      <td>{peer.host ?? "–"}</td>
      <td>
        <Badge tone={tone}>
          <span aria-hidden="true">{glyph} </span>
          {name}
        </Badge>
      </td>
      <td class="number">{milliseconds(peer.rttSeconds?.p50)}</td>
      <td class="number">{percent(peer.lossRatio)}</td>
      <td class="number">{mtu(peer)}</td>
      <td>{ago(peer.since, nowMs)}</td>
      <td>{peer.reason ?? ""}</td>
    </tr>
  );
}
