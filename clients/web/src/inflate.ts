/** Decompression by the platform (Compression Streams), with a limit on what comes out. */

import { joined } from "./bytes.js";

/** Compressed data is damaged or larger than allowed; the message is one line. */
export class InflateError extends Error {}

/** The pieces of what `data` decompresses to. Throws InflateError where it is damaged or does not end. */
export async function* inflated(
  data: readonly Uint8Array[],
  format: "deflate" | "deflate-raw",
): AsyncGenerator<Uint8Array> {
  const source = new ReadableStream<BufferSource>({
    start(controller) {
      for (const part of data) controller.enqueue(part as Uint8Array<ArrayBuffer>);
      controller.close();
    },
  });
  const reader = source.pipeThrough(new DecompressionStream(format)).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch {
    throw new InflateError("its compressed data is damaged or incomplete");
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** All of what `data` decompresses to, at most `most` bytes. Throws InflateError if it is damaged or more. */
export async function inflatedWhole(
  data: Uint8Array,
  format: "deflate" | "deflate-raw",
  most: number,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let total = 0;
  for await (const part of inflated([data], format)) {
    total += part.length;
    if (total > most) throw new InflateError(`it has more than ${most} bytes`);
    parts.push(part);
  }
  return joined(parts);
}
