// Stands before moto and adds what it lacks of EC2: permissions, credentials that expire, throttling, quotas, and lists
// that are older than what was written. Written from the public documents of the EC2 API.
import { HttpStandIn, type StandInAnswer, type StandInCertificate, type StandInRequest } from "./http-stand-in.ts";

export interface Ec2Call {
  readonly action: string;
  readonly parameters: URLSearchParams;
  readonly accessKeyId: string;
}

export interface Ec2Fault {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** The fault that meets a call, if any. */
export type Ec2Rule = (call: Ec2Call) => Ec2Fault | undefined | Promise<Ec2Fault | undefined>;

export class Ec2Front implements AsyncDisposable {
  readonly calls: Ec2Call[] = [];
  /** Asked in turn; the first fault counts. */
  readonly rules = new Set<Ec2Rule>();
  /** Changes an answer on its way back. */
  rewrite: (call: Ec2Call, xml: string) => string = (_, xml) => xml;
  readonly #backend: string;
  #server: HttpStandIn | undefined;
  #secure: HttpStandIn | undefined;

  private constructor(backend: string) {
    this.#backend = backend;
  }

  /** `certificate`: for `address`, at which it answers by HTTPS, too. */
  static async start(backend: string, address: string, certificate: StandInCertificate): Promise<Ec2Front> {
    const front = new Ec2Front(backend);
    const answer = (request: StandInRequest) => front.#answer(request);
    front.#server = await HttpStandIn.start(answer, address);
    front.#secure = await HttpStandIn.start(answer, address, 0, certificate);
    return front;
  }

  get url(): string {
    return this.#server?.url ?? "";
  }

  get secureUrl(): string {
    return this.#secure?.url ?? "";
  }

  /** The rule is in force until the result is disposed. */
  with(rule: Ec2Rule): Disposable {
    this.rules.add(rule);
    return { [Symbol.dispose]: () => this.rules.delete(rule) };
  }

  /** Names of the calls since the `from`th. */
  actionsSince(from: number): readonly string[] {
    return this.calls.slice(from).map(({ action }) => action);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await this.#secure?.[Symbol.asyncDispose]();
  }

  async #answer({ headers, body }: StandInRequest): Promise<StandInAnswer> {
    const parameters = new URLSearchParams(body);
    const accessKeyId = /Credential=([^/]+)\//.exec(headers.authorization ?? "")?.[1] ?? "";
    const call = { action: parameters.get("Action") ?? "", parameters, accessKeyId };
    this.calls.push(call);
    for (const rule of this.rules) {
      const fault = await rule(call);
      if (fault !== undefined)
        return { status: fault.status, body: errorXml(fault), headers: { "content-type": "text/xml" } };
    }
    const passed = Object.fromEntries(
      Object.entries(headers).filter(([name]) => ["authorization", "content-type", "x-amz-date"].includes(name)),
    ) as Record<string, string>;
    const answer = await fetch(this.#backend, { method: "POST", headers: passed, body });
    return {
      status: answer.status,
      body: this.rewrite(call, await answer.text()),
      headers: { "content-type": "text/xml" },
    };
  }
}

function errorXml({ code, message }: Ec2Fault): string {
  const error = `<Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  return `<?xml version="1.0"?><Response><Errors>${error}</Errors><RequestID>lab</RequestID></Response>`;
}

export function denied(action: string): Ec2Rule {
  const message = `You are not authorized to perform this operation. Encoded authorization failure message: ${"x".repeat(300)}`;
  return (call) => (call.action === action ? { status: 403, code: "UnauthorizedOperation", message } : undefined);
}
