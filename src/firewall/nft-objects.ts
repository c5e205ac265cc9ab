// The objects of a large `nft -j` listing one by one, so that whoever reads them can let other work pass. Pure.
import { FlannelError } from "../errors.ts";
import { tryParseJson } from "../json/try-parse-json.ts";

const [QUOTE, BACKSLASH, OPEN, CLOSE] = ['"', "\\", "{", "}"].map((mark) => mark.charCodeAt(0));

/** Throws `FIREWALL_UNREADABLE` where the text is not a whole listing: half a listing is none. */
export function* nftObjects(json: string): Generator<unknown, void, undefined> {
  const start = json.indexOf("[");
  if (!/^\s*\{\s*"nftables"\s*:\s*\[/.test(json) || !/\]\s*\}\s*$/.test(json)) throw unreadable(json);
  let depth = 0;
  let from = 0;
  let isText = false;
  for (let at = start; at < json.length; at++) {
    const mark = json.charCodeAt(at);
    if (mark === QUOTE) isText = !isText;
    else if (isText && mark === BACKSLASH) at++;
    else if (!isText && mark === OPEN && depth++ === 0) from = at;
    else if (!isText && mark === CLOSE && --depth === 0) {
      const object = tryParseJson(json.slice(from, at + 1));
      if (object === undefined) throw unreadable(json.slice(from));
      yield object;
    }
  }
}

function unreadable(text: string): FlannelError {
  const shown = JSON.stringify(text.slice(0, 60));
  return new FlannelError("FIREWALL_UNREADABLE", `nft printed something else than a JSON listing: ${shown}`, {
    retryable: true,
  });
}
