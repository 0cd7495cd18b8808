// transformers.js runs an artifact.
//
//     node transformers_js.mjs MODULES ARTIFACT IMAGES.json OUT.json
//
// MODULES: a folder with node_modules/@huggingface/transformers. IMAGES: a list of paths. OUT: `logits`, a list for each
// image, and `described`.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, artifact, images, out] = process.argv.slice(2);
const { resolve: find } = createRequire(resolve(modules, "package.json"));
const { AutoConfig, AutoImageProcessor, AutoModelForImageClassification, RawImage, env } = await import(
  pathToFileURL(find("@huggingface/transformers"))
);

env.allowRemoteModels = false;
env.localModelPath = "/";
const folder = resolve(artifact);

// It has no swinv2 and no pvt_v2; these names select the same class, which runs whatever the ONNX file holds.
const config = await AutoConfig.from_pretrained(folder);
config.model_type = { swinv2: "swin", pvt_v2: "pvt" }[config.model_type];
const model = await AutoModelForImageClassification.from_pretrained(folder, { config, dtype: "fp32" });
const processor = await AutoImageProcessor.from_pretrained(folder);

const logits = [];
for (const path of JSON.parse(readFileSync(images, "utf8"))) {
  const inputs = await processor((await RawImage.read(path)).rgb());
  logits.push(Array.from((await model(inputs)).logits.data));
}
writeFileSync(out, JSON.stringify({ logits, described: { versions: `transformers.js ${env.version}`, id2label: config.id2label } }));
