// What was found, in words: the table of joints, the times, the facts of the model; and as files.

const find = (id) => document.getElementById(id);

/** Makes a row of the table for each joint. */
export function makeTable(facts) {
  const rows = facts.joints.map((name) => {
    const row = document.createElement("tr");
    const heading = document.createElement("th");
    heading.scope = "row";
    heading.textContent = readable(name);
    const cells = ["–", "–", "–"].map((text) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      return cell;
    });
    row.append(heading, ...cells);
    return row;
  });
  find("joints").replaceChildren(...rows);
}

const readable = (name) => name.replaceAll("_", " ");

/** Fills the table; joints that do not score above the threshold are pale. */
export function fillTable({ keypoints, scores }, facts, threshold) {
  [...find("joints").rows].forEach((row, joint) => {
    const [x, y] = [keypoints[2 * joint], keypoints[2 * joint + 1]];
    Object.assign(row.dataset, { x, y, score: scores[joint] }); // with all digits
    row.cells[1].textContent = x.toFixed(1);
    row.cells[2].textContent = y.toFixed(1);
    let meter = row.querySelector("meter");
    if (!meter) {
      meter = document.createElement("meter");
      row.cells[3].replaceChildren(meter, "");
    }
    meter.value = Math.min(Math.max(scores[joint], 0), 1);
    meter.setAttribute("aria-label", `score of ${readable(facts.joints[joint])}`);
    meter.nextSibling.textContent = scores[joint].toFixed(2);
    row.classList.toggle("faint", !(scores[joint] > threshold));
  });
}

/** Empties the table. */
export function clearTable() {
  for (const row of find("joints").rows) for (const key of ["x", "y", "score"]) delete row.dataset[key];
  for (const cell of find("joints").querySelectorAll("td")) cell.textContent = "–";
}

/** Says how long a picture took; `rate` is the number of camera frames a second, or 0. */
export function showTimes({ crop, network }, rate) {
  const total = `Crop ${crop.toFixed(1)} ms, network and decoding ${network.toFixed(1)} ms`;
  find("times").textContent = rate ? `${total}; ${rate.toFixed(1)} frames a second.` : `${total}.`;
}

/** Says what computes and which model it is. */
export function showFacts({ facts, processor, threads, bytes, seconds }) {
  const isolated = "A server that sends the headers for isolation allows more threads";
  find("runtime").textContent =
    processor === "webgpu"
      ? `Runs on the graphics card (WebGPU). Ready after ${seconds.toFixed(1)} s.`
      : `Runs on the processor (WebAssembly with SIMD, ${threads} thread${threads > 1 ? "s" : ""}). ` +
        `Ready after ${seconds.toFixed(1)} s.${self.crossOriginIsolated ? "" : ` ${isolated}.`}`;
  const [height, width] = facts.inputSize;
  const rows = {
    Network: facts.variant || "not stated",
    "Trained on": facts.dataset || "not stated",
    Crop: `${width}×${height} pixels; the box is enlarged by ${facts.boxPadding}`,
    Decoding: `${facts.decode}, ${facts.flipTest ? "with" : "without"} flip test`,
    File: `${(bytes / 1e6).toFixed(1)} MB`,
    License: facts.license || "not stated",
  };
  const parts = Object.entries(rows).flatMap(([term, text]) =>
    [["dt", term], ["dd", text]].map(([tag, content]) => {
      const element = document.createElement(tag);
      element.textContent = content;
      return element;
    }),
  );
  find("facts").replaceChildren(...parts);
}

/** The pose as JSON text: joints with their positions in pixels of the picture, and the box. */
export function toJson({ keypoints, scores, box }, facts, { width, height }) {
  const joints = facts.joints.map((name, joint) => ({
    name,
    x: keypoints[2 * joint],
    y: keypoints[2 * joint + 1],
    score: scores[joint],
  }));
  return `${JSON.stringify({ width, height, box, joints }, null, 1)}\n`;
}

/** Hands a file to the browser's downloads. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
