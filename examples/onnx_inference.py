"""The pose of a person by an exported network: NumPy, OpenCV and onnxruntime, nothing else.

    python examples/onnx_inference.py model.onnx photo.jpg pose.jpg --box=100,50,200,400

`python scripts/export.py --checkpoint=… --output=model.onnx` writes the network. The box is
x,y,w,h in pixels of the photograph; without it, the whole photograph is the person's box.
"""

import argparse
import json

import cv2
import numpy as np
import onnxruntime


def crop_matrix(box, told):
    """The matrix (2, 3) from pixels of the photograph to pixels of the crop."""
    height, width = json.loads(told["input_size"])
    x, y, w, h = box
    tall = max(h, w * height / width) * float(told["box_padding"])  # what the crop shows
    shown = np.array([tall * width / height, tall])
    size = np.array([width, height]) - (told["udp"] == "true")  # UDP spans the pixels' centers
    zoom = size / shown
    return np.c_[np.diag(zoom), size / 2 - zoom * (x + w / 2, y + h / 2)]


def predict(session, image, box):
    """The keypoints (k, 2) in pixels of an RGB image, and their scores (k,)."""
    told = session.get_modelmeta().custom_metadata_map
    matrix = crop_matrix(box, told)
    crop = cv2.warpAffine(image, matrix, json.loads(told["input_size"])[::-1])
    keypoints, scores = session.run(["keypoints", "scores"], {"crops": crop[None]})
    return (keypoints[0] - matrix[:, 2]) / matrix.diagonal(), scores[0]


def draw(image, keypoints, scores, limbs, threshold=0.2):
    """A copy of an image with the skeleton: limbs between joints above the threshold."""
    image, points = image.copy(), np.round(keypoints).astype(int)
    for a, b in limbs:
        if min(scores[a], scores[b]) > threshold:
            cv2.line(image, points[a].tolist(), points[b].tolist(), (255, 160, 0), 3, cv2.LINE_AA)
    for point in points[scores > threshold]:
        cv2.circle(image, point.tolist(), 4, (0, 120, 255), cv2.FILLED, cv2.LINE_AA)
    return image


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("photo")
    parser.add_argument("output")
    parser.add_argument("--box", type=lambda text: [float(x) for x in text.split(",")])
    options = parser.parse_args()
    session = onnxruntime.InferenceSession(options.model, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    image = cv2.cvtColor(cv2.imread(options.photo), cv2.COLOR_BGR2RGB)
    box = options.box or (0, 0, image.shape[1], image.shape[0])
    keypoints, scores = predict(session, image, box)
    for name, (x, y), score in zip(json.loads(told["joints"]), keypoints, scores, strict=True):
        print(f"{name:16} {x:7.1f} {y:7.1f}  {score:.2f}")
    picture = draw(image, keypoints, scores, json.loads(told["limbs"]))
    cv2.imwrite(options.output, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
