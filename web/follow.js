// The box of the next camera frame: around the joints of this one.

// The same numbers as in hrjax's tracking of people through films.
export const JOINT_SCORE = 0.2; // joints with higher scores count
const MARGIN = 0.15; // of the longer side of what the joints span: heads and feet reach beyond it
const FEWEST = 3; // joints; fewer do not say where a person is
const BLIND = 500; // milliseconds for which a box is kept for a person who is not seen

/** The box around the joints whose score is above `threshold`; null where too few are. */
export function boxAround(keypoints, scores, threshold = JOINT_SCORE) {
  const xs = [];
  const ys = [];
  scores.forEach((score, joint) => {
    const [x, y] = [keypoints[2 * joint], keypoints[2 * joint + 1]];
    if (!(score > threshold) || !Number.isFinite(x + y)) return;
    xs.push(x);
    ys.push(y);
  });
  if (xs.length < FEWEST) return null;
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  const [width, height] = [Math.max(...xs) - left, Math.max(...ys) - top];
  const border = MARGIN * Math.max(width, height);
  if (!(border > 0)) return null;
  return [left - border, top - border, width + 2 * border, height + 2 * border];
}

/** Whether a part of the box lies in a picture of that size. */
export function overlaps([x, y, w, h], width, height) {
  return w > 0 && h > 0 && x < width && y < height && x + w > 0 && y + h > 0;
}

/** A person followed from frame to frame, beginning in the box `start`. */
export function following(start) {
  return { box: start, start, seen: -Infinity, isFound: false };
}

/** The person after a frame at `time`, in milliseconds. Where nothing is seen, it starts again. */
export function next(person, { keypoints, scores }, time, { width, height }) {
  const box = boxAround(keypoints, scores);
  if (box && overlaps(box, width, height)) return { ...person, box, seen: time, isFound: true };
  if (person.isFound && time - person.seen < BLIND) return person;
  return following(person.start);
}
