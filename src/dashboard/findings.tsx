// What doctor found on this host, the most likely cause first, and what ends it.
import { count } from "../terminal/text.ts";
import type { DoctorItem, SourceItem } from "./messages.ts";
import { Badge, Freshness, Section } from "./parts.tsx";

interface FindingsProps {
  readonly doctor: DoctorItem | undefined;
  readonly source: SourceItem | undefined;
  readonly nowMs: number;
}

export function Findings({ doctor, source, nowMs }: FindingsProps) {
  return (
    <Section id="findings" title="Doctor" note={<Freshness source={source} nowMs={nowMs} />}>
      <p aria-live="polite">{doctor === undefined ? "Looking…" : <Verdict doctor={doctor} />}</p>
      {doctor?.findings.map((finding) => (
        <article key={`${finding.code} ${finding.evidence[0] ?? ""}`} class={`finding ${finding.severity}`}>
          <h3>
            <Badge tone={finding.severity === "error" ? "bad" : "warn"}>{finding.severity}</Badge> {finding.code}
          </h3>
          <p>{finding.summary}</p>
          <dl>
            <div>
              <dt>Seen</dt>
              {finding.evidence.map((evidence) => (
                <dd key={evidence}>{evidence}</dd>
              ))}
            </div>
            {finding.meaning !== undefined && (
              <div>
                <dt>Means</dt>
                <dd>{finding.meaning}</dd>
              </div>
            )}
            <div>
              <dt>Remedy</dt>
              {finding.remedies.map((remedy) => (
                <dd key={remedy}>
                  <code class="remedy">{remedy}</code>
                </dd>
              ))}
            </div>
            {finding.explains.length > 0 && (
              <div>
                <dt>Explains</dt>
                <dd>{finding.explains.join(", ")}</dd>
              </div>
            )}
          </dl>
        </article>
      ))}
      {doctor !== undefined && doctor.unknown.length > 0 && (
        <details>
          <summary>Could not be looked at ({doctor.unknown.length})</summary>
          <ul>
            {doctor.unknown.map(({ code, reason }) => (
              <li key={code}>
                {code}: {reason}
              </li>
            ))}
          </ul>
        </details>
      )}
    </Section>
  );
}

function Verdict({ doctor }: { readonly doctor: DoctorItem }) {
  const { findings, checked, unknown, durationSeconds } = doctor;
  const looked = `${count(checked, "check")} in ${durationSeconds.toFixed(1)} s`;
  if (findings.length > 0) {
    return (
      <>
        {count(findings.length, "finding")}, the most likely cause first. {looked}.
      </>
    );
  }
  if (unknown.length > 0) return <>Nothing bad found, but not everything could be looked at. {looked}.</>;
  return (
    <>
      <Badge tone="good">nothing found</Badge> {looked}.
    </>
  );
}
