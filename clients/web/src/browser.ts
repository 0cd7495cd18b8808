/** Pixels by the browser's decoders, read back through a canvas without any change. */

import type { SizeCheck } from "./decode.js";
import { ImageError } from "./error.js";
import type { RgbImage } from "./pixels.js";
import { straightPixels } from "./webgl.js";

/** Canvases have limits of their own, on a side and on the area; larger images are read in tiles. */
const TILE = 2048;

/**
 * Decodes an image without colour management. Throws what createImageBitmap throws, what `require` throws for its size,
 * and ImageError if the browser changes pixels that a page reads, as protection against fingerprinting does.
 *
 * Without WebGL, the colours of transparent pixels are rounded or lost.
 */
export async function browserPixels(data: Uint8Array<ArrayBuffer>, require: SizeCheck): Promise<RgbImage> {
  const bitmap = await createImageBitmap(new Blob([data]), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  try {
    require(bitmap.width, bitmap.height);
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

/** The pixels of what a canvas can draw, such as a frame of a camera. Throws ImageError as `browserPixels` does. */
export function pixelsOf(bitmap: ImageBitmap): RgbImage {
  const { width, height } = bitmap;
  const pixels = new Uint8Array(width * height * 3);
  const tile = new Tile(Math.min(width, TILE), Math.min(height, TILE));
  for (let top = 0; top < height; top += TILE) {
    for (let left = 0; left < width; left += TILE) {
      const [across, down] = [Math.min(TILE, width - left), Math.min(TILE, height - top)];
      const rgba = tile.read(bitmap, left, top, across, down);
      const straight = isOpaque(rgba) ? undefined : straightPixels(bitmap);
      if (straight !== undefined) {
        copyRgb(straight, pixels, width, width, height, 0);
        return { width, height, pixels };
      }
      copyRgb(rgba, pixels, width, across, down, top * width + left);
    }
  }
  return { width, height, pixels };
}

function isOpaque(rgba: Uint8ClampedArray): boolean {
  for (let at = 3; at < rgba.length; at += 4) if (rgba[at] !== 255) return false;
  return true;
}

/** Copies RGBA of width x height to RGB of rows of `rowPixels`, from pixel `start`. */
function copyRgb(
  rgba: Uint8Array | Uint8ClampedArray,
  rgb: Uint8Array,
  rowPixels: number,
  width: number,
  height: number,
  start: number,
): void {
  for (let row = 0, from = 0; row < height; row++) {
    let to = (start + row * rowPixels) * 3;
    for (let column = 0; column < width; column++, from += 4) {
      rgb[to++] = rgba[from]!;
      rgb[to++] = rgba[from + 1]!;
      rgb[to++] = rgba[from + 2]!;
    }
  }
}

/** A canvas that gives back what was drawn. */
class Tile {
  private readonly context: OffscreenCanvasRenderingContext2D;

  constructor(width: number, height: number) {
    const context = new OffscreenCanvas(width, height).getContext("2d", {
      willReadFrequently: true,
      colorSpace: "srgb",
    });
    if (context === null) throw new ImageError("this browser has no canvas to read pixels from; update it");
    context.imageSmoothingEnabled = false;
    context.globalCompositeOperation = "copy";
    this.context = context;
    requireHonest(context);
  }

  read(bitmap: ImageBitmap, left: number, top: number, width: number, height: number): Uint8ClampedArray {
    this.context.drawImage(bitmap, -left, -top);
    return this.context.getImageData(0, 0, width, height).data;
  }
}

/** Throws ImageError if the canvas does not give back a known pattern. */
function requireHonest(context: OffscreenCanvasRenderingContext2D): void {
  const [width, height] = [Math.min(context.canvas.width, 64), Math.min(context.canvas.height, 64)];
  const pattern = context.createImageData(width, height);
  pattern.data.forEach((_, at) => (pattern.data[at] = at % 4 === 3 ? 255 : (at * 89) & 255));
  context.putImageData(pattern, 0, 0);
  const found = context.getImageData(0, 0, width, height).data;
  if (!found.every((value, at) => value === pattern.data[at])) {
    throw new ImageError(
      "this browser changes the pixels that a page reads (protection against fingerprinting), so the answer would not " +
        "be the model's; allow this page to read canvas data",
    );
  }
}
