// Which cell arrow keys, Home and End lead to, from one of many that are one stop for Tab. Pure.

/** Undefined: the key leads nowhere. `columns`: cells in a row. */
export function cellAfterKey(key: string, index: number, columns: number, count: number): number | undefined {
  const next = {
    ...{ ArrowRight: index + 1, ArrowLeft: index - 1, ArrowDown: index + columns, ArrowUp: index - columns },
    ...{ Home: 0, End: count - 1 },
  }[key];
  return next === undefined ? undefined : Math.max(0, Math.min(count - 1, next));
}
