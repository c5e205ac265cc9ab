// Takes datagrams apart into messages and acknowledgements. Pure; input is hostile.
import { AttributeReader } from "./attribute-reader.ts";
import { nlm, nlmsg, nlmsgErrorAttribute } from "./uapi.ts";

/** Reads the payload between `start` and `end`; undefined when it is not such an object or cannot be read. */
export type Decode<T> = (view: DataView, start: number, end: number) => T | undefined;

/** Header of a message and where its payload lies in the datagram. */
export interface MessageFrame {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly start: number;
  readonly end: number;
}

/** The messages of a datagram of `length` bytes; ends at the first header that does not fit. */
export function* messagesIn(view: DataView, length: number): Generator<MessageFrame, void, undefined> {
  for (let at = 0; at + nlmsg.headerBytes <= length; ) {
    const messageLength = view.getUint32(at, true);
    const end = at + messageLength;
    if (messageLength < nlmsg.headerBytes || end > length) return;
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      start: at + nlmsg.headerBytes,
      end,
    };
    at = (end + 3) & ~3;
  }
}

/** What NLMSG_ERROR (also with errno 0: an acknowledgement) and NLMSG_DONE say. */
export interface Acknowledgement {
  /** Positive; 0 = success. */
  readonly errno: number;
  /** The kernel's own words (NLMSGERR_ATTR_MSG). */
  readonly kernelText?: string;
  /** Offset of the offending attribute from the start of the request (NLMSGERR_ATTR_OFFS). */
  readonly offset?: number;
}

/** `frame` must be of type NLMSG_ERROR or NLMSG_DONE. */
export function decodeAcknowledgement(view: DataView, frame: MessageFrame): Acknowledgement {
  const { start, end } = frame;
  // A truncated one is no success: EPROTO.
  if (start + 4 > end) return { errno: frame.type === nlmsg.done ? 0 : 71 };
  const errno = Math.max(0, -view.getInt32(start, true));
  if ((frame.flags & nlm.ackAttributes) === 0) return { errno };
  const found: { errno: number; kernelText?: string; offset?: number } = { errno };
  const reader = new AttributeReader(view, attributesStart(view, frame), end);
  while (reader.next()) {
    if (reader.type === nlmsgErrorAttribute.message) found.kernelText = reader.text();
    else if (reader.type === nlmsgErrorAttribute.offset) found.offset = reader.u32() ?? 0;
  }
  return found;
}

/** After the errno; in NLMSG_ERROR also after the echo of the request, which is its header alone when capped. */
function attributesStart(view: DataView, frame: MessageFrame): number {
  const afterErrno = frame.start + 4;
  if (frame.type === nlmsg.done) return afterErrno;
  if ((frame.flags & nlm.capped) !== 0 || afterErrno + 4 > frame.end) return afterErrno + nlmsg.headerBytes;
  return afterErrno + (((view.getUint32(afterErrno, true) + 3) & ~3) >>> 0);
}
