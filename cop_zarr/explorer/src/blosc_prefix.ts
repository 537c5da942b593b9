/** The first blocks of a Blosc frame as a frame of their own: a part of an object can be decoded. */

const HEADER_BYTES = 16;
const STORED = 2; // flag: the values lie there as they are

/** Where in a frame the first `decodedBytes` end; undefined if the frame's beginning doesn't tell. */
export function prefixEnd(frame: Uint8Array, decodedBytes: number): number | undefined {
  if (frame.length < HEADER_BYTES) return undefined;
  const { view, blocks, kept, stored } = layout(frame, decodedBytes);
  if (stored) return HEADER_BYTES + decodedBytes;
  if (kept === blocks) return view.getUint32(12, true);
  const entry = HEADER_BYTES + 4 * kept;
  return frame.length < entry + 4 ? undefined : view.getUint32(entry, true);
}

/** The frame of the blocks that hold the first `decodedBytes`; `frame` reaches to `prefixEnd` at least. */
export function prefixFrame(frame: Uint8Array, decodedBytes: number): Uint8Array {
  const { view, blocks, kept, blockSize, stored } = layout(frame, decodedBytes);
  if (kept === blocks && !stored) return frame;
  const end = prefixEnd(frame, decodedBytes)!;
  const [starts, shift] = stored ? [0, 0] : [4 * kept, 4 * (blocks - kept)];
  const found = new Uint8Array(end - shift);
  const out = new DataView(found.buffer);
  found.set(frame.subarray(0, HEADER_BYTES));
  found.set(frame.subarray(HEADER_BYTES + starts + shift, end), HEADER_BYTES + starts);
  for (let at = HEADER_BYTES; at < HEADER_BYTES + starts; at += 4)
    out.setUint32(at, view.getUint32(at, true) - shift, true);
  out.setUint32(4, stored ? decodedBytes : kept * blockSize, true);
  out.setUint32(12, found.length, true);
  return found;
}

function layout(frame: Uint8Array, decodedBytes: number) {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const [flags, bytes, blockSize] = [view.getUint8(2), view.getUint32(4, true), view.getUint32(8, true)];
  const blocks = Math.ceil(bytes / blockSize);
  const kept = Math.min(blocks, Math.ceil(decodedBytes / blockSize));
  return { view, blocks, kept, blockSize, stored: (flags & STORED) !== 0 };
}
