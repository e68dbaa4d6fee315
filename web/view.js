// Draws the picture, the box and the skeleton on the visible canvas, at the screen's resolution.

const [LEFT, RIGHT, MIDDLE] = ["rgb(0 180 255)", "rgb(255 130 0)", "rgb(110 225 80)"];
const BOX = "rgb(255 230 60)";
const SHADE = "rgb(0 0 0 / 0.55)";
const TALLEST = 0.75; // of the window

/** The color of a joint, or of a limb between joints, by their sides in their names. */
export function colorOf(...names) {
  const sides = new Set(names.map((name) => name.split("_")[0]));
  if (sides.has("left") === sides.has("right")) return MIDDLE;
  return sides.has("left") ? LEFT : RIGHT;
}

/** The scale at which a picture is shown in `room` pixels of width of a window `tall` pixels high. */
export function displayScale({ width, height }, room, tall) {
  return Math.min(room / width, (TALLEST * tall) / height);
}

/** Sizes the canvas for a picture; returns canvas pixels per picture pixel. */
export function fit(canvas, picture) {
  const room = canvas.parentElement.clientWidth;
  const scale = displayScale(picture, room, window.innerHeight);
  const [width, height] = [picture.width * scale, picture.height * scale];
  const density = window.devicePixelRatio || 1;
  const size = [Math.max(1, Math.round(width * density)), Math.max(1, Math.round(height * density))];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  return canvas.width / picture.width;
}

/** Draws a picture with the box and, where there is one, the pose {keypoints, scores}. */
export function draw(context, scale, { picture, box, pose, facts, threshold, isMirrored }) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  if (isMirrored) context.setTransform(-1, 0, 0, 1, context.canvas.width, 0);
  context.drawImage(picture.source, 0, 0, picture.width * scale, picture.height * scale);
  const density = Math.min(context.canvas.width, context.canvas.height) / 200;
  const line = Math.max(1.5, Math.min(density, 2.5 * (window.devicePixelRatio || 1)));
  if (box) drawBox(context, box.map((value) => value * scale), line);
  if (pose) drawSkeleton(context, scale, pose, facts, threshold, line);
}

function drawBox(context, [x, y, w, h], line) {
  for (const [color, width] of [[SHADE, 2 * line], [BOX, line]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(x, y, w, h);
  }
}

function drawSkeleton(context, scale, { keypoints, scores }, facts, threshold, line) {
  const isShown = (joint) => scores[joint] > threshold && Number.isFinite(keypoints[2 * joint]);
  const point = (joint) => [keypoints[2 * joint] * scale, keypoints[2 * joint + 1] * scale];
  context.lineCap = "round";
  for (const [first, second] of facts.limbs) {
    if (!isShown(first) || !isShown(second)) continue;
    const limb = new Path2D();
    limb.moveTo(...point(first));
    limb.lineTo(...point(second));
    const color = colorOf(facts.joints[first], facts.joints[second]);
    for (const [stroke, width] of [[SHADE, 2.6 * line], [color, 1.6 * line]]) {
      context.strokeStyle = stroke;
      context.lineWidth = width;
      context.stroke(limb);
    }
  }
  facts.joints.forEach((name, joint) => {
    if (!isShown(joint)) return;
    for (const [color, radius] of [[SHADE, 2.3 * line], [colorOf(name), 1.8 * line]]) {
      context.beginPath();
      context.arc(...point(joint), radius, 0, 2 * Math.PI);
      context.fillStyle = color;
      context.fill();
    }
  });
}
