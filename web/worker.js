// Runs the network, away from the page, so that the page never waits for it.
//
// Messages in:  {type: "load", url, processor, threads}
//               {type: "predict", id, picture: {data, width, height} | null, box}
//               {type: "measure", id, box, runs}
// Messages out: {type: "progress", text}, {type: "note", text}, {type: "failed", id, text},
//               {type: "ready", facts, processor, threads, bytes, seconds},
//               {type: "joints", id, box, keypoints, scores, times}, {type: "measured", median, fastest}
// A picture of null is the last one again.

import { cropMatrix, invert, transform, warp } from "./crop.js";
import { readFacts } from "./model_file.js";

const RUNTIMES = {
  webgpu: { module: "./ort.webgpu.js", wasm: "ort-wasm-simd-threaded.asyncify.wasm" },
  wasm: { module: "./ort.wasm.js", wasm: "ort-wasm-simd-threaded.wasm" },
};
const MOST_THREADS = 4; // more make small networks slower
const WARM_UP = { data: new Uint8ClampedArray(4 * 64 * 64), width: 64, height: 64 };

const state = { model: null, facts: null, session: null, ort: null, processor: "", picture: null };

let last = Promise.resolve(); // of the messages, which are answered one after another

self.onmessage = ({ data }) => {
  last = last.then(() => handle(data));
};

async function handle(data) {
  try {
    if (data.type === "load") await load(data);
    if (data.type === "predict") await answer(data);
    if (data.type === "measure") await measure(data);
  } catch (error) {
    self.postMessage({ type: "failed", id: data.id, text: error.message || String(error) });
  }
}

const say = (text) => self.postMessage({ type: "progress", text });
const note = (text) => self.postMessage({ type: "note", text });

async function load({ url, processor, threads }) {
  const start = performance.now();
  const name = new URL(url).pathname.split("/").pop();
  state.model ??= await download(url, name);
  state.facts = readFacts(state.model, name);
  await startSession(await choose(processor), threads, processor === "auto");
  self.postMessage({
    type: "ready",
    facts: state.facts,
    processor: state.processor,
    threads: state.threads,
    bytes: state.model.length,
    seconds: (performance.now() - start) / 1000,
  });
}

/** The bytes of the model; says how far it is. */
async function download(url, name) {
  say(`Loading ${name}…`);
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new Error(`${name} cannot be loaded: the server does not answer (${error.message})`);
  }
  if (!response.ok) {
    throw new Error(
      `There is no ${name} beside this page (the server says ${response.status}). Write the ` +
        "folder again with hrjax's scripts/export.py, or copy an exported file to that name.",
    );
  }
  const total = Number(response.headers.get("content-length"));
  const parts = [];
  let [count, said] = [0, 0];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    count += value.length;
    if (performance.now() - said < 500) continue; // screen readers read each line aloud
    said = performance.now();
    say(`Loading ${name}: ${megabytes(count)}${total >= count ? ` of ${megabytes(total)}` : ""} MB…`);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

const megabytes = (count) => (count / 1e6).toFixed(1);

/** "webgpu" where the browser has a graphics adapter and the visitor allows it, or "wasm". */
async function choose(processor) {
  if (processor === "wasm") return "wasm";
  const reason = await webgpuProblem(processor);
  if (!reason) return "webgpu";
  if (processor === "webgpu") note(`WebGPU cannot be used: ${reason}. WebAssembly is used instead.`);
  return "wasm";
}

async function webgpuProblem(processor) {
  if (!self.navigator.gpu) return "this browser has no WebGPU, or not on an insecure address";
  try {
    const adapter = await self.navigator.gpu.requestAdapter();
    if (!adapter) return "the browser found no graphics adapter";
    const isSoftware = adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter;
    // Software that stands in for a graphics card is slower than WebAssembly.
    return isSoftware && processor === "auto" ? "the graphics adapter is only emulated" : "";
  } catch (error) {
    return error.message;
  }
}

