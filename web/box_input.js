// The person's box, drawn with mouse, pen or finger, moved with keys, or typed.

const SMALLEST = 8; // pixels of the screen; shorter drags are clicks
const STEP = 0.01; // of the picture's longer side
const GROWTH = 1.05;

/** The box between two corners, inside the picture. */
export function boxBetween(first, second, { width, height }) {
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  const xs = [first[0], second[0]].map((x) => within(x, width)).sort((a, b) => a - b);
  const ys = [first[1], second[1]].map((y) => within(y, height)).sort((a, b) => a - b);
  return [xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0]];
}

/** The box after a key; "whole" for the whole picture, null where the key means nothing. */
export function boxAfterKey([x, y, w, h], { key, shiftKey, altKey, ctrlKey, metaKey }, picture) {
  if (altKey || ctrlKey || metaKey) return null;
  if (key === "Escape") return "whole";
  const step = STEP * Math.max(picture.width, picture.height);
  const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (direction[key]) {
    const [across, down] = direction[key].map((sign) => sign * step);
    if (shiftKey) return [x, y, Math.max(w + across, step), Math.max(h + down, step)];
    return [
      Math.min(Math.max(x + across, step - w), picture.width - step),
      Math.min(Math.max(y + down, step - h), picture.height - step),
      w,
      h,
    ];
  }
  const scale = { "+": GROWTH, "=": GROWTH, "-": 1 / GROWTH, "−": 1 / GROWTH }[key];
  if (!scale) return null;
  const size = [Math.max(w * scale, step), Math.max(h * scale, step)];
  return [x + (w - size[0]) / 2, y + (h - size[1]) / 2, ...size];
}

/**
 * Listens to the canvas. `picture()` is the shown picture or null, `isMirrored()` tells how it is
 * shown, `box()` is the box; `sketch(box)` is called while a box is drawn, null where it is given
 * up, and `choose(box)` with a box that is meant, or "whole".
 */
export function listen(canvas, { picture, isMirrored, box, sketch, choose }) {
  let start = null;
  const place = (event) => {
    const bounds = canvas.getBoundingClientRect();
    const across = (event.clientX - bounds.left) / bounds.width;
    const down = (event.clientY - bounds.top) / bounds.height;
    const { width, height } = picture();
    return [(isMirrored() ? 1 - across : across) * width, down * height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!picture() || event.button !== 0 || start) return;
    start = { id: event.pointerId, at: place(event), screen: [event.clientX, event.clientY] };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (start?.id === event.pointerId) sketch(boxBetween(start.at, place(event), picture()));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (start?.id !== event.pointerId) return;
    const drawn = boxBetween(start.at, place(event), picture());
    const sides = [event.clientX - start.screen[0], event.clientY - start.screen[1]];
    start = null;
    const isDrag = sides.every((side) => Math.abs(side) >= SMALLEST);
    if (isDrag && drawn[2] > 0 && drawn[3] > 0) choose(drawn);
    else sketch(null);
  });
  canvas.addEventListener("pointercancel", () => {
    start = null;
    sketch(null);
  });
  canvas.addEventListener("keydown", (event) => {
    if (!picture()) return;
    const moved = boxAfterKey(box(), event, picture());
    if (moved === null) return;
    event.preventDefault();
    choose(moved);
  });
}
