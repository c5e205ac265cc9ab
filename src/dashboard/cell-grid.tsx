// Many small cells, each of which can be chosen: with the mouse, or with arrow keys from the one that has the focus.
import { Component } from "preact";
import { cellAfterKey } from "./cell-keys.ts";

export interface Cell {
  readonly key: string;
  readonly glyph: string;
  /** `good`, `leased`: a colour of the style sheet. */
  readonly tone: string;
  /** What it is, in words. */
  readonly label: string;
}

interface CellGridProps {
  readonly label: string;
  readonly cells: readonly Cell[];
  readonly chosen: string | undefined;
  readonly onChoose: (key: string) => void;
}

interface CellGridState {
  /** The one that Tab leads to. */
  readonly current: string | undefined;
}

/** Above this many they are drawn smaller. */
const SMALL_FROM = 200;

export class CellGrid extends Component<CellGridProps, CellGridState> {
  override state: CellGridState = { current: undefined };
  #list: HTMLUListElement | null = null;

  override shouldComponentUpdate({ label, cells, chosen }: CellGridProps, { current }: CellGridState): boolean {
    const before = this.props;
    return (
      label !== before.label || cells !== before.cells || chosen !== before.chosen || current !== this.state.current
    );
  }

  override render() {
    const { label, cells, chosen } = this.props;
    const current = cells.some(({ key }) => key === this.state.current) ? this.state.current : cells[0]?.key;
    return (
      <ul
        class={cells.length > SMALL_FROM ? "cells small" : "cells"}
        aria-label={label}
        ref={(list) => {
          this.#list = list;
        }}
        onKeyDown={(event) => this.#onKey(event)}
        onClick={(event) => this.#onClick(event)}
      >
        {cells.map((cell, index) => (
          <GridCell
            key={cell.key}
            cell={cell}
            index={index}
            isChosen={cell.key === chosen}
            isCurrent={cell.key === current}
          />
        ))}
      </ul>
    );
  }

  #onClick({ target }: Event): void {
    const index = indexOf(target);
    const cell = index === undefined ? undefined : this.props.cells[index];
    if (cell === undefined) return;
    this.setState({ current: cell.key });
    this.props.onChoose(cell.key);
  }

  #onKey(event: KeyboardEvent): void {
    const index = indexOf(event.target);
    const { length } = this.props.cells;
    const to = index === undefined ? undefined : cellAfterKey(event.key, index, this.#columns(), length);
    if (to === undefined) return;
    event.preventDefault();
    this.setState({ current: this.props.cells[to]?.key }, () => this.#buttons()[to]?.focus());
  }

  #buttons(): readonly HTMLButtonElement[] {
    return [...(this.#list?.querySelectorAll("button") ?? [])];
  }

  #columns(): number {
    const [first, ...others] = this.#buttons();
    const next = others.findIndex((button) => button.offsetTop !== first?.offsetTop);
    return next < 0 ? others.length + 1 : next + 1;
  }
}

interface GridCellProps {
  readonly cell: Cell;
  readonly index: number;
  readonly isChosen: boolean;
  readonly isCurrent: boolean;
}

class GridCell extends Component<GridCellProps> {
  override shouldComponentUpdate({ cell, index, isChosen, isCurrent }: GridCellProps): boolean {
    const before = this.props;
    return (
      cell.label !== before.cell.label ||
      cell.tone !== before.cell.tone ||
      cell.glyph !== before.cell.glyph ||
      index !== before.index ||
      isChosen !== before.isChosen ||
      isCurrent !== before.isCurrent
    );
  }

  override render({ cell, index, isChosen, isCurrent }: GridCellProps) {
    return (
      <li>
        <button
          type="button"
          class={`cell ${cell.tone}`}
          data-index={index}
          tabIndex={isCurrent ? 0 : -1}
          aria-pressed={isChosen}
          aria-label={cell.label}
          title={cell.label}
        >
          {cell.glyph}
        </button>
      </li>
    );
  }
}

function indexOf(target: EventTarget | null): number | undefined {
  const button = target instanceof Element ? target.closest("button") : null;
  const index = Number(button?.dataset["index"] ?? Number.NaN);
  return Number.isNaN(index) ? undefined : index;
}
