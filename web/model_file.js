// What an ONNX file says of itself. ONNX Runtime Web does not hand out a file's metadata, so they
// are read here: a ModelProto is a row of fields, and field 14 holds pairs of a key and a value.

const METADATA = 14;
const [KEY, VALUE] = [1, 2];
const [VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES] = [0, 1, 2, 5];

/** The facts that the page needs of a model, from the bytes of its file. */
export function readFacts(bytes, name = "model.onnx") {
  const metadata = readMetadata(bytes, name);
  const lacking = ["joints", "flip_pairs", "limbs", "input_size", "box_padding", "decode"].filter(
    (key) => !metadata.has(key),
  );
  if (lacking.length) {
    throw new Error(
      `${name} does not say its ${lacking.join(", ")}: it was not exported by hrjax. Write it ` +
        "with hrjax's scripts/export.py.",
    );
  }
  const value = (key) => parse(metadata.get(key), `${key} in ${name}`);
  const card = metadata.has("model.json") ? value("model.json") : {};
  const facts = {
    joints: value("joints"),
    flipPairs: value("flip_pairs"),
    limbs: value("limbs"),
    inputSize: value("input_size"),
    boxPadding: value("box_padding"),
    decode: metadata.get("decode"),
    flipTest: metadata.get("flip_test") === "true",
    license: metadata.get("license") ?? "",
    udp: metadata.get("udp") === "true",
    variant: String(card?.variant ?? ""),
    dataset: String(card?.dataset ?? ""),
  };
  check(facts, name);
  return facts;
}

/** The metadata of an ONNX file, a Map of texts. */
export function readMetadata(bytes, name = "model.onnx") {
  const metadata = new Map();
  const text = new TextDecoder();
  for (const [number, content] of fields(bytes, name)) {
    if (number !== METADATA || !(content instanceof Uint8Array)) continue;
    const pair = new Map(fields(content, name));
    const [key, value] = [pair.get(KEY), pair.get(VALUE)];
    if (key instanceof Uint8Array) metadata.set(text.decode(key), text.decode(value ?? new Uint8Array()));
  }
  return metadata;
}

/** The fields of a protobuf message: numbers with their bytes, or with null for other values. */
function* fields(bytes, name) {
  let place = 0;
  const damaged = () => new Error(`${name} is not a complete ONNX file; copy it again`);
  const varint = () => {
    let [value, scale] = [0, 1];
    for (let i = 0; i < 10; i++) {
      if (place >= bytes.length) throw damaged();
      const byte = bytes[place++];
      value += (byte & 127) * scale;
      scale *= 128;
      if (byte < 128) return value;
    }
    throw damaged();
  };
  while (place < bytes.length) {
    const tag = varint();
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (type === LENGTH) {
      const length = varint();
      if (number === 0 || length > bytes.length - place) throw damaged();
      yield [number, bytes.subarray(place, place + length)];
      place += length;
      continue;
    }
    if (number === 0 || ![VARINT, EIGHT_BYTES, FOUR_BYTES].includes(type)) throw damaged();
    if (type === VARINT) varint();
    else place += type === EIGHT_BYTES ? 8 : 4;
    yield [number, null];
  }
}

function parse(text, place) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${place} is not JSON: ${text.slice(0, 80)}`);
  }
}

function check({ joints, limbs, inputSize, boxPadding, decode }, name) {
  const isJoint = (joint) => Number.isInteger(joint) && joint >= 0 && joint < joints.length;
  const isPair = (pair) => Array.isArray(pair) && pair.length === 2 && pair.every(isJoint);
  const isSize = (side) => Number.isInteger(side) && side >= 1 && side <= 4096;
  const isText = (joint) => typeof joint === "string";
  const expectations = [
    [Array.isArray(joints) && joints.length > 0 && joints.every(isText), "joints: a list of names"],
    [Array.isArray(limbs) && limbs.every(isPair), "limbs: pairs of joint numbers"],
    [
      Array.isArray(inputSize) && inputSize.length === 2 && inputSize.every(isSize),
      "input_size: a height and a width",
    ],
    [boxPadding >= 1 && boxPadding < 10, "box_padding: a number from 1 to 10"],
    [decode !== "none", 'decode: a method, not "none" (the page needs keypoints, not heatmaps)'],
  ];
  const wrong = expectations.filter(([right]) => !right).map(([, expected]) => expected);
  if (wrong.length) throw new Error(`${name} has unusable metadata; expected ${wrong.join("; ")}`);
}
