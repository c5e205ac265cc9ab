// The address space: pools as maps of who has what, and the leases one by one.
import { useMemo, useState } from "preact/hooks";
import { CellGrid } from "./cell-grid.tsx";
import type { CellUse, LeaseItem, PoolItem, SourceItem, SpaceCell, SpaceItem } from "./messages.ts";
import { Badge, Freshness, More, Scroll, Section, useFilter } from "./parts.tsx";
import { cellUses, until } from "./words.ts";

interface AddressSpaceProps {
  readonly space: SpaceItem | undefined;
  readonly source: SourceItem | undefined;
  readonly nowMs: number;
}

export function AddressSpace({ space, source, nowMs }: AddressSpaceProps) {
  const leases = useMemo(() => new Map((space?.leases ?? []).map((lease) => [lease.key, lease])), [space]);
  return (
    <Section id="space" title="Address space" note={<Freshness source={source} nowMs={nowMs} />}>
      {space === undefined && <p>Not read yet.</p>}
      {space?.source === "agent" && (
        <p class="note">
          The store cannot be asked: these are the leases that the agent knows. It does not tell reservations, nor what
          is free.
        </p>
      )}
      {space?.pools.map((pool) => (
        <Pool key={pool.network} pool={pool} leases={leases} />
      ))}
      {space !== undefined && <LeaseTable leases={space.leases} more={space.moreLeases} nowMs={nowMs} />}
    </Section>
  );
}

function Pool({ pool, leases }: { readonly pool: PoolItem; readonly leases: ReadonlyMap<string, LeaseItem> }) {
  const [chosen, setChosen] = useState<string>();
  const { network, subnetLength, subnetsPerCell, cells } = pool;
  const drawn = useMemo(
    () =>
      cells.map((cell) => ({
        key: cell.from,
        glyph: subnetsPerCell === "1" || cell.use !== "leased" ? cellUses[cell.use].glyph : "",
        tone: `use-${cell.use}`,
        label: describeCell(cell, pool, leases),
      })),
    [cells, subnetsPerCell, pool, leases],
  );
  const cell = cells.find(({ from }) => from === chosen);
  const uses = (Object.keys(cellUses) as CellUse[]).filter((use) => cells.some((each) => each.use === use));
  return (
    <div class="pool">
      <h3>{network}</h3>
      <p>
        Subnets of /{subnetLength}: {grouped(pool.taken)} of {grouped(pool.total)} in use, {grouped(pool.free)} free.
        {subnetsPerCell !== "1" && ` Each cell stands for ${grouped(subnetsPerCell)} subnets.`}
      </p>
      <CellGrid label={`Subnets of ${network}`} cells={drawn} chosen={chosen} onChoose={setChosen} />
      <ul class="legend" aria-label="Legend">
        {uses.map((use) => (
          <li key={use}>
            <span class={`cell use-${use}`} aria-hidden="true">
              {cellUses[use].glyph}
            </span>
            {cellUses[use].name}
          </li>
        ))}
      </ul>
      {cell !== undefined && (
        <p class="details" role="status">
          {describeCell(cell, pool, leases)}
        </p>
      )}
      {pool.strays.length > 0 && (
        <p class="bad-text">Leases outside of this network, which no agent serves: {pool.strays.join(", ")}</p>
      )}
    </div>
  );
}

function describeCell(cell: SpaceCell, pool: PoolItem, leases: ReadonlyMap<string, LeaseItem>): string {
  const { subnetLength, subnetsPerCell } = pool;
  const what =
    subnetsPerCell === "1"
      ? `${cell.from}/${subnetLength}`
      : `${grouped(subnetsPerCell)} subnets from ${cell.from}/${subnetLength} on`;
  if (cell.count === 0) return `${what}: free`;
  const named = cell.leases.map((key) => {
    const host = leases.get(key)?.host;
    return host === undefined ? key : `${key} of ${host}`;
  });
  const more = cell.count > named.length ? ` and ${cell.count - named.length} more` : "";
  return `${what}: ${cellUses[cell.use].name}, ${named.join(", ")}${more}`;
}

/** `65,534`; also beyond what a number holds. */
function grouped(digits: string): string {
  return digits.length > 15 ? `about 10^${digits.length - 1}` : digits.replace(/\B(?=(\d{3})+$)/g, ",");
}

interface LeaseTableProps {
  readonly leases: readonly LeaseItem[];
  readonly more: number;
  readonly nowMs: number;
}

function LeaseTable({ leases, more, nowMs }: LeaseTableProps) {
  const filter = useFilter("Filter leases");
  const rows = useMemo(
    () =>
      filter.text === ""
        ? leases
        : leases.filter(({ key, host = "", backendType = "" }) =>
            `${key} ${host} ${backendType}`.toLowerCase().includes(filter.text),
          ),
    [leases, filter.text],
  );
  if (leases.length === 0) return <p>There are no leases.</p>;
  return (
    <details>
      <summary>
        Leases ({leases.length}
        {more > 0 && `, and ${more} more: flannelctl lease list`})
      </summary>
      {filter.field}
      <More items={rows} step={25} noun="leases">
        {(shown) => (
          <Scroll label="Table of leases">
            <table>
              <caption class="unseen">Leases</caption>
              <thead>
                <tr>
                  <th scope="col">Lease</th>
                  <th scope="col">Subnets</th>
                  <th scope="col">Host</th>
                  <th scope="col">Backend</th>
                  <th scope="col">Expires</th>
                </tr>
              </thead>
              <tbody>
                {shown.map((lease) => (
                  <tr key={lease.key}>
                    <th scope="row">
                      {lease.key} {lease.isOwn && <Badge tone="good">this host</Badge>}
                    </th>
                    <td>{lease.subnets.join(", ")}</td>
                    <td>{lease.host ?? "–"}</td>
                    <td>{lease.backendType ?? "–"}</td>
                    <td>{lease.isReserved ? "never: reserved" : until(lease.expiresAt, nowMs)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        )}
      </More>
    </details>
  );
}
