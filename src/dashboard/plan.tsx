// This host's plan against its kernel: what differs now, what failed, what was repaired, and the whole of it.
import { useMemo } from "preact/hooks";
import { count } from "../terminal/text.ts";
import type { NetworkItem, PlanItem, RulesItem, SourceItem } from "./messages.ts";
import type { NetworkModel } from "./model.ts";
import { Badge, Freshness, Lines, More, Section, useFilter } from "./parts.tsx";
import { ago } from "./words.ts";

interface PlanProps {
  readonly network: NetworkModel;
  readonly source: SourceItem | undefined;
  readonly rulesSource: SourceItem | undefined;
  readonly nowMs: number;
}

export function Plan({ network: { about, plan, rules }, source, rulesSource, nowMs }: PlanProps) {
  return (
    <Section id="plan" title="Plan and kernel" note={<Freshness source={source} nowMs={nowMs} />}>
      {plan === undefined ? <p>Not read yet.</p> : <PlanOf plan={plan} />}
      {rulesSource?.problem !== undefined && <Freshness source={rulesSource} nowMs={nowMs} />}
      {rules !== undefined && <RulesOf rules={rules} />}
      {about !== undefined && <Failures about={about} />}
      {about !== undefined && <Repairs about={about} nowMs={nowMs} />}
    </Section>
  );
}

function PlanOf({ plan }: { readonly plan: PlanItem }) {
  const { desired, desiredCount, difference, differenceCount } = plan;
  return (
    <>
      <p>
        {differenceCount === 0 ? (
          <Badge tone="good">the kernel matches</Badge>
        ) : (
          <Badge tone="bad">the kernel differs: {count(differenceCount, "change")} to make</Badge>
        )}{" "}
        {count(desiredCount, "desired object")}
      </p>
      {difference.length > 0 && <Lines label="What the agent would change now" lines={difference} />}
      <Foldable
        title={`Desired state of this host (${desiredCount})`}
        lines={desired}
        more={desiredCount - desired.length}
      />
    </>
  );
}

function RulesOf({ rules }: { readonly rules: RulesItem }) {
  const { mode, reason, wanted, difference } = rules;
  return (
    <>
      <h3>Traffic rules</h3>
      <p>
        {difference.length === 0 ? (
          <Badge tone="good">the kernel matches</Badge>
        ) : (
          <Badge tone="bad">the kernel differs in {count(difference.length, "line")}</Badge>
        )}{" "}
        kept in {mode}: {reason}
      </p>
      {difference.length > 0 && <Lines label="How the rules differ" lines={difference} />}
      <Foldable title={`Desired rules (${wanted.length})`} lines={wanted} more={0} />
    </>
  );
}

interface FoldableProps {
  readonly title: string;
  readonly lines: readonly string[];
  readonly more: number;
}

function Foldable({ title, lines, more }: FoldableProps) {
  const filter = useFilter("Filter lines");
  const found = useMemo(
    () => (filter.text === "" ? lines : lines.filter((line) => line.toLowerCase().includes(filter.text))),
    [lines, filter.text],
  );
  if (lines.length === 0) return null;
  return (
    <details>
      <summary>{title}</summary>
      {filter.field}
      <More items={found} step={50} noun="lines">
        {(shown) => <Lines label={title} lines={shown} />}
      </More>
      {more > 0 && <p class="note">and {more} more: flannelctl plan</p>}
    </details>
  );
}

function Failures({ about: { failures } }: { readonly about: NetworkItem }) {
  if (failures.length === 0) return null;
  return (
    <>
      <h3>Could not be programmed</h3>
      <ul>
        {failures.map(({ object, error, attempts }) => (
          <li key={object}>
            <code>{object}</code>: <span class="bad-text">{error}</span>, {count(attempts, "attempt")}
          </li>
        ))}
      </ul>
    </>
  );
}

function Repairs({ about: { repairs }, nowMs }: { readonly about: NetworkItem; readonly nowMs: number }) {
  if (repairs.total === 0) return <p class="note">Nothing had to be repaired since the agent started.</p>;
  return (
    <details>
      <summary>Repairs ({repairs.total} since the agent started)</summary>
      <ul>
        {repairs.last.toReversed().map(({ repairedAt, object, action }, index) => (
          <li key={index}>
            {ago(repairedAt, nowMs)}: {action} <code>{object}</code>
          </li>
        ))}
      </ul>
    </details>
  );
}
