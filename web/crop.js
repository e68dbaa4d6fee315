// From a person's box to the pixels that the network sees, and back to the picture.
//
// Points are [x, y], sizes [height, width], boxes [x, y, w, h] in pixels of the picture; a matrix
// [a, b, c, d, e, f] maps x, y to a x + b y + c, d x + e y + f.

// OpenCV 4 interpolates on a grid of 1/32 pixel and finds its place in steps of 1/1024 pixel.
// Networks are trained and scored on its crops, so crops here are the same to the last bit.
const STEPS = 1024;
const HALF_CELL = 16;
const SHIFT = 5;

/** The matrix from the picture to the crop, as hrjax's Predictor cuts it. */
export function cropMatrix(box, facts) {
  const [height, width] = facts.inputSize;
  const [x, y] = [box[0] + box[2] / 2, box[1] + box[3] / 2];
  const size = fitAspect(
    [box[3] * facts.boxPadding, box[2] * facts.boxPadding],
    facts.inputSize,
  );
  if (facts.udp) {
    // The size lies between the centers of the outermost pixels.
    const [zoomX, zoomY] = [(width - 1) / size[1], (height - 1) / size[0]];
    return [zoomX, 0, zoomX * (size[1] / 2 - x), 0, zoomY, zoomY * (size[0] / 2 - y)];
  }
  const zoom = width / size[1];
  return [zoom, 0, width / 2 - zoom * x, 0, zoom, height / 2 - zoom * y];
}

/** The smallest size around `size` with the aspect ratio of `inputSize`. */
export function fitAspect(size, inputSize) {
  const aspect = inputSize[1] / inputSize[0];
  const [height, width] = size;
  return [Math.max(height, width / aspect), Math.max(width, height * aspect)];
}

/** The matrix of the opposite direction. */
export function invert([a, b, c, d, e, f]) {
  let scale = a * e - b * d;
  scale = scale === 0 ? 0 : 1 / scale;
  const [first, second, third, fourth] = [e * scale, b * -scale, d * -scale, a * scale];
  return [
    first,
    second,
    -first * c - second * f,
    third,
    fourth,
    -third * c - fourth * f,
  ];
}

/** Points [x0, y0, x1, y1, …] moved by a matrix. */
export function transform(points, [a, b, c, d, e, f]) {
  const moved = new Float64Array(points.length);
  for (let i = 0; i < points.length; i += 2) {
    moved[i] = a * points[i] + b * points[i + 1] + c;
    moved[i + 1] = d * points[i] + e * points[i + 1] + f;
  }
  return moved;
}

/**
 * Writes the crop (height, width, 3) RGB of a picture (RGBA) into `crop`.
 *
 * `matrix` leads from the picture to the crop. What lies outside the picture is black.
 */
export function warp(picture, matrix, [height, width], crop) {
  const [a, b, c, d, e, f] = invert(matrix);
  const columnX = new Int32Array(width);
  const columnY = new Int32Array(width);
  for (let x = 0; x < width; x++) {
    columnX[x] = toInt(a * x * STEPS);
    columnY[x] = toInt(d * x * STEPS);
  }
  for (let y = 0; y < height; y++) {
    const rowX = toInt((b * y + c) * STEPS) + HALF_CELL;
    const rowY = toInt((e * y + f) * STEPS) + HALF_CELL;
    for (let x = 0; x < width; x++) {
      const [gridX, gridY] = [(rowX + columnX[x]) >> SHIFT, (rowY + columnY[x]) >> SHIFT];
      sample(picture, gridX, gridY, crop, 3 * (y * width + x));
    }
  }
  return crop;
}

/** Writes the three colors at a point, given in 1/32 pixel. */
function sample({ data, width, height }, gridX, gridY, crop, place) {
  const [x, y] = [gridX >> 5, gridY >> 5];
  const [right, below] = [gridX & 31, gridY & 31];
  const row = 4 * width;
  const start = y * row + 4 * x;
  const weights = [(32 - right) * (32 - below), right * (32 - below), (32 - right) * below];
  const last = right * below;
  if (x >= 0 && y >= 0 && x < width - 1 && y < height - 1) {
    for (let color = 0; color < 3; color++) {
      const at = start + color;
      const sum =
        weights[0] * data[at] +
        weights[1] * data[at + 4] +
        weights[2] * data[at + row] +
        last * data[at + row + 4];
      crop[place + color] = (sum + 512) >> 10;
    }
    return;
  }
  for (let color = 0; color < 3; color++) {
    const at = (column, line) =>
      column >= 0 && line >= 0 && column < width && line < height
        ? data[line * row + 4 * column + color]
        : 0;
    const sum =
      weights[0] * at(x, y) +
      weights[1] * at(x + 1, y) +
      weights[2] * at(x, y + 1) +
      last * at(x + 1, y + 1);
    crop[place + color] = (sum + 512) >> 10;
  }
}

/** The nearest integer, of two the even one, within 32 bits. */
function toInt(value) {
  const below = Math.floor(value);
  const rest = value - below;
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0);
  return Math.min(Math.max(up ? below + 1 : below, -(2 ** 31)), 2 ** 31 - 1 - HALF_CELL);
}
