// A check: which facts it needs, what it takes for trouble, how it words the trouble and what ends it. Pure.
import type { HostNeeds } from "../backend/backend.ts";
import type { Prefix } from "../ip/address.ts";
import type { ExternalInterface, FamilySet } from "../underlay/external-interface.ts";
import type { Finding, FindingName } from "./finding.ts";
import type { FixStep } from "./fix-step.ts";
import type { FactName, HostFacts } from "./host-facts.ts";

/** What we are about to do on this host. */
export interface CheckContext {
  readonly families: FamilySet;
  readonly networks: readonly Prefix[];
  /** Our own lease: what lies in it (the bridge of the containers) belongs there. */
  readonly ownSubnets: readonly Prefix[];
  /** Of earlier leases of this host. */
  readonly earlierSubnets: readonly Prefix[];
  readonly externalInterface: ExternalInterface;
  /** Our devices; empty for backends without. */
  readonly devices: readonly string[];
  /** Devices of others behind which containers of this host are, as far as known: bridges. */
  readonly insideDevices?: readonly string[];
  /** Packets of peers also arrive, or only arrive, by the external interface itself. */
  readonly usesExternalDirectly?: boolean;
  /** Largest packet between containers, of the family with less room. */
  readonly overlayMtuBytes: number;
  /** What the backend asks of the host. */
  readonly needs: HostNeeds;
}

/** As a check is written. `Trouble` is what it hands from `check` to the wording. */
export interface CheckDefinition<Need extends FactName, Trouble> {
  readonly name: FindingName;
  readonly severity: Finding["severity"] | ((trouble: Trouble, context: CheckContext) => Finding["severity"]);
  /** Facts that are gathered for it. */
  readonly needs: readonly Need[];
  /** Default: always. */
  appliesTo?(context: CheckContext): boolean;
  /** One entry for each finding; empty when all is well. */
  check(context: CheckContext, facts: Pick<HostFacts, Need>): readonly Trouble[];
  evidence(trouble: Trouble, context: CheckContext): string;
  remedy(trouble: Trouble, context: CheckContext): string;
  /** See `Finding`; only of causes whose `fix` is not `no`. */
  fix?(trouble: Trouble, context: CheckContext): readonly FixStep[];
  /** See `Finding`. */
  readonly isPartial?: true;
}

/** As a check is run. */
export interface Check {
  readonly name: FindingName;
  readonly needs: readonly FactName[];
  appliesTo(context: CheckContext): boolean;
  /** `facts` holds at least what the check needs. */
  run(context: CheckContext, facts: HostFacts): readonly Finding[];
}

export function defineCheck<Need extends FactName, Trouble>(definition: CheckDefinition<Need, Trouble>): Check {
  const { name, severity, needs } = definition;
  return {
    name,
    needs,
    appliesTo: (context) => definition.appliesTo?.(context) ?? true,
    run: (context, facts) =>
      definition.check(context, facts).map((trouble) => {
        const fix = definition.fix?.(trouble, context) ?? [];
        return {
          name,
          severity: typeof severity === "string" ? severity : severity(trouble, context),
          evidence: definition.evidence(trouble, context),
          remedy: definition.remedy(trouble, context),
          ...(fix.length > 0 && { fix }),
          ...(definition.isPartial === true && { isPartial: true as const }),
        };
      }),
  };
}

export function carriesTraffic(context: CheckContext): boolean {
  return context.needs.carriesTraffic;
}

/** UDP port to which packets of the tunnel go; undefined: they are no UDP. */
export function tunnelPortOf({ needs }: CheckContext): number | undefined {
  return needs.kernelDevice?.udpPort ?? needs.udpPort;
}

/** By which IPv4 packets from and to containers arrive on this host. */
export function incomingDevices(context: CheckContext): readonly string[] {
  const { devices, insideDevices = [], externalInterface, usesExternalDirectly = devices.length === 0 } = context;
  return [...devices, ...insideDevices, ...(usesExternalDirectly ? [externalInterface.name] : [])];
}
