/** The page: takes an image, shows the answer. */

import { escaped } from "../src/index.js";
import { Camera } from "./camera.js";
import { Client, Failure } from "./client.js";
import type { Answer, LoadedModel, Place } from "./messages.js";
import { registerServiceWorker } from "./offline.js";
import { readSite, type Site } from "./site.js";

/** Larger models are downloaded with the first image, not when the page is opened. */
const EAGER_BYTES = 64 * 2 ** 20;

function element<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const picture = element<HTMLImageElement>("picture");
const models = element<HTMLSelectElement>("model");
const progress = element<HTMLProgressElement>("progress");
const results = element<HTMLOListElement>("results");
const camera = new Camera(element<HTMLVideoElement>("video"));
const client = new Client();

let site: Site = { models: [], webgpu: false };
/** The model in use, or being loaded; undefined until one was asked for. */
let model: Promise<LoadedModel> | undefined;
/** What was classified last, which another model classifies, too. */
let last: { readonly image: Blob; readonly name: string } | undefined;
let latest = 0;

function show(id: string, text: string): void {
  element(id).textContent = text;
}

function sentence(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text + (/[.!?]$/.test(text) ? "" : ".");
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function fail(error: unknown): void {
  clearAnswer();
  show("error", sentence(error));
}

function clearAnswer(): void {
  results.hidden = true;
  results.replaceChildren();
  for (const id of ["error", "times", "spoken"]) show(id, "");
}

// The model

function open(place: Place, name: string): Promise<LoadedModel> {
  clearAnswer();
  show("status", `Loading ${name} ...`);
  show("engine", "");
  progress.hidden = false;
  progress.removeAttribute("value");
  const loading = client.load(place, site.webgpu, (done, total) => {
    if (model !== loading) return;
    progress.max = total;
    progress.value = done;
    show("downloaded", done < total ? `${megabytes(done)} of ${megabytes(total)}` : "Starting ...");
  });
  model = loading;
  loading.then(
    (found) => {
      if (model !== loading) return;
      endProgress();
      show("status", `${found.name} is ready: ${found.classes} classes.`);
      show("engine", described(found));
    },
    (error: unknown) => {
      if (model !== loading) return;
      model = undefined;
      endProgress();
      show("status", `${name} is not loaded.`);
      fail(error);
    },
  );
  return loading;
}

function endProgress(): void {
  progress.hidden = true;
  show("downloaded", "");
}

function described({ provider, threads, refusal }: LoadedModel): string {
  const unit = threads === 1 ? "1 thread" : `${threads} threads`;
  const where = provider === "webgpu" ? "WebGPU, which gave the recorded answers" : `WebAssembly, ${unit}`;
  return `Computed by ONNX Runtime Web in ${where}.${refusal ? ` WebGPU is not used: ${refusal}.` : ""}`;
}

function openChosen(): Promise<LoadedModel> {
  const chosen = site.models.find(({ name }) => name === models.value);
  if (chosen === undefined) return Promise.reject(new Error("There is no model; open one first."));
  return open({ url: new URL(chosen.folder, document.baseURI).href }, chosen.name);
}

function showModels(): void {
  models.replaceChildren(...site.models.map(({ name, bytes }) => new Option(`${name} (${megabytes(bytes)})`, name)));
  models.disabled = site.models.length === 0;
}

/** The entry of a model that is not part of the site. */
function showForeign(name: string): void {
  models.querySelector("option[data-foreign]")?.remove();
  const option = new Option(escaped(name), "", true, true);
  option.dataset["foreign"] = "yes";
  models.add(option);
}

// The image

async function classify(image: Blob | ImageBitmap, name: string, shown: Blob): Promise<void> {
  const number = ++latest;
  last = { image: shown, name };
  clearAnswer();
  element("empty").hidden = true;
  preview(shown, name);
  try {
    const loading = model ?? openChosen();
    show("times", "Waiting for the model ...");
    await loading;
    if (number !== latest) return;
    show("times", "Classifying ...");
    const answer = await client.classify(image, name);
    if (number === latest) showAnswer(answer, name);
  } catch (error) {
    if (number === latest) fail(error);
  }
}

function preview(shown: Blob, name: string): void {
  if (picture.src) URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(shown);
  picture.alt = `The image to classify: ${escaped(name)}`;
  show("picture-name", escaped(name));
  element("preview").hidden = false;
}

function showAnswer(answer: Answer, name: string): void {
  results.replaceChildren(...answer.top.map(({ label, score }) => resultRow(escaped(label), score)));
  results.hidden = false;
  const total = answer.preprocessMs + answer.modelMs;
  show("times", `${rounded(total)} ms: image ${rounded(answer.preprocessMs)} ms, model ${rounded(answer.modelMs)} ms`);
  const spoken = answer.top.map(({ label, score }) => `${escaped(label)}, ${percent(score)}`);
  show("spoken", `Most likely: ${spoken.join("; ")}.`);
  document.dispatchEvent(new CustomEvent("onnxzoo:answer", { detail: { ...answer, name } }));
}

function resultRow(label: string, score: number): HTMLLIElement {
  const row = document.createElement("li");
  const bar = document.createElement("span");
  bar.className = "bar";
  bar.style.transform = `scaleX(${score})`;
  const [name, share] = [document.createElement("span"), document.createElement("span")];
  name.className = "label";
  name.textContent = label;
  share.className = "share";
  share.textContent = percent(score);
  row.append(bar, name, share);
  return row;
}

function percent(score: number): string {
  return `${(score * 100).toFixed(1)} %`;
}

function rounded(milliseconds: number): string {
  return milliseconds < 10 ? milliseconds.toFixed(1) : milliseconds.toFixed(0);
}

/** The first of the files that were dropped, pasted or chosen. */
function take(files: FileList | undefined | null, source: string): void {
  const file = files?.[0];
  if (file === undefined) {
    latest++;
    fail(new Error(`There is no image in what was ${source}; take a photo, or a file that is an image.`));
    return;
  }
  void classify(file, file.name || "the image", file);
}

// The camera

function showCamera(running: boolean): void {
  element("camera").hidden = !running;
  element("choices").hidden = running;
  if (running) {
    latest++;
    clearAnswer();
    element("preview").hidden = true;
    element("empty").hidden = false;
  }
  element(running ? "take" : "start").focus();
}

async function takePicture(): Promise<void> {
  const bitmap = await camera.frame();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  const shown = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve));
  camera.stop();
  showCamera(false);
  await classify(bitmap, "picture of the camera", shown ?? new Blob());
}

