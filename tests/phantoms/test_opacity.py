import numpy as np

from pneumoscope.phantoms.opacity import paste_opacity
from pneumoscope.phantoms.phantom import draw_phantoms


def test_a_pasted_opacity_whitens_the_lung_where_its_mask_says_and_nothing_else():
    phantoms = draw_phantoms(12, size=96, seed=2)
    normals = phantoms.subtypes == "normal"
    images, lungs = phantoms.images[normals], phantoms.lungs[normals]

    pasted, masks = paste_opacity(images, num_lobes=1, seed=3)

    gained = pasted.astype(int) - images
    assert gained.min() >= 0
    for gain, mask, lung in zip(gained, masks, lungs, strict=True):
        assert gain[mask].mean() > 8 * gain[~mask].mean()
        assert (mask & lung).sum() > 0.7 * mask.sum()
        assert 0.005 < mask.mean() < 0.25
    np.testing.assert_array_equal(pasted, paste_opacity(images, num_lobes=1, seed=3)[0])


def test_where_no_lungs_are_nothing_is_pasted():
    pasted, masks = paste_opacity(np.full((1, 64, 64), 255, np.uint8))

    assert (pasted == 255).all()
    assert masks.shape == (1, 64, 64)