/** Starts the network; where WebGPU fails, with WebAssembly, and says so. */
async function startSession(processor, threads) {
  await state.session?.release();
  state.session = null;
  try {
    await startWith(processor, threads);
    // The first runs prepare memory and compile; a failure shows here, not in a picture.
    for (let i = 0; i < 2; i++) await run(cut(WARM_UP, [0, 0, 64, 64]).crop);
  } catch (error) {
    if (processor !== "webgpu") {
      throw new Error(`The network cannot be started: ${error.message || error}`);
    }
    note(`WebGPU failed (${error.message || error}). WebAssembly is used instead.`);
    await startSession("wasm", threads);
  }
}

async function startWith(processor, threads) {
  say(`Loading ONNX Runtime for ${processor === "webgpu" ? "WebGPU" : "WebAssembly"}…`);
  const { module, wasm } = RUNTIMES[processor];
  let ort;
  try {
    ort = await import(module);
  } catch (error) {
    throw new Error(`${module.slice(2)} is missing beside this page (${error.message})`);
  }
  state.threads = self.crossOriginIsolated ? threads || countThreads() : 1;
  ort.env.wasm.numThreads = state.threads;
  ort.env.wasm.wasmPaths = { wasm: new URL(wasm, import.meta.url).href };
  const options = { executionProviders: [processor], graphOptimizationLevel: "all" };
  state.session = await ort.InferenceSession.create(state.model, options);
  Object.assign(state, { ort, processor });
}

/** Half the logical cores, since two of them often share one that computes. */
function countThreads() {
  const cores = self.navigator.hardwareConcurrency || 2;
  return Math.min(MOST_THREADS, Math.max(2, Math.ceil(cores / 2)), cores);
}

/** The crop of the person in a box of a picture, and the matrix from the picture to it. */
function cut(picture, box) {
  const [height, width] = state.facts.inputSize;
  const matrix = cropMatrix(box, state.facts);
  const crop = warp(picture, matrix, [height, width], new Uint8Array(3 * height * width));
  return { crop, matrix };
}

/** The keypoints and scores of one crop (h, w, 3), in its pixels. */
async function run(crop) {
  if (!state.session) throw new Error("the network is not running");
  const [input] = state.session.inputMetadata;
  const count = typeof input.shape[0] === "number" ? input.shape[0] : 1; // a fixed batch
  const crops = new Uint8Array(count * crop.length);
  crops.set(crop);
  const tensor = new state.ort.Tensor("uint8", crops, [count, ...state.facts.inputSize, 3]);
  const { keypoints, scores } = await state.session.run({ [input.name]: tensor });
  if (!keypoints || !scores) throw new Error("the model returns no keypoints and scores");
  const joints = state.facts.joints.length;
  if (scores.dims[1] !== joints) {
    throw new Error(`the model finds ${scores.dims[1]} joints, and its metadata name ${joints}`);
  }
  return [keypoints.data.slice(0, 2 * joints), scores.data.slice(0, joints)];
}

async function answer({ id, picture, box }) {
  state.picture = picture ?? state.picture;
  const start = performance.now();
  const { crop, matrix } = cut(state.picture, box);
  const cropped = performance.now();
  const [points, scores] = await runOrFallBack(crop);
  const keypoints = transform(points, invert(matrix));
  const times = { crop: cropped - start, network: performance.now() - cropped };
  self.postMessage({ type: "joints", id, box, keypoints, scores: Float64Array.from(scores), times });
}

/** Runs the network; where WebGPU gives up in the middle, goes on with WebAssembly. */
async function runOrFallBack(crop) {
  try {
    return await run(crop);
  } catch (error) {
    if (state.processor !== "webgpu") throw error;
    note(`WebGPU failed (${error.message || error}). WebAssembly is used instead.`);
    state.session = null;
    await startSession("wasm", 0);
    return run(crop);
  }
}

/** Crops and computes the last picture many times. */
async function measure({ box, runs }) {
  const times = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await runOrFallBack(cut(state.picture, box).crop);
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  self.postMessage({ type: "measured", median: times[runs >> 1], fastest: times[0] });
}
