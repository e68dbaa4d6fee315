// The page: takes pictures, asks the worker for joints, and shows them.

import { listen } from "./box_input.js";
import { boxAround, following, JOINT_SCORE, next } from "./follow.js";
import * as results from "./results.js";
import * as sources from "./sources.js";
import * as view from "./view.js";

const find = (id) => document.getElementById(id);
const canvas = find("view");
const context = canvas.getContext("2d");
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const MEASURED_RUNS = 50;
const BOX_FIELDS = ["box_x", "box_y", "box_w", "box_h"];

const state = {
  facts: null, // of the model, once it has been ready
  isRunning: false, // whether the network can be asked
  failure: "", // why it is not running, where it failed
  picture: null, // {source, width, height}
  isSent: false, // whether the worker has the picture's pixels
  box: null, // of the person
  sketch: null, // a box that is being drawn
  pose: null, // {keypoints, scores, box} in the shown picture
  camera: null,
  person: null, // followed on camera
  request: 0, // the number of the last question to the worker
  isBusy: false, // whether the worker has not answered yet; it answers every question once
  isFrame: false, // whether the last question was about a frame of the camera
  isWaiting: false, // whether a newer box than the one asked for is to be computed
  threshold: JOINT_SCORE,
  frameTime: 0, // milliseconds between camera frames, a running mean
  lastFrame: 0,
};

const say = (text) => (find("status").textContent = text);
/** Shows a problem, or with "" none but that the network is not running, if it is not. */
const complain = (text) => {
  const shown = text || state.failure;
  find("problem").textContent = shown;
  find("problem").hidden = !shown;
};
const wholePicture = () => [0, 0, state.picture.width, state.picture.height];

// ---------------------------------------------------------------- the worker

function load(processor) {
  const chosen = new URLSearchParams(location.search).get("model") ?? "model.onnx";
  const url = new URL(chosen, document.baseURI);
  if (url.origin !== location.origin) {
    giveUp(`The model must lie beside this page; ${url.href} is on another server.`);
    return;
  }
  state.failure = "";
  complain("");
  find("processor").disabled = true;
  worker.postMessage({ type: "load", url: url.href, processor });
}

worker.onerror = (event) => {
  event.preventDefault();
  giveUp(`The page's own scripts cannot be started: ${event.message || "worker.js is missing"}`);
};

worker.onmessage = ({ data }) => {
  const handlers = { progress, note, ready, joints, measured, failed };
  handlers[data.type](data);
};

/** Says that there is no network, and why, for as long as that is so. */
function giveUp(reason) {
  Object.assign(state, { failure: reason, isRunning: false });
  complain(reason);
  say("The network is not running.");
}

const progress = ({ text }) => say(text);
const note = ({ text }) => complain(text);

function ready(message) {
  if (!state.facts) results.makeTable(message.facts);
  Object.assign(state, { facts: message.facts, isRunning: true });
  find("processor").disabled = false;
  results.showFacts(message);
  say(state.picture ? "Ready." : "Ready: choose a photograph, or use the camera.");
  if (state.camera) nextFrame();
  else if (state.picture) ask();
}

function failed({ id, text }) {
  stopCamera();
  find("processor").disabled = false;
  if (id === undefined) {
    giveUp(text);
    return;
  }
  state.isBusy = false;
  complain(text);
  say("This picture could not be processed.");
}

/** Asks for the joints in the box; where the worker is busy, once it has answered. */
function ask() {
  if (!state.isRunning || !state.picture) return;
  state.isWaiting = state.isBusy;
  if (state.isBusy) return;
  let picture = null;
  if (!state.isSent) {
    try {
      picture = sources.pixelsOf(state.picture);
    } catch (error) {
      failed({ id: state.request, text: error.message });
      return;
    }
  }
  const isFrame = Boolean(state.camera);
  Object.assign(state, { isBusy: true, isSent: true, isFrame, request: state.request + 1 });
  const message = { type: "predict", id: state.request, picture, box: state.box };
  worker.postMessage(message, picture ? [picture.data.buffer] : []);
  if (!isFrame) say("Looking for joints…");
}

