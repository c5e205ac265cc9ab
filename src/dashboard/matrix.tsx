// Who sees whom how: a row for each host that sees, a column for each that is seen.
import { Component } from "preact";
import { cellAfterKey } from "./cell-keys.ts";
import type { RowItem, SeenItem } from "./messages.ts";
import { describeSeen, pairWords } from "./pair-words.ts";
import { ago } from "./words.ts";

export interface PairKey {
  readonly from: string;
  readonly to: string;
}

interface MatrixProps {
  readonly keys: readonly string[];
  readonly rows: ReadonlyMap<string, RowItem>;
  readonly own: string | undefined;
  readonly chosen: PairKey | undefined;
  readonly onChoose: (pair: PairKey) => void;
  readonly nowMs: number;
}

interface MatrixState {
  /** The cell that Tab leads to. */
  readonly current: number;
}

/** What a host told longer ago may no longer be so. */
const OLD_MS = 120_000;

export class Matrix extends Component<MatrixProps, MatrixState> {
  override state: MatrixState = { current: 1 };
  #table: HTMLTableElement | null = null;

  override render() {
    const { keys, rows, own, chosen, nowMs } = this.props;
    const current = Math.min(this.state.current, keys.length ** 2 - 1);
    const names = keys.map((key) => nameOf(key, rows.get(key)));
    const allNames = JSON.stringify(names);
    return (
      <table
        class="matrix"
        ref={(table) => {
          this.#table = table;
        }}
        onKeyDown={(event) => this.#onKey(event)}
        onClick={({ target }) => this.#choose(target)}
        onFocusIn={({ target }) => this.#moveTo(indexOf(target))}
      >
        <caption class="unseen">Rows: the host that sees. Columns: the host that is seen.</caption>
        <thead>
          <tr>
            <td class="corner">sees ↓ whom →</td>
            {keys.map((key, index) => (
              <th key={key} scope="col" title={titleOf(key, rows.get(key))}>
                <span aria-hidden="true">{index + 1}</span>
                <span class="unseen">{names[index]}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {keys.map((key, index) => (
            <MatrixRow
              key={key}
              from={key}
              index={index}
              row={rows.get(key)}
              keys={keys}
              names={allNames}
              backs={JSON.stringify(keys.map((to) => rows.get(to)?.seen[key]?.state))}
              age={ageOf(rows.get(key), key === own, nowMs)}
              current={Math.floor(current / keys.length) === index ? current % keys.length : undefined}
              chosenTo={chosen?.from === key ? chosen.to : undefined}
            />
          ))}
        </tbody>
      </table>
    );
  }

  #choose(target: EventTarget | null): void {
    const index = indexOf(target);
    const { keys, onChoose } = this.props;
    const [from, to] = [keys[Math.floor((index ?? -1) / keys.length)], keys[(index ?? -1) % keys.length]];
    if (from !== undefined && to !== undefined) onChoose({ from, to });
  }

  #moveTo(index: number | undefined): void {
    if (index !== undefined && index !== this.state.current) this.setState({ current: index });
  }

  #onKey(event: KeyboardEvent): void {
    const index = indexOf(event.target);
    const { keys } = this.props;
    const next = index === undefined ? undefined : cellAfterKey(event.key, index, keys.length, keys.length ** 2);
    if (next === undefined) return;
    event.preventDefault();
    this.#table?.querySelector<HTMLButtonElement>(`button[data-index="${next}"]`)?.focus();
  }
}

interface MatrixRowProps {
  readonly from: string;
  readonly index: number;
  readonly row: RowItem | undefined;
  readonly keys: readonly string[];
  /** Of all hosts, and how they see this one: arrays as JSON, which are the same text when nothing changed. */
  readonly names: string;
  readonly backs: string;
  /** In words, when what it told is old, or that it told nothing. */
  readonly age: string | undefined;
  readonly current: number | undefined;
  readonly chosenTo: string | undefined;
}

class MatrixRow extends Component<MatrixRowProps> {
  override shouldComponentUpdate(next: MatrixRowProps): boolean {
    const { props } = this;
    return (Object.keys(next) as (keyof MatrixRowProps)[]).some((name) => next[name] !== props[name]);
  }

  override render({ from, index, row, keys, age, current, chosenTo, ...texts }: MatrixRowProps) {
    const name = nameOf(from, row);
    const names = JSON.parse(texts.names) as readonly string[];
    const backs = JSON.parse(texts.backs) as readonly (SeenItem["state"] | null)[];
    return (
      <tr class={age === undefined ? "" : "old"}>
        <th scope="row" title={titleOf(from, row)}>
          <span class="number">{index + 1}</span> {name}
          {age !== undefined && <span class="note"> {age}</span>}
        </th>
        {keys.map((to, column) => {
          const look = lookOf(from === to, row?.seen[to], backs[column] ?? undefined);
          return (
            <td key={to}>
              <button
                type="button"
                class={`cell ${look.tone}`}
                data-index={index * keys.length + column}
                tabIndex={column === current ? 0 : -1}
                aria-pressed={to === chosenTo}
                aria-label={`${name} sees ${names[column] ?? to}: ${look.label}`}
              >
                {look.glyph}
              </button>
            </td>
          );
        })}
      </tr>
    );
  }
}

interface Look {
  readonly tone: string;
  readonly glyph: string;
  readonly label: string;
}

function lookOf(isSelf: boolean, seen: SeenItem | undefined, back: SeenItem["state"] | undefined): Look {
  if (isSelf) return { tone: "self", glyph: "", label: "itself" };
  if (seen === undefined) return { tone: "untold", glyph: "", label: "it told nothing" };
  const { glyph, tone, name } = pairWords(seen, back);
  const text = describeSeen(seen);
  return { tone, glyph, label: text.startsWith(name) ? text : `${name}, ${text}` };
}

export function nameOf(key: string, row: RowItem | undefined): string {
  return row?.name ?? row?.address ?? key;
}

function titleOf(key: string, row: RowItem | undefined): string {
  return [row?.name, row?.address, key].filter((part) => part !== undefined).join(", ");
}

function ageOf(row: RowItem | undefined, isOwn: boolean, nowMs: number): string | undefined {
  if (row?.toldAt === undefined) return isOwn ? "no agent" : "told nothing";
  return nowMs - Date.parse(row.toldAt) > OLD_MS ? ago(row.toldAt, nowMs) : undefined;
}

function indexOf(target: EventTarget | null): number | undefined {
  const button = target instanceof Element ? target.closest("button") : null;
  const index = Number(button?.dataset["index"] ?? Number.NaN);
  return Number.isNaN(index) ? undefined : index;
}
