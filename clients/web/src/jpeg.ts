/**
 * JPEG images: the browser decodes the pixels, everything else is done here.
 *
 * The browser gets a copy without metadata and colour profile, so that it neither turns the image nor changes its
 * colours; a file that is cut short, which browsers show in part, is refused before.
 */

import { joined, latin1 } from "./bytes.js";
import { ImageError } from "./error.js";
import { orientationOf } from "./orientation.js";

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP1 = 0xe1;
const COMMENT = 0xfe;
const MAX_SCANS = 500;
const EXIF = "Exif\0\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0";

/** `bytes`: the image without its metadata. `orientation`: of its EXIF or XMP data, 0 without one. */
export interface PlainJpeg {
  readonly width: number;
  readonly height: number;
  readonly orientation: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export function isJpeg(data: Uint8Array): boolean {
  return data[0] === 0xff && data[1] === SOI && data[2] === 0xff;
}

function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

/** APP1 holds metadata, APP2 colour profiles; APP0 and APP14 say how colours are stored. */
function isMetadata(marker: number): boolean {
  return marker === COMMENT || (marker >= APP1 && marker <= 0xef && marker !== 0xee);
}

/** Reads the segments of a JPEG. Throws ImageError, which names the image, if it is damaged or incomplete. */
export function plainJpeg(data: Uint8Array, name: string): PlainJpeg {
  const reader = new SegmentReader(data, (reason) => {
    throw new ImageError(`${name} is damaged or incomplete: ${reason}; get or save it again`);
  });
  return reader.read();
}

class SegmentReader {
  private readonly kept: Uint8Array[] = [Uint8Array.of(0xff, SOI)];
  private exif: Uint8Array | undefined;
  private xmp = "";
  private size: { width: number; height: number } | undefined;
  private scans = 0;
  private at = 2;

  constructor(
    private readonly data: Uint8Array,
    private readonly fail: (reason: string) => never,
  ) {}

  read(): PlainJpeg {
    for (let marker = this.marker(); marker !== EOI; marker = this.marker()) {
      const start = this.at - 2;
      const end = this.at + this.word(this.at);
      if (end < this.at + 2 || end > this.data.length) this.fail("a segment ends beyond the file");
      const body = this.data.subarray(this.at + 2, end);
      this.at = end;
      if (marker === APP1) this.keepMetadata(body);
      if (isFrame(marker)) this.frame(body);
      if (marker === SOS) this.skipScan();
      if (!isMetadata(marker)) this.kept.push(this.data.subarray(start, this.at));
    }
    if (this.size === undefined || this.scans === 0) this.fail("it has no image data");
    this.kept.push(Uint8Array.of(0xff, EOI));
    const bytes = joined(this.kept);
    return { ...this.size, orientation: orientationOf(this.exif, this.xmp), bytes };
  }

  private word(at: number): number {
    return (this.data[at]! << 8) | this.data[at + 1]!;
  }

  /** The next marker, before which fill bytes may stand. */
  private marker(): number {
    for (;;) {
      while (this.at < this.data.length && this.data[this.at] !== 0xff) this.at++;
      while (this.data[this.at] === 0xff) this.at++;
      const marker = this.data[this.at++];
      if (marker === undefined) this.fail("it ends before its end marker");
      if (marker !== 0) return marker;
    }
  }

  private frame(body: Uint8Array): void {
    if (body.length < 6) this.fail("its header is too short");
    const [precision, components] = [body[0]!, body[5]!];
    if (precision !== 8) this.fail(`cannot handle ${precision}-bit layers`);
    if (![1, 3, 4].includes(components)) this.fail(`cannot handle ${components}-layer images`);
    this.size = { height: (body[1]! << 8) | body[2]!, width: (body[3]! << 8) | body[4]! };
  }

  /** Passes the compressed data, in which 0xFF is followed by 0 or a restart marker. */
  private skipScan(): void {
    if (++this.scans > MAX_SCANS) this.fail(`it has more than ${MAX_SCANS} scans`);
    const { data } = this;
    for (; this.at + 1 < data.length; this.at++) {
      if (data[this.at] !== 0xff) continue;
      const next = data[this.at + 1]!;
      if (next !== 0 && next !== 0xff && !(next >= 0xd0 && next <= 0xd7)) return;
    }
    this.fail("it ends before its end marker");
  }

  private keepMetadata(body: Uint8Array): void {
    const head = latin1(body.subarray(0, XMP.length));
    if (head.startsWith(EXIF)) {
      // Long metadata comes in several parts.
      this.exif = this.exif === undefined ? body : joined([this.exif, body.subarray(EXIF.length)]);
    } else if (head === XMP) {
      this.xmp = latin1(body.subarray(XMP.length));
    }
  }
}
