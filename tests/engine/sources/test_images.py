"""What image sources share: normalising, moving, pictures."""

import numpy as np

from engine.sources._images import augmented, moved, normalised, picture, to_pixels


def some(n: int = 3, channels: int = 3, side: int = 9) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, channels, side, side)).astype(np.float32)


def test_pixels_survive_being_normalised() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    grey = normalised(pixels)
    assert grey.shape == (1, 1, 16, 16) and grey.min() == -1 and grey.max() == 1
    assert np.array_equal(to_pixels(grey)[..., 0], pixels) and to_pixels(grey).shape == (1, 16, 16, 3)
    colour = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    assert normalised(colour).shape == (2, 3, 5, 7)
    assert np.array_equal(to_pixels(normalised(colour)), colour)


def test_moving_by_whole_pixels_and_quarter_turns_is_exact() -> None:
    images, zero = some(), np.zeros(3)
    assert np.allclose(moved(images, zero, np.zeros((3, 2))), images, atol=1e-6)
    down_right = moved(images, zero, np.tile([2.0, 1.0], (3, 1)))
    assert np.allclose(down_right[:, :, 2:, 1:], images[:, :, :-2, :-1], atol=1e-5)
    assert np.allclose(down_right[:, :, 0, 1:], images[:, :, 0, :-1], atol=1e-5)
    quarter = moved(images, np.full(3, 90.0), np.zeros((3, 2)))
    assert any(np.allclose(quarter, np.rot90(images, k, axes=(2, 3)), atol=1e-4) for k in (1, -1))


def test_images_are_varied_one_by_one_within_bounds() -> None:
    images = np.repeat(some(1), 20, axis=0)
    varied = augmented(images, 0, 5, pixels=1.0, degrees=0.0)
    assert len(np.unique(varied.reshape(20, -1), axis=0)) == 20
    assert np.array_equal(varied, augmented(images, 0, 5, pixels=1.0, degrees=0.0))
    assert np.array_equal(augmented(images, 0, 5, pixels=0.0, degrees=0.0), images)
    assert varied.min() >= images.min() and varied.max() <= images.max()


def test_a_picture_holds_every_image_in_rows() -> None:
    images = some(11, 1, 8)
    shown = picture(images, columns=4)
    assert shown.dtype == np.uint8 and shown.shape[2] == 3
    assert shown.shape[0] > 3 * 48 and shown.shape[1] > 4 * 48
    wanted = {tuple(np.unique(tile)) for tile in to_pixels(images)}
    gap = (shown.shape[0] - 3 * 48) // 4
    for number in range(11):
        top, left = gap + number // 4 * (48 + gap), gap + number % 4 * (48 + gap)
        assert tuple(np.unique(shown[top : top + 48, left : left + 48])) in wanted
