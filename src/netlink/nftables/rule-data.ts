// A value or a verdict, as rules and elements of sets hold them. Pure; input is hostile.
import type { AttributeReader } from "../attribute-reader.ts";
import { nftaData, nftaVerdict, nftVerdict } from "../uapi.ts";
import type { RuleVerdict } from "./expressions.ts";

/** NFTA_DATA_*. The bytes are a copy. */
export function readData(view: DataView, reader: AttributeReader): { value?: Uint8Array; verdict?: RuleVerdict } {
  while (reader.next()) {
    const [start, end] = reader.bounds();
    if (reader.type === nftaData.value) {
      return { value: new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice() };
    }
    if (reader.type === nftaData.verdict) return { verdict: readVerdict(reader.nested()) };
  }
  return {};
}

function readVerdict(reader: AttributeReader): RuleVerdict {
  let code: number | undefined;
  let chain = "";
  while (reader.next()) {
    if (reader.type === nftaVerdict.code) code = (reader.u32BigEndian() ?? 0) | 0;
    else if (reader.type === nftaVerdict.chain) chain = reader.text();
  }
  switch (code) {
    case nftVerdict.accept:
      return { type: "accept" };
    case nftVerdict.drop:
      return { type: "drop" };
    case nftVerdict.return:
      return { type: "return" };
    case nftVerdict.continue:
    case nftVerdict.break:
      return { type: "continue" };
    case nftVerdict.jump:
      return { type: "jump", chain };
    case nftVerdict.goto:
      return { type: "goto", chain };
    default:
      return { type: "unknown" };
  }
}
