/** An artifact: its config.json, checked field by field, and the files that it announces. */

import { ArtifactError, escaped, InputError } from "./error.js";
import { FieldError, Fields } from "./fields.js";
import { type Json, JsonNumber, parseJson } from "./json.js";

export const SCHEMA_VERSION = 1;
export const CONFIG_FILE = "config.json";
export const CONFORMANCE_FILE = "conformance.npz";
export const MAX_CONFIG_BYTES = 2 * 2 ** 20;
const MAX_IMAGE_SIZE = 16384;
const MAX_CLASSES = 100_000;
const MAX_FILES = 256;
const MAX_FILE_BYTES = 2 ** 31;
const MAX_PATH_BYTES = 255;
const INTERPOLATIONS = ["nearest", "bilinear", "bicubic", "lanczos"] as const;

export type Interpolation = (typeof INTERPOLATIONS)[number];

/**
 * Evaluation preprocessing of an RGB image: the short side resized to `resizeSize`, the centre square of `cropSize`,
 * then (value / 255 - mean) / std per channel in the order R, G, B.
 */
export interface Preprocess {
  readonly resizeSize: number;
  readonly cropSize: number;
  readonly interpolation: Interpolation;
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** A file's entry in config.json: path relative to the folder, SHA-256 in lower-case hexadecimal, size in bytes. */
export interface ArtifactFile {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** What config.json says. `labels[i]` names class i; `model` is the fp32 ONNX file; `conformance` may be missing. */
export interface Artifact {
  readonly folder: string;
  readonly name: string;
  readonly imageSize: number;
  readonly preprocess: Preprocess;
  readonly labels: readonly string[];
  readonly model: ArtifactFile;
  readonly conformance: ArtifactFile | undefined;
}

/**
 * Parses the bytes of a config.json; `folder` is for messages.
 *
 * Throws ArtifactError if it is malformed, unsafe or of a newer schema, InputError if there is no fp32 model.
 */
export function parseArtifact(folder: string, bytes: Uint8Array): Artifact {
  const path = `${folder}/${CONFIG_FILE}`;
  if (bytes.length > MAX_CONFIG_BYTES) throw new ArtifactError(`${path} has more than ${MAX_CONFIG_BYTES} bytes`);
  let document: Json;
  try {
    document = parseJson(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new ArtifactError(`${path} cannot be read: ${error.message}; export or download the model again`);
  }
  const version = document instanceof Map ? document.get("schema_version") : undefined;
  if (version === undefined) {
    throw new ArtifactError(`${path} is not an onnxzoo artifact: it has no schema_version; another tool wrote it`);
  }
  if (version instanceof JsonNumber && version.whole && version.value > SCHEMA_VERSION) {
    throw new ArtifactError(
      `${path} has schema version ${version.value}, this page reads up to ${SCHEMA_VERSION}; use a newer one`,
    );
  }
  try {
    return parsedConfig(folder, new Fields(document));
  } catch (error) {
    if (!(error instanceof FieldError)) throw error;
    throw new ArtifactError(`${path} is malformed: ${error.message}`);
  }
}

function parsedConfig(folder: string, config: Fields): Artifact {
  config.whole("schema_version", 1, SCHEMA_VERSION);
  const name = config.text("name", 1);
  config.text("model_type");
  config.object("architecture");
  const preprocess = parsedPreprocess(config.object("preprocess"));
  const imageSize = config.whole("image_size", 1, MAX_IMAGE_SIZE);
  if (imageSize !== preprocess.cropSize) {
    throw new FieldError(`image_size must equal crop_size ${preprocess.cropSize}, got ${imageSize}`);
  }
  const labels = parsedLabels(config.object("id2label"));
  if (config.values.has("num_classes")) config.whole("num_classes", labels.length, labels.length);
  const files = parsedFiles(config.object("files"));
  const model = files.models.get("fp32");
  if (model === undefined) throw new InputError(`${name} has no 'fp32' model; browsers run no other precision here`);
  return { folder, name, imageSize, preprocess, labels, model, conformance: files.others.get(CONFORMANCE_FILE) };
}

function parsedPreprocess(values: Fields): Preprocess {
  const resizeSize = values.whole("resize_size", 1, MAX_IMAGE_SIZE);
  const cropSize = values.whole("crop_size", 1, resizeSize);
  const filter = values.text("interpolation");
  const interpolation = INTERPOLATIONS.find((one) => one === filter);
  if (interpolation === undefined) {
    const expected = "nearest, bilinear, bicubic or lanczos";
    throw new FieldError(`interpolation must be ${expected}, got '${filter.slice(0, 60)}'`);
  }
  const [mean, std] = [values.triple("mean"), values.triple("std")];
  if (!std.every((one) => one > 0)) throw new FieldError("std must have 3 positive values (R, G, B)");
  return { resizeSize, cropSize, interpolation, mean, std };
}

function parsedLabels(id2label: Fields): string[] {
  const count = id2label.values.size;
  const keys = Array.from({ length: Math.min(count, MAX_CLASSES + 1) }, (_, id) => String(id));
  if (count < 1 || count > MAX_CLASSES || !keys.every((key) => id2label.values.has(key))) {
    throw new FieldError(`id2label must have the keys 0, 1, 2, ... without a gap, up to ${MAX_CLASSES} of them`);
  }
  return keys.map((key) => id2label.text(key));
}

/** The ONNX files by precision, and the other files by path. */
function parsedFiles(listed: Fields): { models: Map<string, ArtifactFile>; others: Map<string, ArtifactFile> } {
  if (listed.values.size > MAX_FILES) throw new FieldError(`files must list up to ${MAX_FILES} files`);
  const models = new Map<string, ArtifactFile>();
  const others = new Map<string, ArtifactFile>();
  for (const path of listed.values.keys()) {
    requirePlainPath(path);
    const values = listed.object(path);
    const file = { path, sha256: values.text("sha256"), bytes: values.whole("bytes", 0, MAX_FILE_BYTES) };
    if (!/^[0-9a-f]{64}$/.test(file.sha256)) {
      throw new FieldError(`${path}: sha256 must be 64 lower-case hexadecimal digits`);
    }
    const precision = values.values.get("precision") ?? null;
    if (precision === null) {
      others.set(path, file);
      continue;
    }
    if (typeof precision !== "string" || !/^[a-z][a-z0-9_]{0,15}$/.test(precision)) {
      throw new FieldError(`${path}: precision must be a word like fp32, or null`);
    }
    if (!path.endsWith(".onnx")) {
      throw new FieldError(`${path}: a file with a precision must be an ONNX file, named *.onnx`);
    }
    if (models.has(precision)) {
      throw new FieldError(`files must list one ONNX file per precision, got ${precision} twice`);
    }
    models.set(precision, file);
  }
  return { models, others };
}

/** Refuses a path in config.json that leads outside the folder, or is not a plain name on every system. */
function requirePlainPath(path: string): void {
  const parts = path.split("/");
  const plain = parts.every((part) => part !== "" && !part.endsWith(".") && !part.endsWith(" "));
  const bytes = new TextEncoder().encode(path).length;
  if (!plain || /[\\:*?"<>|]/.test(path) || escaped(path) !== path || bytes > MAX_PATH_BYTES) {
    throw new ArtifactError(
      `the file name '${escaped(path.slice(0, 80))}' in config.json leads outside the artifact's folder or is not a ` +
        "plain name",
    );
  }
}
