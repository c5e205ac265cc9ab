// Resource versions: numbers of one order, since they come from one etcd (Kubernetes promises it since 1.35). Pure.

/** Decimal numbers of any length; what is none is never later. */
export function isLater(a: string, b: string): boolean {
  if (!/^\d+$/.test(a) || !/^\d+$/.test(b)) return false;
  return a.length === b.length ? a > b : a.length > b.length;
}
