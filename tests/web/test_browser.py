"""The page in a headless browser: its joints are the exported file's, and it says what fails."""

import json
import re
import shutil

import browser
import cv2
import numpy as np
import pytest

import hrjax
from hrjax.export import web_page

pytestmark = pytest.mark.long

STATUS = "document.getElementById('status').textContent"
PROBLEM = "document.getElementById('problem').textContent"
READY = "!document.getElementById('processor').disabled"
COMPUTED = f"{STATUS}.includes(' ms).')"
ROWS = "[...document.getElementById('joints').rows].map((row) => ({...row.dataset}))"
# A graphics card computed by the processor: slow, but the same code as for a real one.
EMULATED_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
TOLERANCE = 0.01  # pixels


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """The files of onnxruntime-web; skips where npm is missing or reaches no registry."""
    browser.find_chromium()
    folder = tmp_path_factory.mktemp("runtime")
    try:
        web_page.find_runtime(None, folder)
    except (OSError, ValueError) as error:
        pytest.skip(f"requires onnxruntime-web: {error}")
    return next(folder.glob("*.tgz"))


@pytest.fixture(scope="module")
def site(portable, runtime, tmp_path_factory):
    """A page with a tiny network; DARK's step would amplify the rounding of random weights."""
    folder = tmp_path_factory.mktemp("site") / "page"
    return hrjax.export_web(portable.weights, folder, onnxruntime_web=runtime, decode="quarter")


@pytest.fixture(scope="module")
def photo(drawn, tmp_path_factory):
    """A drawn picture as PNG, which every program decodes to the same pixels."""
    image = cv2.imread(str(next(drawn.rglob("*.jpg"))))
    file = tmp_path_factory.mktemp("photos") / "photo.png"
    cv2.imwrite(str(file), image)
    return file


@pytest.fixture(scope="module")
def page(site, tmp_path_factory):
    """A browser with a camera that shows the page."""
    profile = tmp_path_factory.mktemp("profile")
    with browser.serve(site) as address, browser.Browser(profile, *FAKE_CAMERA) as started:
        started.address = address
        yield started


def show(page, photo, **window):
    page.open(page.address, **window)
    page.wait(READY)
    page.choose_file("#file", photo)
    page.wait(COMPUTED)


def table(page):
    """The page's keypoints (k, 2) and scores (k,), with all digits."""
    rows = [{key: float(value) for key, value in row.items()} for row in page.run(ROWS)]
    return np.array([[row["x"], row["y"]] for row in rows]), np.array([r["score"] for r in rows])


def box_of(page):
    """The person's box as the page shows it, rounded."""
    return page.run("['x', 'y', 'w', 'h'].map((s) => +document.getElementById('box_' + s).value)")


def type_box(page, box):
    for name, value in zip("xywh", box, strict=True):
        page.run(f"document.getElementById('box_{name}').value = {value}")
    page.run("document.getElementById('box_h').dispatchEvent(new Event('change'))")


