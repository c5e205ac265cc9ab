// The one file that knows the X.509 library: makes certificates and signing requests, and reads the latter. It is loaded
// only when one is made. Keys, signatures and all checking are Node's. Keys are ECDSA on P-256, nothing else.
import {
  createHash,
  createPublicKey,
  type KeyObject,
  randomBytes,
  sign,
  verify,
  type X509Certificate,
} from "node:crypto";
import { Attributes, CertificationRequest, CertificationRequestInfo } from "@peculiar/asn1-csr";
import { AsnConvert, OctetString } from "@peculiar/asn1-schema";
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  ExtendedKeyUsage,
  Extension,
  Extensions,
  GeneralName,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectAlternativeName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
} from "@peculiar/asn1-x509";
import { FlannelError } from "../../errors.ts";
import { tryParseAddress } from "../../ip/address.ts";
import { isUsableKey } from "./keys.ts";

export interface CertificateOrder {
  readonly kind: "authority" | "server" | "client";
  readonly commonName: string;
  readonly organization: string;
  readonly publicKey: KeyObject;
  /** Names and addresses it is good for; an authority has none. */
  readonly alternativeNames: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export interface Signer {
  readonly key: KeyObject;
  /** Missing: the certificate signs itself. */
  readonly certificate?: X509Certificate;
}

/** Longer than any that asks for a P-256 key and one name. */
const MAX_REQUEST_BYTES = 4_096;

const oid = {
  commonName: "2.5.4.3",
  organization: "2.5.4.10",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  basicConstraints: "2.5.29.19",
  keyUsage: "2.5.29.15",
  extendedKeyUsage: "2.5.29.37",
  alternativeName: "2.5.29.17",
  subjectKeyIdentifier: "2.5.29.14",
  authorityKeyIdentifier: "2.5.29.35",
  server: "1.3.6.1.5.5.7.3.1",
  client: "1.3.6.1.5.5.7.3.2",
} as const;

/** PEM. */
export function makeCertificate(order: CertificateOrder, signer: Signer): string {
  const publicKeyInfo = publicKeyInfoOf(order.publicKey);
  const issuer = signer.certificate && AsnConvert.parse(signer.certificate.raw, Certificate).tbsCertificate;
  const subject = nameOf(order);
  const body = new TBSCertificate({
    version: 2,
    serialNumber: newSerialNumber(),
    signature: signatureAlgorithm(),
    issuer: issuer?.subject ?? subject,
    validity: new Validity({ notBefore: wholeSeconds(order.notBefore), notAfter: wholeSeconds(order.notAfter) }),
    subject,
    subjectPublicKeyInfo: publicKeyInfo,
    extensions: extensionsOf(order, publicKeyInfo, issuer?.subjectPublicKeyInfo ?? publicKeyInfo),
  });
  const certificate = new Certificate({
    tbsCertificate: body,
    signatureAlgorithm: signatureAlgorithm(),
    signatureValue: signatureOf(AsnConvert.serialize(body), signer.key),
  });
  return toPem(AsnConvert.serialize(certificate));
}

/** PKCS #10 in DER. The name in it is for people who look at it: who signs decides on the name. */
export function makeSigningRequest(privateKey: KeyObject, commonName: string): Buffer {
  const info = new CertificationRequestInfo({
    subject: nameOf({ commonName }),
    subjectPKInfo: publicKeyInfoOf(createPublicKey(privateKey)),
    attributes: new Attributes(),
  });
  const request = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm: signatureAlgorithm(),
    signature: signatureOf(AsnConvert.serialize(info), privateKey),
  });
  return Buffer.from(AsnConvert.serialize(request));
}

/**
 * The key a signing request asks for, when its owner signed it. The bytes come from outside. Throws `CONFIG_INVALID` and
 * nothing else.
 */
