import numpy as np

from pneumoscope.research.neighbors_benchmark import shrink_images


def test_pixels_are_means_of_cells_less_the_mean_of_the_image():
    images = np.arange(2 * 64 * 64, dtype=np.uint16).reshape(2, 64, 64).astype(np.uint8)

    found = shrink_images(images)

    cells = images[1].reshape(32, 2, 32, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(found[1].reshape(32, 32), cells - cells.mean(), atol=1e-3)