def assert_same(page, model, photo, box):
    """The page's joints are those that onnxruntime computes of the same file."""
    poses = hrjax.Predictor(model)(photo, [box])
    keypoints, scores = table(page)
    np.testing.assert_allclose(keypoints, poses.keypoints[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(scores, poses.scores[0], rtol=0, atol=1e-4)


def whole(photo):
    height, width = cv2.imread(str(photo)).shape[:2]
    return [0, 0, width, height]


def settle(page, action):
    """Does something that makes the page compute, and waits for the result."""
    page.run("document.getElementById('status').textContent = '…'")
    action()
    page.wait(COMPUTED)


def test_joints_equal_onnxruntimes_for_a_whole_picture_and_a_typed_box(page, site, photo):
    show(page, photo)
    assert_same(page, site / "model.onnx", photo, whole(photo))
    settle(page, lambda: type_box(page, [20, 10, 50, 80]))
    assert_same(page, site / "model.onnx", photo, [20, 10, 50, 80])


def test_a_box_is_drawn_with_the_mouse_and_moved_with_keys(page, site, photo):
    show(page, photo)
    left, top, across, down = page.run(
        "(() => { const r = document.getElementById('view').getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height]; })()"
    )
    height, width = cv2.imread(str(photo)).shape[:2]
    corners = (left + 0.25 * across, top + 0.25 * down), (left + 0.75 * across, top + 0.5 * down)
    settle(page, lambda: page.drag(*corners))
    drawn = np.array([0.25 * width, 0.25 * height, 0.5 * width, 0.25 * height])
    np.testing.assert_allclose(box_of(page), drawn, atol=1)
    page.run("document.getElementById('view').focus()")
    settle(page, lambda: page.press("ArrowRight"))
    step = max(width, height) / 100
    np.testing.assert_allclose(box_of(page), np.add(drawn, [step, 0, 0, 0]), atol=1)
    settle(page, lambda: page.press("ArrowDown", shift=True))
    settle(page, lambda: page.press("Escape"))
    assert box_of(page) == whole(photo)
    assert_same(page, site / "model.onnx", photo, whole(photo))


def test_a_phone_shows_everything_in_its_width_and_takes_fingers(page, photo, tmp_path):
    show(page, photo, width=390, height=844, scale=2)
    assert page.run("document.documentElement.scrollWidth") == 390
    page.run("document.getElementById('view').scrollIntoView({block: 'center'})")
    left, top, across, down = page.run(
        "(() => { const r = document.getElementById('view').getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height]; })()"
    )
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    corners = (left + 0.2 * across, top + 0.2 * down), (left + 0.6 * across, top + 0.8 * down)
    settle(page, lambda: page.swipe(*corners))
    page.call("Emulation.setTouchEmulationEnabled", enabled=False)
    height, width = cv2.imread(str(photo)).shape[:2]
    drawn = [0.2 * width, 0.2 * height, 0.4 * width, 0.6 * height]
    np.testing.assert_allclose(box_of(page), drawn, atol=1)
    page.run("document.getElementById('threshold').value = 0")
    page.run("document.getElementById('threshold').dispatchEvent(new Event('input'))")
    page.screenshot(tmp_path / "phone.png")
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "phone.png")), cv2.COLOR_BGR2RGB)
    assert picture.shape == (1688, 780, 3)
    box_color = (abs(picture.astype(int) - (255, 230, 60)) < 12).all(axis=-1)
    assert box_color.sum() > 400


def test_everything_that_takes_the_focus_has_a_name(page, photo):
    show(page, photo)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]

    def has(node, name):
        values = {entry["name"]: entry["value"].get("value") for entry in node["properties"]}
        return values.get(name)

    focusable = [node for node in nodes if "properties" in node and has(node, "focusable")]
    names = {
        node.get("name", {}).get("value", "").strip() for node in focusable[1:]
    }  # not the document
    assert "" not in names
    expected = {"Choose a photograph", "Use the camera", "Whole picture", "left", "height"}
    assert expected <= names


def test_camera_frames_are_computed_until_it_is_stopped(page):
    page.open(page.address)
    page.wait(READY)
    page.run("document.getElementById('camera').click()")
    page.wait("document.getElementById('times').textContent.includes('frames a second')")
    first = page.run(ROWS)
    page.wait(f"JSON.stringify({ROWS}) !== {json.dumps(json.dumps(first, separators=(',', ':')))}")
    page.run("document.getElementById('camera').click()")
    assert page.run(STATUS) == "The camera is off; the last frame stays."
    assert page.run("document.getElementById('camera').textContent") == "Use the camera"
    assert page.run(PROBLEM) == ""


# Stops the camera once a frame went to the worker, and sets window.isAnswered after its answer.
STOP_IN_FLIGHT = """
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, transferred) {
  post.call(this, message, transferred);
  Worker.prototype.postMessage = post;
  this.addEventListener("message", () => setTimeout(() => (window.isAnswered = true)));
  document.getElementById("camera").click();
};
"""


def test_the_answer_to_a_frame_after_the_camera_was_stopped_is_drawn_in_silence(page):
    page.open(page.address)
    page.wait(READY)
    page.run("document.getElementById('camera').click()")
    page.wait("document.getElementById('times').textContent.includes('frames a second')")
    page.run(STOP_IN_FLIGHT)
    page.wait("window.isAnswered")
    assert page.run(STATUS) == "The camera is off; the last frame stays."
    assert page.run("document.getElementById('camera').textContent") == "Use the camera"
    assert page.run(PROBLEM) == ""


