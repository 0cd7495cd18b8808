// For the tests: reads an artifact and preprocesses images in Node, without a browser and without an engine.
//
//     node pixels.mjs MODULE ARTIFACT IMAGE...
//
// MODULE is the compiled library's index.js. For each image one line on standard output: the tensor as hexadecimal bytes
// of float32 in little-endian order, or "error: " and the message. A decoder of JPEG is a part of browsers: in its place
// stands IMAGE.pixels (width and height as 32-bit numbers, then RGB), and what it would get is written to IMAGE.plain.
// Exit codes are those of zoo-predict.
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";

const [module, artifactFolder, ...images] = process.argv.slice(2);
const zoo = await import(pathToFileURL(module).href);

const folder = {
  name: artifactFolder,
  async open(path) {
    const file = join(artifactFolder, path);
    return existsSync(file) ? Readable.toWeb(createReadStream(file)) : undefined;
  },
};

const recorded = (path) => async (data, require) => {
  await writeFile(`${path}.plain`, data);
  const file = await readFile(`${path}.pixels`);
  const [width, height] = [file.readUInt32LE(0), file.readUInt32LE(4)];
  require(width, height);
  return { width, height, pixels: new Uint8Array(file.subarray(8)) };
};

function refused(error) {
  if (!(error instanceof zoo.OnnxzooError)) throw error;
  return error.message;
}

try {
  const artifact = await zoo.readArtifact(folder);
  await zoo.readFile(folder, artifact.model);
  for (const path of images) {
    let line;
    try {
      const rgb = await zoo.decodeImage(new Uint8Array(await readFile(path)), path, recorded(path));
      const tensor = zoo.preprocess(rgb, artifact.preprocess, path);
      line = Buffer.from(tensor.buffer).toString("hex");
    } catch (error) {
      line = `error: ${refused(error)}`;
      process.exitCode = 1;
    }
    process.stdout.write(`${line}\n`);
  }
} catch (error) {
  process.stderr.write(`pixels: error: ${refused(error)}\n`);
  process.exitCode = { InputError: 2, ModelNotFoundError: 3 }[error.name] ?? 1;
}
