// Stands for the metadata service of EC2, version 2 (IMDSv2): who an instance is, and the credentials of its role. Written
// from AWS's public documents.
import { HttpStandIn, type StandInAnswer, type StandInRequest } from "./http-stand-in.ts";

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secret: string;
  readonly token: string;
  readonly expiresAt: Date;
}

export class AwsMetadata implements AsyncDisposable {
  /** As read by whoever asks next. */
  credentials: AwsCredentials;
  /** It answers that it does not work. */
  isAway = false;
  /** Says no to requests without a token, as an instance that demands version 2. */
  refused = 0;
  readonly #instanceId: string;
  readonly #region: string;
  #server: HttpStandIn | undefined;

  private constructor(instanceId: string, region: string, credentials: AwsCredentials) {
    this.#instanceId = instanceId;
    this.#region = region;
    this.credentials = credentials;
  }

  static async start(
    instance: { readonly id: string; readonly region: string; readonly credentials: AwsCredentials },
    address: string,
    port: number,
  ): Promise<AwsMetadata> {
    const metadata = new AwsMetadata(instance.id, instance.region, instance.credentials);
    metadata.#server = await HttpStandIn.start((request) => metadata.#answer(request), address, port);
    return metadata;
  }

  get url(): string {
    return this.#server?.url ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
  }

  #answer({ method, url, headers }: StandInRequest): StandInAnswer {
    if (this.isAway) return { status: 503, body: "" };
    const text = (body: string) => ({ status: 200, body });
    if (url.pathname === "/latest/api/token") {
      const isGood = method === "PUT" && headers["x-aws-ec2-metadata-token-ttl-seconds"] !== undefined;
      return isGood ? text("lab-token") : { status: 405, body: "" };
    }
    if (headers["x-aws-ec2-metadata-token"] !== "lab-token") {
      this.refused++;
      return { status: 401, body: "" };
    }
    switch (url.pathname.replace("/latest/meta-data/", "")) {
      case "instance-id":
        return text(this.#instanceId);
      case "placement/region":
        return text(this.#region);
      case "iam/security-credentials/":
        return text("flannel");
      case "iam/security-credentials/flannel":
        return text(this.#credentialsText());
      default:
        return { status: 404, body: "" };
    }
  }

  #credentialsText(): string {
    const { accessKeyId, secret, token, expiresAt } = this.credentials;
    return JSON.stringify({
      Code: "Success",
      Type: "AWS-HMAC",
      LastUpdated: new Date().toISOString(),
      AccessKeyId: accessKeyId,
      SecretAccessKey: secret,
      Token: token,
      Expiration: expiresAt.toISOString(),
    });
  }
}
