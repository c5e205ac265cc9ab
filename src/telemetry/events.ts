// The registry of log events: every line of the log has one of these names. People grep for them and tests wait for
// them, so a name stays what it is. docs/troubleshooting.md lists them (scripts/generate-troubleshooting-docs.ts).
import { agentEvents } from "./events/agent-events.ts";
import { cloudEvents } from "./events/cloud-events.ts";
import type { LogLevel } from "./events/definition.ts";
import { hostEvents } from "./events/host-events.ts";
import { ipsecEvents } from "./events/ipsec-events.ts";
import { networkEvents } from "./events/network-events.ts";
import { probeEvents } from "./events/probe-events.ts";
import { storeEvents } from "./events/store-events.ts";

export const logEvents = {
  ...agentEvents,
  ...cloudEvents,
  ...networkEvents,
  ...storeEvents,
  ...hostEvents,
  ...ipsecEvents,
  ...probeEvents,
};

type Events = typeof logEvents;
export type LogEvent = keyof Events;

/** The events that may be logged at a level. */
export type EventAt<Level extends LogLevel> = {
  [Name in LogEvent]: Level extends Events[Name]["levels"][number] ? Name : never;
}[LogEvent];

/** An event of a failure that is retried; when it succeeds after all, `<event>.recovered` says so. */
export type RetryEvent = {
  [Name in EventAt<"warn">]: `${Name}.recovered` extends EventAt<"info"> ? Name : never;
}[EventAt<"warn">];
