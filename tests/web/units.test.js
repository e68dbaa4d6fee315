// The page's functions that need no browser; run by test_web_scripts.py with node --test.

import assert from "node:assert/strict";
import { test } from "node:test";

import { boxAfterKey, boxBetween } from "./box_input.js";
import { cropMatrix, fitAspect, invert, transform, warp } from "./crop.js";
import { boxAround, following, next, overlaps } from "./follow.js";
import { readFacts, readMetadata } from "./model_file.js";
import { toJson } from "./results.js";
import { colorOf, displayScale } from "./view.js";

const FACTS = { inputSize: [256, 192], boxPadding: 1.25, udp: false };
const PICTURE = { width: 200, height: 100 };
const near = (actual, expected) =>
  expected.forEach((value, i) => assert.ok(Math.abs(actual[i] - value) < 1e-9, `${actual}`));

test("the box's center is the middle of the crop", () => {
  const matrix = cropMatrix([10, 20, 30, 80], FACTS);
  near(transform([25, 60], matrix), [96, 128]);
  // A tall box: 80 pixels, enlarged to 100, fill the 256 of the crop.
  near(matrix, [2.56, 0, 96 - 2.56 * 25, 0, 2.56, 128 - 2.56 * 60]);
});

test("with UDP the corners of the enlarged box are the centers of the corner pixels", () => {
  const matrix = cropMatrix([0, 0, 60, 80], { ...FACTS, udp: true });
  near(transform([30 - 37.5, 40 - 50, 30 + 37.5, 40 + 50], matrix), [0, 0, 191, 255]);
});

test("a size grows to the crop's aspect ratio, on one side", () => {
  near(fitAspect([100, 10], [256, 192]), [100, 75]);
  near(fitAspect([10, 75], [256, 192]), [100, 75]);
});

test("the inverse of a matrix undoes it", () => {
  const matrix = [2, 0.5, -3, -0.25, 1.5, 7];
  near(transform(transform([3, 4, -5, 6], matrix), invert(matrix)), [3, 4, -5, 6]);
});

test("half a pixel aside is the mean, and outside is black", () => {
  const data = Uint8ClampedArray.from([0, 10, 100, 255, 50, 20, 200, 255]);
  const crop = warp({ data, width: 2, height: 1 }, [1, 0, 0.5, 0, 1, 0], [1, 4], new Uint8Array(12));
  assert.deepEqual([...crop], [0, 5, 50, 25, 15, 150, 25, 10, 100, 0, 0, 0]);
});

test("the box around joints counts those that score, with a margin", () => {
  const keypoints = [10, 10, 30, 10, 30, 50, 900, 900];
  near(boxAround(keypoints, [1, 0.5, 0.3, 0.1]), [10 - 6, 10 - 6, 20 + 12, 40 + 12]);
  assert.equal(boxAround(keypoints, [1, 0.5, 0.1, 0.1]), null);
  assert.equal(boxAround([1, 1, 1, 1, 1, 1], [1, 1, 1]), null);
  assert.equal(boxAround([1, 1, NaN, 1, 5, 1], [1, 1, 1]), null);
});

test("a person is followed, kept for half a second, then looked for where it began", () => {
  const start = [0, 0, 200, 100];
  const seen = { keypoints: [50, 10, 70, 10, 60, 50], scores: [0.9, 0.9, 0.9] };
  const unseen = { ...seen, scores: [0, 0, 0] };
  let person = next(following(start), seen, 1000, PICTURE);
  assert.equal(person.isFound, true);
  near(person.box, [44, 4, 32, 52]);
  person = next(person, unseen, 1400, PICTURE);
  near(person.box, [44, 4, 32, 52]);
  person = next(person, unseen, 1600, PICTURE);
  assert.deepEqual([person.box, person.isFound], [start, false]);
});

test("a box outside the picture is not followed", () => {
  assert.equal(overlaps([200, 0, 10, 10], 200, 100), false);
  assert.equal(overlaps([195, -5, 10, 10], 200, 100), true);
});

test("a drawn box has its corners in any order and ends at the picture's edge", () => {
  assert.deepEqual(boxBetween([50, 60], [-10, 20], PICTURE), [0, 20, 50, 40]);
  assert.deepEqual(boxBetween([150, 60], [300, 160], PICTURE), [150, 60, 50, 40]);
});

