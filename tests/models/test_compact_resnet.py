import keras
import numpy as np

from pneumoscope.models.architectures.compact_resnet import build_compact_resnet
from pneumoscope.models.backprop import list_heatmap_layers
from pneumoscope.phantoms.phantom import draw_phantoms


def test_it_is_as_large_as_said() -> None:
    net = build_compact_resnet()
    assert net.count_params() == 1_325_115
    assert [net.get_layer(name).output.shape[1] for name in list_heatmap_layers(net)] == [32, 16, 8, 8]


def test_how_bright_and_hard_a_film_is_printed_changes_little() -> None:
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    net = build_compact_resnet()
    images = draw_phantoms(4, size=128, seed=0).images[..., None].astype(np.float32)
    seen = keras.Model(net.input, net.get_layer("standardization").output)

    plain, faint = (seen.predict(shown, verbose=0) for shown in (images, 0.5 * images + 60))

    assert plain.std(axis=(1, 2, 3)).min() > 0.9
    assert np.abs(faint - plain).mean() < 0.05
