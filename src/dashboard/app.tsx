// The page as a whole: what stands above all networks, the choice of one, and its sections.
import { Component } from "preact";
import { AddressSpace } from "./address-space.tsx";
import { Charts } from "./charts.tsx";
import { type FeedState, readFeed } from "./feed-reader.ts";
import { Findings } from "./findings.tsx";
import { Hosts } from "./hosts.tsx";
import { Journal } from "./journal.tsx";
import type { AgentItem, AgentState, NetworkItem } from "./messages.ts";
import { Model, type NetworkModel } from "./model.ts";
import { Badge, Pairs } from "./parts.tsx";
import { Peers } from "./peers.tsx";
import { Plan } from "./plan.tsx";
import { Topology } from "./topology.tsx";
import { ago, type Tone } from "./words.ts";

const sections = [
  ["findings", "Doctor"],
  ["hosts", "Who sees whom"],
  ["peers", "Peers"],
  ["space", "Address space"],
  ["topology", "Topology"],
  ["plan", "Plan"],
  ["journal", "Journal"],
] as const;

interface AppState {
  readonly feed: FeedState;
  /** Grows with each message. */
  readonly version: number;
  readonly nowMs: number;
  readonly network: string | undefined;
}

export class App extends Component<Record<never, never>, AppState> {
  override state: AppState = { feed: { type: "connecting" }, version: 0, nowMs: Date.now(), network: undefined };
  readonly #model = new Model();
  #lastState: FeedState["type"] = "connecting";