// Events

function listen(): void {
  const file = element<HTMLInputElement>("file");
  file.addEventListener("change", () => {
    take(file.files, "chosen");
    file.value = ""; // so that the same file can be chosen again
  });
  const folder = element<HTMLInputElement>("folder");
  folder.addEventListener("change", () => {
    const files = Array.from(folder.files ?? []);
    folder.value = "";
    openForeign({ files }, files[0]?.webkitRelativePath.split("/")[0] || "the folder");
  });
  element("address-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const url = element<HTMLInputElement>("address").value.trim();
    openForeign({ url }, url);
  });
  models.addEventListener("change", () => again(openChosen()));
  document.addEventListener("paste", (event) => {
    if (event.target instanceof HTMLInputElement) return;
    take(event.clipboardData?.files, "pasted");
  });
  listenToDrops();
  element("start").addEventListener("click", () => {
    camera.start().then(() => showCamera(true), fail);
  });
  element("take").addEventListener("click", () => {
    takePicture().catch(fail);
  });
  element("stop").addEventListener("click", () => {
    camera.stop();
    showCamera(false);
  });
  picture.addEventListener("error", () => {
    element("preview").hidden = true; // what is no image, which the answer says
  });
}

function openForeign(place: Place, name: string): void {
  showForeign(name);
  again(open(place, name));
}

/** Classifies the image that is shown with another model, as soon as that is loaded. */
function again(loading: Promise<LoadedModel>): void {
  latest++;
  loading.catch(() => undefined); // shown already
  if (last !== undefined) void classify(last.image, last.name, last.image);
}

function listenToDrops(): void {
  const area = element("drop");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) area.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    take(event.dataTransfer?.files, "dropped");
  });
}

async function start(): Promise<void> {
  await registerServiceWorker();
  listen();
  site = await readSite();
  showModels();
  const first = site.models[0];
  if (first === undefined) return;
  if (first.bytes <= EAGER_BYTES) await openChosen();
  else show("status", `${first.name} will be downloaded with the first photo: ${megabytes(first.bytes)}.`);
}

start().catch((error: unknown) => {
  if (!(error instanceof Failure)) fail(error); // a model that was refused is shown already
});
