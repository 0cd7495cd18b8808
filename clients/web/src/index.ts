/** Image classification in browsers with onnxzoo's artifacts: the same pixels and the same answers as in Python. */

export { type Artifact, type ArtifactFile, type Interpolation, parseArtifact, type Preprocess } from "./artifact.js";
export { browserPixels, pixelsOf } from "./browser.js";
export { type ClassScore, topClasses } from "./classes.js";
export { Classifier, type LoadOptions, type Prediction } from "./classifier.js";
export { differenceOf, parseVectors, TOLERANCE, type Vector } from "./conformance.js";
export { decodeImage, MAX_ENCODED_BYTES, type PlatformDecoder } from "./decode.js";
export { Engine, type Provider, type Runtime } from "./engine.js";
export {
  ArtifactError,
  DownloadError,
  EngineError,
  EngineUnavailableError,
  escaped,
  ImageError,
  InputError,
  ModelNotFoundError,
  OnnxzooError,
} from "./error.js";
export { type ArtifactFolder, FileFolder, type Progress, readArtifact, readFile, UrlFolder } from "./folder.js";
export { MAX_PIXELS, type RgbImage, upright } from "./pixels.js";
export { preprocess } from "./preprocess.js";