def test_pictures_and_camera_may_follow_each_other_at_once(page, site, photo):
    page.open(page.address)
    page.wait(READY)
    page.choose_file("#file", photo)
    page.run("document.getElementById('camera').click()")
    page.wait("document.getElementById('times').textContent.includes('frames a second')")
    choose_processor(page, "wasm")  # starts the network anew
    page.choose_file("#file", photo)
    page.wait(f"{READY} && {COMPUTED}")
    assert page.run(PROBLEM) == ""
    assert page.run("document.getElementById('camera').textContent") == "Use the camera"
    assert_same(page, site / "model.onnx", photo, whole(photo))


def test_files_that_are_not_pictures_are_named(page, tmp_path):
    page.open(page.address)
    page.wait(READY)
    for name, message in {
        "notes.txt": "notes.txt (text/plain, 5 bytes) is not a picture that this browser can read",
        "film.mp4": "film.mp4 is a video. The page takes one picture, or the camera.",
        "cut.png": "cut.png (image/png, 5 bytes) is not a picture that this browser can read",
    }.items():
        (tmp_path / name).write_text("hello")
        page.choose_file("#file", tmp_path / name)
        page.wait(f"{PROBLEM}.startsWith({json.dumps(message)})")
    assert page.run(STATUS).startswith("Ready")


def test_nothing_can_be_sent_elsewhere(page, photo):
    show(page, photo)
    requests = page.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert requests
    assert all(name.startswith((page.address, "blob:")) for name in requests)
    with browser.serve(photo.parent, {"Access-Control-Allow-Origin": "*"}) as elsewhere:
        sent = f"fetch('{elsewhere}photo.png').then(() => 'sent', () => 'refused')"
        assert page.run(sent) == "refused"


def test_webgpu_that_is_missing_is_said_and_wasm_used(page, site, photo):
    show(page, photo)
    choose_processor(page, "webgpu")
    page.wait(f"{PROBLEM}.startsWith('WebGPU cannot be used: ')")
    page.wait(f"{READY} && {COMPUTED}")
    assert page.run(PROBLEM).endswith("WebAssembly is used instead.")
    assert_same(page, site / "model.onnx", photo, whole(photo))


def choose_processor(page, name):
    page.run(f"document.getElementById('processor').value = '{name}'")
    page.run("document.getElementById('processor').dispatchEvent(new Event('change'))")


def test_webgpu_finds_the_same_joints_and_wasm_takes_over_where_it_fails(site, photo, tmp_path):
    folder = tmp_path / "page"
    shutil.copytree(site, folder)
    with (
        browser.serve(folder) as address,
        browser.Browser(tmp_path / "profile", *EMULATED_GPU) as page,
    ):
        page.address = address
        show(page, photo)
        if not page.run("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("requires a browser with WebGPU")
        assert "WebAssembly" in page.run("document.getElementById('runtime').textContent")
        settle(page, lambda: choose_processor(page, "webgpu"))
        assert "WebGPU" in page.run("document.getElementById('runtime').textContent")
        assert page.run(PROBLEM) == ""
        assert_same(page, folder / "model.onnx", photo, whole(photo))
        (folder / "ort.webgpu.js").unlink()
        show(page, photo)
        settle(page, lambda: choose_processor(page, "webgpu"))
        assert page.run(PROBLEM).startswith("WebGPU failed (ort.webgpu.js is missing beside this")
        assert "WebAssembly" in page.run("document.getElementById('runtime').textContent")
        assert_same(page, folder / "model.onnx", photo, whole(photo))


def test_buttons_fit_the_box_measure_and_save(page, photo, tmp_path):
    show(page, photo)
    folder = str(tmp_path)
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder)
    page.run("document.getElementById('measure').click()")
    page.wait(f"{STATUS}.includes('50 times: median ')")
    page.run("document.getElementById('save_joints').click()")
    page.run("document.getElementById('save_picture').click()")
    page.wait("new Promise((done) => setTimeout(() => done(true), 1500))")
    saved = json.loads((tmp_path / "joints.json").read_text())
    assert [[joint["x"], joint["y"]] for joint in saved["joints"]] == table(page)[0].tolist()
    assert saved["box"] == whole(photo)
    assert cv2.imread(str(tmp_path / "pose.png")).shape[1] > 600
    page.run("document.getElementById('threshold').value = 1")
    page.run("document.getElementById('threshold').dispatchEvent(new Event('input'))")
    page.run("document.getElementById('fit').click()")
    assert page.run(STATUS) == "Too few joints score above the threshold to fit a box."