test("keys move, size and scale the box", () => {
  const box = [10, 20, 40, 50];
  const after = (key, more = {}) => boxAfterKey(box, { key, ...more }, PICTURE);
  assert.deepEqual(after("ArrowRight"), [12, 20, 40, 50]);
  assert.deepEqual(after("ArrowUp"), [10, 18, 40, 50]);
  assert.deepEqual(after("ArrowDown", { shiftKey: true }), [10, 20, 40, 52]);
  near(after("+"), [9, 18.75, 42, 52.5]);
  assert.equal(after("Escape"), "whole");
  assert.equal(after("a"), null);
  assert.equal(after("ArrowLeft", { altKey: true }), null); // the browser's way back
});

test("the box stays on the picture and never vanishes", () => {
  const far = boxAfterKey([-38, 0, 40, 50], { key: "ArrowLeft" }, PICTURE);
  assert.equal(overlaps(far, 200, 100), true);
  const thin = boxAfterKey([0, 0, 2, 50], { key: "ArrowLeft", shiftKey: true }, PICTURE);
  assert.deepEqual(thin, [0, 0, 2, 50]);
});

test("the sides have colors of their own, what is between them has a third", () => {
  const [left, right, middle] = [["left_hip"], ["right_hip"], ["left_hip", "right_hip"]];
  const colors = [left, right, middle].map((names) => colorOf(...names));
  assert.equal(new Set(colors).size, 3);
  assert.equal(colorOf("nose"), colors[2]);
  assert.equal(colorOf("nose", "left_eye"), colors[0]);
});

test("a picture fits the room and the window", () => {
  assert.equal(displayScale({ width: 1000, height: 100 }, 500, 800), 0.5);
  assert.equal(displayScale({ width: 100, height: 1200 }, 500, 800), 0.5);
});

test("joints are saved by name, with the box", () => {
  const pose = { keypoints: [1.5, 2.5], scores: [0.75], box: [0, 0, 9, 9] };
  const saved = JSON.parse(toJson(pose, { joints: ["nose"] }, PICTURE));
  assert.deepEqual(saved.joints, [{ name: "nose", x: 1.5, y: 2.5, score: 0.75 }]);
  assert.deepEqual([saved.width, saved.height, saved.box], [200, 100, [0, 0, 9, 9]]);
});

// A protobuf message of metadata: field 14 of a pair of texts, fields 1 and 2.
const text = (number, bytes) => [8 * number + 2, bytes.length, ...bytes];
const metadata = (pairs) =>
  Uint8Array.from(
    Object.entries(pairs).flatMap(([key, value]) => {
      const encode = (string) => [...new TextEncoder().encode(string)];
      return text(14, [...text(1, encode(key)), ...text(2, encode(value))]);
    }),
  );
const USABLE = {
  joints: '["nose","left_eye"]',
  flip_pairs: "[]",
  limbs: "[[0,1]]",
  input_size: "[64,48]",
  box_padding: "1.25",
  udp: "true",
  decode: "dark",
};

test("metadata are found between other fields", () => {
  const others = [8, 200, 1, ...text(2, [1, 2, 3]), 13, 1, 2, 3, 4, 17, 1, 2, 3, 4, 5, 6, 7, 8];
  const read = readMetadata(Uint8Array.from([...others, ...metadata({ key: "é" }), ...others]));
  assert.deepEqual([...read], [["key", "é"]]);
});

test("the facts of a model", () => {
  const facts = readFacts(metadata(USABLE));
  assert.deepEqual([facts.inputSize, facts.udp, facts.boxPadding], [[64, 48], true, 1.25]);
  assert.deepEqual([facts.license, facts.variant], ["", ""]);
});

test("models that cannot be used say why", () => {
  const fails = (changes, message) =>
    assert.throws(() => readFacts(metadata({ ...USABLE, ...changes })), { message });
  fails({ limbs: "[[0,2]]" }, /expected limbs: pairs of joint numbers/);
  fails({ input_size: "[0,1e9]" }, /expected input_size: a height and a width/);
  fails({ joints: "nose" }, /joints in model.onnx is not JSON: nose/);
  fails({ joints: "{}" }, /expected joints: a list of names/);
  fails({ decode: "none" }, /the page needs keypoints/);
  assert.throws(() => readFacts(metadata({ joints: "[]" })), /does not say its flip_pairs, limbs/);
  assert.throws(() => readFacts(metadata(USABLE).subarray(0, 30)), /not a complete ONNX file/);
  const html = new TextEncoder().encode("<!doctype html><title>404</title>");
  assert.throws(() => readFacts(html), /not a complete ONNX file|was not exported by hrjax/);
});