function joints(answer) {
  state.isBusy = false;
  if (state.isWaiting || answer.id !== state.request) {
    if (state.camera) nextFrame();
    else ask();
    return;
  }
  state.pose = { keypoints: answer.keypoints, scores: answer.scores, box: answer.box };
  if (state.camera) follow(answer);
  else if (!state.isFrame) sayFound(answer); // the answer to the last frame leaves "The camera is off"
  results.fillTable(state.pose, state.facts, state.threshold);
  results.showTimes(answer.times, state.camera && state.frameTime ? 1000 / state.frameTime : 0);
  redraw();
  enable();
  if (state.camera) sources.onFrame(state.camera.video, nextFrame);
}

function measure() {
  if (state.isBusy || state.camera) return;
  state.isBusy = true;
  say(`Running ${MEASURED_RUNS} times…`);
  const message = { type: "measure", id: state.request, box: state.box, runs: MEASURED_RUNS };
  worker.postMessage(message);
}

function measured({ median, fastest }) {
  state.isBusy = false;
  const times = `median ${median.toFixed(1)} ms, fastest ${fastest.toFixed(1)} ms`;
  say(`Crop, network and decoding, ${MEASURED_RUNS} times: ${times}.`);
  if (state.isWaiting) ask();
}

function sayFound({ scores, times }) {
  const count = scores.filter((score) => score > state.threshold).length;
  const time = (times.crop + times.network).toFixed(0);
  const seen = `${count} of ${scores.length} joints score above ${state.threshold.toFixed(2)}`;
  const advice = count ? "" : " Draw a box around a person.";
  say(`${seen} (${time} ms).${advice}`);
}

// ---------------------------------------------------------------- pictures and camera

async function takeFile(file) {
  if (!file) return;
  complain("");
  say(`Reading ${file.name || "the picture"}…`);
  try {
    show(await sources.readPicture(file));
  } catch (error) {
    complain(error.message);
    say(state.isRunning ? "Ready: choose another picture." : "No picture.");
  }
}

function show(picture) {
  stopCamera();
  setPicture(picture);
  say(state.failure ? "The network is not running." : "The network is not ready yet.");
  state.pose = null;
  results.clearTable();
  choose("whole");
}

function setPicture(picture) {
  if (state.picture?.source.close) state.picture.source.close();
  Object.assign(state, { picture, isSent: false });
  find("stage").classList.remove("empty");
  for (const field of BOX_FIELDS) find(field).disabled = false;
}

async function startCamera(after = "") {
  complain("");
  say("Waiting for the camera. The browser may ask whether this page may use it.");
  const camera = find("camera");
  camera.disabled = true;
  try {
    stopCamera();
    state.camera = await sources.openCamera(after);
  } catch (error) {
    complain(error.message);
    say("No camera.");
    return;
  } finally {
    camera.disabled = false;
  }
  state.camera.video.srcObject.getVideoTracks()[0].onended = () => {
    stopCamera();
    complain("The camera was disconnected or switched off.");
  };
  camera.textContent = "Stop the camera";
  find("other_camera").hidden = state.camera.count < 2;
  find("camera_help").hidden = false;
  find("mirror").checked = state.camera.isFront;
  const since = { person: null, pose: null, isWaiting: false, frameTime: 0, lastFrame: 0 };
  Object.assign(state, since, { request: state.request + 1 }); // earlier answers are out of date
  enable();
  say(state.isRunning ? "The camera is on." : "The camera is on; the network is not ready yet.");
  nextFrame();
}

function stopCamera() {
  if (!state.camera) return;
  sources.closeCamera(state.camera);
  state.camera = null;
  find("camera").textContent = "Use the camera";
  find("other_camera").hidden = true;
  find("camera_help").hidden = true;
  find("mirror").checked = false;
  say("The camera is off; the last frame stays.");
  redraw();
  enable();
}

function nextFrame() {
  if (!state.camera || state.isBusy) return;
  const before = state.picture;
  setPicture(sources.grabFrame(state.camera.video));
  const isTurned = state.picture.width !== before?.width || state.picture.height !== before.height;
  if (isTurned || !state.person) state.person = following(wholePicture());
  setBox(state.person.box);
  if (state.isRunning) ask();
  else {
    redraw();
    sources.onFrame(state.camera.video, nextFrame);
  }
}