@pytest.mark.parametrize(
    ("file", "contents", "message"),
    [
        ("model.onnx", None, r"There is no model\.onnx beside this page \(the server says 404\)"),
        ("model.onnx", b"\x0a\x05ab", r"model\.onnx is not a complete ONNX file"),
        ("model.onnx", b"\x0a\x02ab", r"model\.onnx does not say its joints, .*not exported by hr"),
        ("ort.wasm.js", None, r"The network cannot be started: ort\.wasm\.js is missing beside"),
        ("ort-wasm-simd-threaded.wasm", None, r"The network cannot be started: "),
        ("worker.js", None, r"The page's own scripts cannot be started: "),
    ],
)
def test_a_folder_that_lacks_something_says_what(page, site, tmp_path, file, contents, message):
    folder = tmp_path / "broken"
    shutil.copytree(site, folder)
    (folder / file).unlink()
    if contents is not None:
        (folder / file).write_bytes(contents)
    with browser.serve(folder) as address:
        page.open(address)
        page.wait(f"{PROBLEM} !== ''")
        assert re.match(message, page.run(PROBLEM))
        assert page.run("document.getElementById('problem').getAttribute('role')") == "alert"


def test_without_a_camera_the_page_says_so(site, tmp_path):
    with browser.serve(site) as address, browser.Browser(tmp_path / "profile") as page:
        page.open(address)
        page.wait(READY)
        page.run("document.getElementById('camera').click()")
        page.wait(f"{PROBLEM}.startsWith('No camera was found on this device.')")
        assert page.run(STATUS) == "No camera."


def test_an_isolated_page_uses_threads(site, photo, tmp_path):
    with (
        browser.serve(site, browser.ISOLATION) as address,
        browser.Browser(tmp_path / "profile") as page,
    ):
        page.address = address
        show(page, photo)
        threads = page.run("Math.min(navigator.hardwareConcurrency, 2)")
        text = page.run("document.getElementById('runtime').textContent")
        assert int(re.search(r"(\d+) thread", text)[1]) >= threads
        assert_same(page, site / "model.onnx", photo, whole(photo))


@pytest.fixture(scope="module")
def real(shared, runtime, tmp_path_factory):
    """A page with a trained network."""
    folder = tmp_path_factory.mktemp("real") / "page"
    weights = shared / "weights/tinypose_256x192.npz"
    return hrjax.export_web(weights, folder, onnxruntime_web=runtime, decode="dark")


def test_a_real_person_is_found_and_followed(real, shared, tmp_path):
    original = cv2.imread(str(shared / "samples/coco/val2017/000000000785.jpg"))
    photo, film = tmp_path / "person.png", tmp_path / "person.mjpeg"
    cv2.imwrite(str(photo), original)
    film.write_bytes(cv2.imencode(".jpg", cv2.resize(original, (640, 424)))[1].tobytes())
    camera = (*FAKE_CAMERA, f"--use-file-for-fake-video-capture={film}")
    with browser.serve(real) as address, browser.Browser(tmp_path / "profile", *camera) as page:
        page.address = address
        show(page, photo)
        box = [280, 44, 218, 346]  # of COCO's annotation, rounded
        settle(page, lambda: type_box(page, box))
        assert_same(page, real / "model.onnx", photo, box)
        assert table(page)[1].min() > 0.2
        page.run("document.getElementById('camera').click()")
        page.wait(f"{STATUS} === 'Following a person.'")
        page.wait("+document.getElementById('box_w').value < 350")
        left, top, _, height = box_of(page)
        assert 220 < left < 330
        assert 340 < top + height < 424
