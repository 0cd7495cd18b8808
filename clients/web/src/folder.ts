/** Where an artifact's files are: at a URL, or in a folder that the user chose; and reading them with checks. */

import { type Artifact, type ArtifactFile, CONFIG_FILE, MAX_CONFIG_BYTES, parseArtifact } from "./artifact.js";
import { joined } from "./bytes.js";
import { ArtifactError, DownloadError, ModelNotFoundError, reasonOf } from "./error.js";
import { Sha256 } from "./sha256.js";

/** The files of an artifact. `name` is how messages refer to the folder. */
export interface ArtifactFolder {
  readonly name: string;

  /** The bytes of the file at this relative path; undefined if there is none. Throws DownloadError. */
  open(path: string, signal?: AbortSignal): Promise<ReadableStream<Uint8Array> | undefined>;
}

/** Called while a file is read; `total`: its size by config.json. */
export type Progress = (done: number, total: number) => void;

/** An artifact at a URL, whose files are downloaded when they are needed. */
export class UrlFolder implements ArtifactFolder {
  readonly name: string;

  constructor(url: string | URL) {
    this.name = String(url).replace(/\/+$/, "");
  }

  async open(path: string, signal?: AbortSignal): Promise<ReadableStream<Uint8Array> | undefined> {
    const url = `${this.name}/${path.split("/").map(encodeURIComponent).join("/")}`;
    let response: Response;
    try {
      response = await fetch(url, { credentials: "same-origin", ...(signal && { signal }) });
    } catch (error) {
      throw new DownloadError(`${url} cannot be downloaded: ${reasonOf(error)}; check the address and the connection`);
    }
    if (response.status === 404) return undefined;
    if (!response.ok || response.body === null) {
      throw new DownloadError(`${url} cannot be downloaded: the server answered ${response.status}; check the address`);
    }
    return response.body;
  }
}

/** An artifact in a folder that the user chose with `<input type="file" webkitdirectory>`. */
export class FileFolder implements ArtifactFolder {
  readonly name: string;
  private readonly files: ReadonlyMap<string, File>;

  /** `files`: of the input; their paths begin with the folder's name. */
  constructor(files: Iterable<File>) {
    const parts = Array.from(files, (file) => ({ file, path: file.webkitRelativePath || file.name }));
    const config = parts.find(({ path }) => path.split("/").length <= 2 && path.split("/").at(-1) === CONFIG_FILE);
    const root = config?.path.includes("/") ? config.path.slice(0, config.path.indexOf("/") + 1) : "";
    this.name = root.slice(0, -1) || parts[0]?.path.split("/")[0] || "the folder";
    this.files = new Map(parts.map(({ file, path }) => [path.slice(root.length), file]));
  }

  open(path: string): Promise<ReadableStream<Uint8Array> | undefined> {
    return Promise.resolve(this.files.get(path)?.stream());
  }
}

/**
 * Reads and checks an artifact's config.json.
 * Throws ModelNotFoundError if there is none, ArtifactError as `parseArtifact` does, DownloadError.
 */
export async function readArtifact(folder: ArtifactFolder, signal?: AbortSignal): Promise<Artifact> {
  const path = `${folder.name}/${CONFIG_FILE}`;
  const stream = await folder.open(CONFIG_FILE, signal);
  if (stream === undefined) {
    throw new ModelNotFoundError(`${folder.name} is not an artifact: it has no ${CONFIG_FILE}; check the address`);
  }
  const parts: Uint8Array[] = [];
  let total = 0;
  for await (const part of pieces(stream, path)) {
    total += part.length;
    if (total > MAX_CONFIG_BYTES) throw new ArtifactError(`${path} has more than ${MAX_CONFIG_BYTES} bytes`);
    parts.push(part);
  }
  return parseArtifact(folder.name, joined(parts));
}

/**
 * The bytes of a file that config.json lists, which match its size and its SHA-256; both are checked as they arrive.
 * Throws ArtifactError naming the file if it is missing or differs, DownloadError.
 */
export async function readFile(
  folder: ArtifactFolder,
  file: ArtifactFile,
  progress: Progress = () => undefined,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const path = `${folder.name}/${file.path}`;
  const remedy = "export or download the model again";
  const stream = await folder.open(file.path, signal);
  if (stream === undefined) throw new ArtifactError(`${path} is missing, though ${CONFIG_FILE} lists it; ${remedy}`);
  const digest = new Sha256();
  // Not the announced size at once: it may be a lie.
  let data = new Uint8Array(Math.min(file.bytes, 2 ** 20));
  let at = 0;
  for await (const part of pieces(stream, path)) {
    if (at + part.length > file.bytes) {
      throw new ArtifactError(`${path} has more bytes, expected ${file.bytes}; ${remedy}`);
    }
    if (at + part.length > data.length) {
      const larger = new Uint8Array(Math.min(file.bytes, Math.max(2 * data.length, at + part.length)));
      larger.set(data.subarray(0, at));
      data = larger;
    }
    data.set(part, at);
    digest.update(part);
    at += part.length;
    progress(at, file.bytes);
  }
  if (at !== file.bytes) throw new ArtifactError(`${path} has ${at} bytes, expected ${file.bytes}; ${remedy}`);
  const found = digest.digest();
  if (found !== file.sha256) {
    throw new ArtifactError(`${path} was altered: its sha256 is ${found}, expected ${file.sha256}; ${remedy}`);
  }
  return data;
}

/** The pieces of a stream, which is closed at the end. Throws DownloadError if it breaks off. */
async function* pieces(stream: ReadableStream<Uint8Array>, path: string): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } catch (error) {
    throw new DownloadError(`${path} cannot be downloaded: ${reasonOf(error)}; check the connection and try again`);
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
