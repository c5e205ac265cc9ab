// Which kernel module makes devices of a kind: what `modprobe` wants to hear.

/** `kind` as in `ip link add type KIND`. Most modules have that name; `modprobe ip6tnl` finds none. */
export function moduleOfDevices(kind: string): string {
  return kind === "ip6tnl" ? "ip6_tunnel" : kind;
}
