// Echoes that get lost between two devices of this host, whatever drops them: a queue discipline, a program of traffic control or
// of BPF, a policy of IPsec, an entry of a bridge. The checks of rules report what rules drop.
import { carriesTraffic, defineCheck } from "../check.ts";
import { type EchoStation, type FollowedEcho, type LostEcho, lossOf } from "../followed-echo.ts";
import type { EchoFacts, EchoResult } from "../peer-facts.ts";

const lossesOf = (echoes: readonly FollowedEcho[]) => echoes.flatMap((echo) => lossOf(echo) ?? []);

function underlayOf({ outside }: FollowedEcho, echoes: readonly EchoFacts[]): EchoResult | undefined {
  return echoes.find(({ address }) => address === outside)?.underlay;
}

const doesNotLeave = ({ after }: LostEcho): boolean => after.place === "outside" && after.packet === "request";

/**
 * Not even questions for the next hop leave, though the interface is in order. While a next hop that does not answer is looked for,
 * packets wait, and the questions leave.
 */
export const lostAtDevice = defineCheck({
  name: "early-drop",
  severity: "error",
  needs: ["followedEchoes", "echoes", "links"],
  appliesTo: carriesTraffic,
  check: ({ externalInterface: { index } }, { followedEchoes, echoes, links }) => {
    const link = links.find((each) => each.index === index);
    if (link?.isUp !== true || !link.isRunning) return [];
    return lossesOf(followedEchoes)
      .filter(doesNotLeave)
      .filter(({ echo }) => underlayOf(echo, echoes) === "lost" && echo.linkQuestions === 0);
  },
  evidence: (lost) => evidenceOf(lost),
  remedy: (_, { externalInterface: { name } }) =>
    `tc -s qdisc show dev ${name}; tc filter show dev ${name} egress; ip -s xfrm policy; bpftool net # which of them drops them`,
});

export const lostOnThisHost = defineCheck({
  name: "lost-on-this-host",
  severity: "error",
  needs: ["followedEchoes", "echoes"],
  appliesTo: carriesTraffic,
  check: (_context, { followedEchoes, echoes }) =>
    lossesOf(followedEchoes).filter((lost) => !doesNotLeave(lost) || underlayOf(lost.echo, echoes) === "answered"),
  evidence: (lost) => evidenceOf(lost),
  remedy: (lost) => `${lookAt(lost).join("; ")} # which of them drops them`,
});

function lookAt({ echo: { grown }, before, after }: LostEcho): string[] {
  const leaves = after.device ?? before?.device ?? "DEVICE";
  const comes = before?.device ?? leaves;
  const ipsec = "ip -s xfrm policy";
  const isIpsec = grown.some((counter) => counter.startsWith("Xfrm"));
  const isInBridge = before?.place === "bridge" ? after.place === "port" : before?.place === "port";
  return [
    ...(isIpsec ? [ipsec] : []),
    ...(isInBridge ? ["bridge fdb", "bridge -d -s link"] : []),
    ...[`tc -s qdisc show dev ${leaves}`, `tc filter show dev ${leaves} egress`, `tc filter show dev ${comes} ingress`],
    ...["nft list ruleset", ...(isIpsec ? [] : [ipsec])],
  ];
}

function evidenceOf({ echo, before, after }: LostEcho): string {
  const { sender, container = "a container", target, grown } = echo;
  const who = sender === "host" ? "this host" : container;
  const whom = sender === "host" && echo.container !== undefined ? container : target;
  const what = after.packet === "request" ? `echoes of ${who} to ${whom}` : `answers of ${whom} to ${who}`;
  const tail = grown.length === 0 ? "" : `; meanwhile: ${grown.join(", ")}`;
  if (before === undefined) return `${what} ${notPassed(after)}: they are lost on this host${tail}`;
  return `${what} ${passed(before)} and ${notPassed(after)}: they are lost on this host between the two${tail}`;
}

function passed({ place, device, direction }: EchoStation): string {
  if (place === "outside") return direction === "out" ? "leave this host" : "come back to this host";
  return direction === "in" ? `come in by ${device}` : `leave by ${device}`;
}

function notPassed({ place, device, direction }: EchoStation): string {
  if (place === "outside") return "do not leave this host";
  return direction === "in" ? `do not come out of ${device}` : `do not leave by ${device}`;
}