function follow(answer) {
  const now = performance.now();
  const elapsed = state.lastFrame ? now - state.lastFrame : 0;
  state.frameTime = state.frameTime ? 0.9 * state.frameTime + 0.1 * elapsed : elapsed;
  state.lastFrame = now;
  const before = state.person;
  state.person = next(before, answer, now, state.picture);
  if (state.person.isFound && !before.isFound) say("Following a person.");
  if (!state.person.isFound && before.isFound) say("The person was lost; looking for them again.");
}

// ---------------------------------------------------------------- the box

function setBox(box) {
  state.box = box;
  BOX_FIELDS.forEach((field, i) => {
    if (document.activeElement !== find(field)) find(field).value = Math.round(box[i]);
  });
}

function choose(box) {
  state.sketch = null;
  setBox(box === "whole" ? wholePicture() : box);
  if (state.camera) state.person = following(state.box);
  else ask();
  redraw();
  enable();
}

function typeBox() {
  const box = BOX_FIELDS.map((field) => find(field).valueAsNumber);
  if (box.every(Number.isFinite) && box[2] > 0 && box[3] > 0) choose(box);
  else say("A box needs four numbers, and a width and a height above 0.");
}

function fitBox() {
  const box = state.pose && boxAround(state.pose.keypoints, state.pose.scores, state.threshold);
  if (box) choose(box);
  else say("Too few joints score above the threshold to fit a box.");
}

// ---------------------------------------------------------------- what is shown

function redraw() {
  if (!state.picture) return;
  const scale = view.fit(canvas, state.picture);
  const { picture, pose, facts, threshold } = state;
  const box = state.sketch ?? (state.camera && pose ? pose.box : state.box);
  const isMirrored = find("mirror").checked;
  view.draw(context, scale, { picture, box, pose, facts, threshold, isMirrored });
}

function enable() {
  find("whole").disabled = !state.picture;
  for (const id of ["fit", "save_picture", "save_joints"]) find(id).disabled = !state.pose;
  find("measure").disabled = !state.pose || Boolean(state.camera);
}

function setThreshold() {
  state.threshold = find("threshold").valueAsNumber;
  find("threshold_value").textContent = state.threshold.toFixed(2);
  if (state.pose) results.fillTable(state.pose, state.facts, state.threshold);
  redraw();
}

function savePicture() {
  canvas.toBlob((blob) => results.save(blob, "pose.png"), "image/png");
}

function saveJoints() {
  const text = results.toJson(state.pose, state.facts, state.picture);
  results.save(new Blob([text], { type: "application/json" }), "joints.json");
}

// ---------------------------------------------------------------- events

listen(canvas, {
  picture: () => state.picture,
  isMirrored: () => find("mirror").checked,
  box: () => state.box,
  sketch: (box) => {
    state.sketch = box;
    redraw();
  },
  choose,
});
find("file").addEventListener("change", ({ target }) => {
  takeFile(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
find("camera").addEventListener("click", () => (state.camera ? stopCamera() : startCamera()));
find("other_camera").addEventListener("click", () => startCamera(state.camera.id));
find("whole").addEventListener("click", () => choose("whole"));
find("fit").addEventListener("click", fitBox);
find("measure").addEventListener("click", measure);
find("save_picture").addEventListener("click", savePicture);
find("save_joints").addEventListener("click", saveJoints);
find("mirror").addEventListener("change", redraw);
find("threshold").addEventListener("input", setThreshold);
find("processor").addEventListener("change", ({ target }) => load(target.value));
for (const field of BOX_FIELDS) find(field).addEventListener("change", typeBox);
window.addEventListener("resize", redraw);
window.addEventListener("dragover", (event) => {
  event.preventDefault();
  find("stage").classList.add("dropping");
});
window.addEventListener("dragleave", () => find("stage").classList.remove("dropping"));
window.addEventListener("drop", (event) => {
  event.preventDefault();
  find("stage").classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) takeFile(file);
  else complain("What was dropped is not a file. Save the picture first, then drop the file.");
});
window.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) takeFile(event.clipboardData.files[0]);
});

load(find("processor").value);