  override componentDidMount(): void {
    setInterval(() => this.setState({ nowMs: Date.now() }), 1_000);
    const ended = readFeed("feed", {
      onMessage: (message) => {
        this.#model.apply(message);
        this.setState(({ version }) => ({ version: version + 1, nowMs: Date.now() }));
      },
      onState: (feed) => {
        if (feed.type === "live" && this.#lastState === "live") return;
        this.#lastState = feed.type;
        this.setState({ feed });
      },
    });
    ended.catch((error: unknown) => this.setState({ feed: { type: "ended", reason: String(error) } }));
  }

  override render() {
    const { feed, nowMs } = this.state;
    const model = this.#model;
    const names = [...model.networks.keys()];
    const name = this.state.network !== undefined && names.includes(this.state.network) ? this.state.network : names[0];
    const network = name === undefined ? undefined : model.networks.get(name);
    return (
      <>
        <a class="skip" href="#findings">
          Skip to the findings
        </a>
        <header class="top">
          <h1>flannel{model.agent !== undefined && ` on ${model.agent.host}`}</h1>
          <AgentLine agent={model.agent} problem={model.sources.get("agent")?.problem} nowMs={nowMs} />
          <nav aria-label="Sections">
            <ul>
              {sections
                .filter(([id]) => id !== "hosts" || network?.matrix !== undefined)
                .map(([id, title]) => (
                  <li key={id}>
                    <a href={`#${id}`}>{title}</a>
                  </li>
                ))}
            </ul>
          </nav>
        </header>
        <Connection feed={feed} nowMs={nowMs} />
        <main>
          <Reasons agent={model.agent} />
          <Findings doctor={model.doctor} source={model.sources.get("doctor")} nowMs={nowMs} />
          {names.length > 1 && (
            <NetworkChoice
              names={names}
              chosen={name ?? ""}
              onChoose={(chosen) => this.setState({ network: chosen })}
            />
          )}
          {network === undefined ? (
            <p>Nothing is known of a network yet.</p>
          ) : (
            <NetworkSections key={network.name} network={network} model={model} nowMs={nowMs} />
          )}
          <Journal entries={model.entries} source={model.sources.get("journal")} nowMs={nowMs} />
        </main>
        <footer>
          <p class="note">Read-only. flannelctl dashboard serves this page until it is ended with Ctrl-C.</p>
        </footer>
      </>
    );
  }
}

interface NetworkSectionsProps {
  readonly network: NetworkModel;
  readonly model: Model;
  readonly nowMs: number;
}

function NetworkSections({ network, model, nowMs }: NetworkSectionsProps) {
  const { sources } = model;
  const { about, peersVersion } = network;
  return (
    <>
      {about !== undefined && <NetworkLine name={network.name} about={about} />}
      {network.matrix !== undefined && (
        <Hosts
          network={network}
          matrix={network.matrix}
          hosts={model.hosts}
          hostsVersion={model.hostsVersion}
          source={sources.get("hosts")}
          nowMs={nowMs}
        />
      )}
      <Peers
        network={network}
        version={peersVersion}
        source={sources.get("agent")}
        nowMs={nowMs}
        chart={<Charts network={network.name} samples={model.samples} />}
      />
      <AddressSpace space={network.space} source={sources.get("store")} nowMs={nowMs} />
      <Topology agent={model.agent} network={network} version={peersVersion} />
      <Plan network={network} source={sources.get("plan")} rulesSource={sources.get("rules")} nowMs={nowMs} />
    </>
  );
}

const stateTones: Readonly<Record<AgentState, Tone>> = { ready: "good", degraded: "warn", notReady: "bad" };
const stateNames: Readonly<Record<AgentState, string>> = {
  ready: "ready",
  degraded: "degraded",
  notReady: "not ready",
};

interface AgentLineProps {
  readonly agent: AgentItem | undefined;
  readonly problem: string | undefined;
  readonly nowMs: number;
}

function AgentLine({ agent, problem, nowMs }: AgentLineProps) {
  return (
    <div class="agent" role="status">
      {agent !== undefined && (
        <p>
          <Badge tone={problem === undefined ? stateTones[agent.state] : "none"}>
            {problem === undefined ? stateNames[agent.state] : `was ${stateNames[agent.state]}`}
          </Badge>{" "}
          flanneld {agent.version}, pid {agent.pid}, started {ago(agent.startedAt, nowMs)}; store{" "}
          {agent.store.description}:{" "}
          {agent.store.connected ? "connected" : <span class="bad-text">{agent.store.problem ?? "not connected"}</span>}
        </p>
      )}
      {problem !== undefined && <p class="bad-text">The agent does not answer: {problem}</p>}
    </div>
  );
}

function Connection({ feed, nowMs }: { readonly feed: FeedState; readonly nowMs: number }) {
  return (
    <div role="alert" class="connection">
      {feed.type === "ended" && <p>This page is not updated any more: {feed.reason}</p>}
      {feed.type === "broken" && (
        <p>
          As of {ago(new Date(feed.sinceMs).toISOString(), nowMs)}: {feed.reason}. Trying again…
        </p>
      )}
    </div>
  );
}

function Reasons({ agent }: { readonly agent: AgentItem | undefined }) {
  if (agent === undefined || agent.reasons.length === 0) return null;
  return (
    <section aria-labelledby="reasons-title">
      <h2 id="reasons-title">Why it is {stateNames[agent.pendingState ?? agent.state]}</h2>
      <ul>
        {agent.reasons.map(({ name, message }) => (
          <li key={`${name} ${message}`}>
            <strong>{name}</strong>: {message}
          </li>
        ))}
      </ul>
    </section>
  );
}

interface NetworkChoiceProps {
  readonly names: readonly string[];
  readonly chosen: string;
  readonly onChoose: (name: string) => void;
}

function NetworkChoice({ names, chosen, onChoose }: NetworkChoiceProps) {
  return (
    <p class="choice">
      <label for="network">Network</label>{" "}
      <select id="network" value={chosen} onChange={({ currentTarget }) => onChoose(currentTarget.value)}>
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </p>
  );
}

function NetworkLine({ name, about }: { readonly name: string; readonly about: NetworkItem }) {
  const { state, backendType, mtuBytes, externalInterface: external, ownSubnets, peers, revision, isWarmStart } = about;
  const pairs: readonly (readonly [string, string | undefined])[] = [
    ["State", state === undefined ? undefined : stateNames[state]],
    ["Because", about.reasons.map(({ message }) => message).join("; ") || undefined],
    ["Backend", backendType ?? "none yet"],
    ["Own subnets", ownSubnets.join(", ") || "no lease"],
    ["External interface", external && `${external.name} ${external.addresses.join(", ")}, MTU ${external.mtuBytes}`],
    ["MTU of containers", mtuBytes === undefined ? undefined : String(mtuBytes)],
    ["Peers in the kernel", `${peers.programmed} of ${peers.desired}`],
    ["Store revision", revision],
    ["Warm start", isWarmStart ? "the remembered state is in use: the store has not answered yet" : undefined],
  ];
  return (
    <section aria-labelledby="network-title" class="network">
      <h2 id="network-title">Network {name}</h2>
      <Pairs pairs={pairs} />
    </section>
  );
}
