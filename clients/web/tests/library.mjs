// For the tests: single functions of the library, in Node.
//
//     node library.mjs MODULE WHAT [ARGUMENT]    with JSON on standard input; prints JSON
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const [module, what, argument] = process.argv.slice(2);
const part = (name) => import(`${pathToFileURL(dirname(module)).href}/${name}.js`);
const zoo = await part("index");
const given = () => JSON.parse(readFileSync(0, "utf-8"));

const artifact = { folder: "here", name: "tiny", imageSize: 32, labels: ["black", "red", "green", "blue"] };

/** What onnxruntime-web would be: `answers` are the logits for any image. */
function runtime(answers, opened, provider) {
  return async () => ({
    Tensor: class {
      constructor(type, data, dims) {
        Object.assign(this, { type, data, dims });
      }
    },
    InferenceSession: {
      async create() {
        if (answers === "no adapter") throw new Error("no available adapters");
        opened.push(provider);
        return {
          inputMetadata: [{ name: "pixel_values", isTensor: true, type: "float32", shape: ["batch", 3, 1, 1] }],
          outputMetadata: [{ name: "logits", isTensor: true, type: "float32", shape: ["batch", 2] }],
          run: async () => ({ logits: { data: Float32Array.from(answers) } }),
          release: async () => opened.splice(opened.indexOf(provider), 1),
        };
      },
    },
  });
}

/** A float32 array as numpy.savez stores it, in a zip file. */
function npz(arrays) {
  const [bodies, directory] = [[], []];
  let offset = 0;
  for (const [name, { shape, values }] of Object.entries(arrays)) {
    const described = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")}), }`;
    const head = Buffer.from(`${described.padEnd(117)}\n`);
    const file = Buffer.concat([Buffer.from("\x93NUMPY\x01\0", "latin1"), Buffer.from([head.length, 0]), head, Buffer.from(Float32Array.from(values).buffer)]);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(name.length + 4, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50);
    entry.writeUInt32LE(file.length, 20);
    entry.writeUInt32LE(file.length, 24);
    entry.writeUInt16LE(name.length + 4, 28);
    entry.writeUInt32LE(offset, 42);
    bodies.push(local, Buffer.from(`${name}.npy`), file);
    directory.push(entry, Buffer.from(`${name}.npy`));
    offset += 30 + name.length + 4 + file.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(Object.keys(arrays).length, 10);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, ...directory, end]);
}

/** Loads a model whose WebGPU gives the answers of this name. */
async function providers(name) {
  const { Sha256 } = await part("sha256");
  const hash = (data) => {
    const digest = new Sha256();
    digest.update(data);
    return digest.digest();
  };
  const vectors = npz({ pixel_values: { shape: [1, 3, 1, 1], values: [0, 0, 0] }, logits: { shape: [1, 2], values: [1, 2] } });
  const model = new Uint8Array(9);
  const described = (data) => ({ sha256: hash(data), bytes: data.length });
  const config = {
    schema_version: 1, name: "double", model_type: "pvt_v2", architecture: {}, image_size: 1,
    preprocess: { resize_size: 1, crop_size: 1, interpolation: "bicubic", mean: [0, 0, 0], std: [1, 1, 1] },
    id2label: { 0: "a", 1: "b" },
    files: {
      "onnx/model.onnx": { ...described(model), precision: "fp32" },
      ...(name === "no vectors" ? {} : { "conformance.npz": described(vectors) }),
    },
  }; // prettier-ignore
  const files = { "config.json": Buffer.from(JSON.stringify(config)), "onnx/model.onnx": model, "conformance.npz": vectors };
  const folder = { name: "double", open: async (path) => new Blob([files[path]]).stream() };
  const open = [];
  const answers = { right: [1, 2], wrong: [2, 1], NaN: [NaN, 2], "no vectors": [1, 2] }[name] ?? name;
  const model_ = await zoo.Classifier.load(folder, {
    wasm: runtime([1, 2], open, "wasm"),
    webgpu: runtime(answers, open, "webgpu"),
  });
  return { provider: model_.provider, refusal: model_.refusal, open };
}

/** The refusal of an artifact's folder or of its model; null if it is whole. */
async function refusal(path) {
  const folder = {
    name: path,
    async open(file) {
      const found = join(path, file);
      return existsSync(found) ? new Blob([readFileSync(found)]).stream() : undefined;
    },
  };
  try {
    const { model } = await zoo.readArtifact(folder);
    await zoo.readFile(folder, model);
    return null;
  } catch (error) {
    if (!(error instanceof zoo.OnnxzooError)) throw error;
    return { kind: error.name, message: error.message };
  }
}

const actions = {
  artifacts: () => Promise.all(given().map(refusal)),
  async sha256() {
    const { Sha256 } = await part("sha256");
    return given().map((length) => {
      const digest = new Sha256();
      const data = Uint8Array.from({ length }, (_, at) => at * 7);
      for (let at = 0, size = 1; at < length; at += size, size = (size * 3) % 97) {
        digest.update(data.subarray(at, at + size));
      }
      return digest.digest();
    });
  },
  async top() {
    const { logits, topK } = given();
    return zoo.topClasses(Float32Array.from(logits), logits.map(String), topK);
  },
  async vectors() {
    const vectors = await zoo.parseVectors(artifact, new Uint8Array(readFileSync(argument)));
    return {
      sum: vectors.map(({ image }) => image.reduce((sum, value) => sum + value, 0)),
      logits: vectors.map(({ logits }) => Array.from(logits)),
    };
  },
  async difference() {
    const { logits, expected } = given();
    const found = Float32Array.from(logits, (value) => value ?? NaN);
    return { reason: zoo.differenceOf(found, Float32Array.from(expected)) ?? null };
  },
  async text() {
    const { oneLine } = await part("error");
    return given().map(oneLine);
  },
  providers: () => providers(argument),
};

try {
  console.log(JSON.stringify(await actions[what]()));
} catch (error) {
  if (!(error instanceof zoo.OnnxzooError)) throw error;
  console.log(JSON.stringify({ error: error.message }));
}
