"""The plugin in napari: files of maps are opened, and its widget separates a layer, without a screen.

What needs no OpenGL is tried with the model of a viewer, and all of it with a viewer where there is OpenGL.
"""

import os

import numpy as np
import pytest

from oasis.run import Run
from oasis.zoo.folders import copy_model

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
napari = pytest.importorskip("napari")
npe2 = pytest.importorskip("npe2")
pytest.importorskip("qtpy.QtWidgets", exc_type=Exception)  # which also raises without a binding of Qt

PLUGIN, WIDGET = "oasis-seg", "Separate with a run"


@pytest.fixture
def run(tmp_path):
    return Run(copy_model("migdal", tmp_path / "run"))


@pytest.fixture
def frames():
    return np.random.default_rng(0).exponential(9, (2, 96, 96)).astype(np.float32)


@pytest.fixture(scope="module")
def application():
    from napari.qt import get_qapp

    return get_qapp()


@pytest.fixture(params=["model", "viewer"])
def viewer(request, application):
    if request.param == "model":
        npe2.PluginManager.instance().discover()  # as the window does when it is opened
        yield napari.components.ViewerModel()
        return
    from qtpy.QtGui import QOpenGLContext

    if not QOpenGLContext().create():
        pytest.skip("no OpenGL here, which the window of napari needs")
    shown = napari.Viewer(show=False)
    yield shown
    shown.close()


def check_separated(viewer, run, layer):
    assert [one.name for one in viewer.layers] == ["frames", "frames: ER", "frames: NR"]
    expected = run.separator("cpu").separate(layer.data[:, None])
    for one in viewer.layers[1:]:
        found = np.asarray(one.data)
        np.testing.assert_allclose(found, expected[one.name[-2:]][:, 0], rtol=0.05, atol=0.5)
        np.testing.assert_allclose(one.scale, layer.scale)


def test_maps_are_opened_as_a_layer_for_every_class(viewer, run, frames, tmp_path):
    np.save(tmp_path / "frames.npy", frames)
    run.predict(tmp_path / "frames.npy", tmp_path / "maps.ome.tif")
    viewer.open(str(tmp_path / "maps.ome.tif"), plugin=PLUGIN)
    assert [layer.name for layer in viewer.layers] == ["ER", "NR"]
    assert {layer.blending for layer in viewer.layers} == {"additive"}
    assert {layer.data.shape for layer in viewer.layers} == {(2, 96, 96)}


def test_the_widget_separates_a_layer(viewer, run, frames):
    layer = viewer.add_image(frames, name="frames", scale=(1, 0.5, 0.5))
    if isinstance(viewer, napari.Viewer):
        _, widget = viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
    else:
        from napari.plugins import _npe2

        make, _ = _npe2.get_widget_contribution(PLUGIN, WIDGET)
        widget = make()
        widget.image.choices = [layer]
        widget.called.connect(lambda made: [viewer._add_layer_from_data(*one) for one in made])
    widget.image.value, widget.run.value = layer, run.folder
    widget()
    check_separated(viewer, run, layer)
