// Where pictures come from: files, and the camera. Errors are Errors whose message is for people.

const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 } };
const CAMERA_PROBLEMS = {
  NotAllowedError:
    "The camera is not allowed for this page. Allow it in the browser's settings for this page, " +
    "then press the button again.",
  NotFoundError: "No camera was found on this device. You can choose a photograph instead.",
  OverconstrainedError: "No camera was found that can be used. You can choose a photograph instead.",
  NotReadableError: "The camera does not answer: another program may be using it. Close that first.",
};

/** The picture in a file: {source, width, height}, upright, with its colors as they are stored. */
export async function readPicture(file) {
  const name = file.name || "The pasted picture";
  if (file.type.startsWith("video/")) {
    throw new Error(`${name} is a video. The page takes one picture, or the camera.`);
  }
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  let source;
  try {
    source = await createImageBitmap(file, options);
  } catch {
    const kind = file.type ? ` (${file.type}, ${file.size} bytes)` : ` (${file.size} bytes)`;
    throw new Error(
      `${name}${kind} is not a picture that this browser can read. JPEG, PNG and WebP always work; ` +
        "if it is one of these, the file is damaged.",
    );
  }
  return { source, width: source.width, height: source.height };
}

/** The pixels of a picture, {data, width, height} with four bytes a pixel. */
export function pixelsOf({ source, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  try {
    context.drawImage(source, 0, 0);
    return { data: context.getImageData(0, 0, width, height).data, width, height };
  } catch (error) {
    throw new Error(
      `A picture of ${width}×${height} pixels is too large for this browser (${error.message}). ` +
        "Make it smaller first.",
    );
  }
}

/** Starts a camera, the next one where `after` is the id of one: {video, id, isFront, count}. */
export async function openCamera(after = "") {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(
      "The camera can be used on a secure address only: https://…, or localhost on your own machine.",
    );
  }
  let choice = { facingMode: "user" };
  if (after) {
    const cameras = await listCameras();
    const place = cameras.findIndex((camera) => camera.deviceId === after);
    choice = { deviceId: { exact: cameras[(place + 1) % cameras.length].deviceId } };
  }
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true });
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { ...CAMERA, ...choice } });
    await video.play();
  } catch (error) {
    closeCamera({ video });
    throw new Error(CAMERA_PROBLEMS[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
  const settings = video.srcObject.getVideoTracks()[0].getSettings();
  const count = (await listCameras()).length;
  return { video, id: settings.deviceId, isFront: settings.facingMode !== "environment", count };
}

async function listCameras() {
  const devices = await navigator.mediaDevices.enumerateDevices();
  return devices.filter((device) => device.kind === "videoinput");
}

/** Switches a camera off. */
export function closeCamera({ video }) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

/** Calls `act` once the camera has its next frame. */
export function onFrame(video, act) {
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(act);
  else requestAnimationFrame(act);
}

/** The frame that the camera shows now, a picture of its own. */
export function grabFrame(video) {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d", { willReadFrequently: true }).drawImage(video, 0, 0);
  return { source: canvas, width: canvas.width, height: canvas.height };
}