export function readSigningRequest(der: Uint8Array): KeyObject {
  try {
    if (der.length > MAX_REQUEST_BYTES) throw new RangeError(`it is longer than ${MAX_REQUEST_BYTES} bytes`);
    const request = AsnConvert.parse(der, CertificationRequest);
    const { certificationRequestInfo: info, certificationRequestInfoRaw: signed } = request;
    if (signed === undefined || request.signatureAlgorithm.algorithm !== oid.ecdsaWithSha256) {
      throw new RangeError("it is not signed with ECDSA and SHA-256");
    }
    const key = createPublicKey({
      key: Buffer.from(AsnConvert.serialize(info.subjectPKInfo)),
      format: "der",
      type: "spki",
    });
    if (!isUsableKey(key)) throw new RangeError("its key is not an ECDSA key on P-256");
    if (!verify("sha256", Buffer.from(signed), key, Buffer.from(request.signature))) {
      throw new RangeError("its signature is not that of its key");
    }
    return key;
  } catch (cause) {
    const reason = cause instanceof RangeError ? cause.message : "it is not a PKCS #10 request in DER form";
    throw new FlannelError("CONFIG_INVALID", `the signing request cannot be used: ${reason}`);
  }
}

function extensionsOf(order: CertificateOrder, own: SubjectPublicKeyInfo, issuer: SubjectPublicKeyInfo): Extensions {
  const { kind, alternativeNames } = order;
  const isAuthority = kind === "authority";
  const usage = isAuthority ? KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign : KeyUsageFlags.digitalSignature;
  const constraints = isAuthority ? new BasicConstraints({ cA: true, pathLenConstraint: 0 }) : new BasicConstraints();
  const extensions = [
    extension(oid.basicConstraints, constraints, true),
    extension(oid.keyUsage, new KeyUsage(usage), true),
    extension(oid.subjectKeyIdentifier, new SubjectKeyIdentifier(keyIdentifier(own))),
    extension(
      oid.authorityKeyIdentifier,
      new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(keyIdentifier(issuer)) }),
    ),
  ];
  if (isAuthority) return new Extensions(extensions);
  extensions.push(extension(oid.extendedKeyUsage, new ExtendedKeyUsage([oid[kind]])));
  const names = new SubjectAlternativeName(alternativeNames.map(generalName));
  if (names.length > 0) extensions.push(extension(oid.alternativeName, names));
  return new Extensions(extensions);
}

function extension(extnID: string, value: object, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

function generalName(text: string): GeneralName {
  return new GeneralName(tryParseAddress(text) === undefined ? { dNSName: text } : { iPAddress: text });
}

function nameOf({ commonName, organization }: { commonName: string; organization?: string }): Name {
  const part = (type: string, utf8String: string) =>
    new RelativeDistinguishedName([new AttributeTypeAndValue({ type, value: new AttributeValue({ utf8String }) })]);
  return new Name([
    ...(organization === undefined ? [] : [part(oid.organization, organization)]),
    part(oid.commonName, commonName),
  ]);
}

function publicKeyInfoOf(key: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(key.export({ type: "spki", format: "der" }), SubjectPublicKeyInfo);
}

/** RFC 7093: 160 bits of SHA-256 over the key. */
function keyIdentifier({ subjectPublicKey }: SubjectPublicKeyInfo): Buffer {
  return createHash("sha256").update(Buffer.from(subjectPublicKey)).digest().subarray(0, 20);
}

function signatureAlgorithm(): AlgorithmIdentifier {
  return new AlgorithmIdentifier({ algorithm: oid.ecdsaWithSha256 });
}

function signatureOf(bytes: ArrayBuffer, key: KeyObject): ArrayBuffer {
  return arrayBuffer(sign("sha256", Buffer.from(bytes), key));
}

/** 16 random bytes, positive and of full length, so that they look the same everywhere. */
function newSerialNumber(): ArrayBuffer {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return arrayBuffer(bytes);
}

function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}

function wholeSeconds(date: Date): Date {
  return new Date(Math.floor(date.getTime() / 1_000) * 1_000);
}

function toPem(der: ArrayBuffer): string {
  const lines = Buffer.from(der)
    .toString("base64")
    .replaceAll(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}
