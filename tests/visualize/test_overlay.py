from __future__ import annotations

import numpy as np
from PIL import Image

from medvlm.visualize.overlay import save_overlay, verdict


def test_below_the_limit_no_tumour_is_reported():
    assert verdict(0.12) == "No tumour found (tumour probability 0.12, below 0.30)"
    assert "No tumour" not in verdict(0.3)


def test_the_operating_point_and_the_volume_are_told():
    assert verdict(0.93, 16.42, 0.43) == (
        "Tumour probability 0.93 \N{MIDDLE DOT} positive at the operating point 0.43 \N{MIDDLE DOT} 16.4 mL outlined"
    )
    assert "negative at the operating point 0.95" in verdict(0.9, 0.0, 0.95)
    assert "nothing outlined" in verdict(0.9, 0.0)


def test_a_contradiction_is_not_hidden():
    words = verdict(0.21, 3.2, 0.2)
    assert words.startswith("No tumour found")
    assert "the mask head outlined 3.2" in words and "positive at the operating point 0.20" in words


def test_an_unknown_probability_is_said():
    assert verdict(None, 3.0) == "Tumour probability not available. 3 mL outlined"
    assert verdict(float("nan")) == "Tumour probability not available."


def test_a_picture_without_voxel_size_gets_no_millilitres(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("medvlm.visualize.overlay.draw_case", lambda *a, **k: seen.update(k) or _Stop())
    monkeypatch.setattr("medvlm.visualize.overlay.to_png", lambda figure, dpi: b"png")
    mask = np.ones((10, 10), bool)
    save_overlay(tmp_path / "a.png", np.zeros((10, 10)), mask, probability=0.9)
    assert "a region outlined" in seen["footer"] and "mL" not in seen["footer"]
    save_overlay(tmp_path / "b.png", np.zeros((10, 10)), mask, probability=0.9, spacing=(1, 1, 10))
    assert "1 mL outlined" in seen["footer"]


class _Stop:
    pass


def test_mask_and_activation_are_shown_only_where_a_tumour_is_reported(tmp_path):
    image = np.random.default_rng(0).random((32, 32))
    mask, cam = image > 0.9, np.clip(image, 0, 1)
    low = save_overlay(tmp_path / "low.png", image, mask, cam, 0.1, title="näive name/1")
    high = save_overlay(tmp_path / "deep" / "high.png", image, mask, cam, 0.9, title="case")
    unknown = save_overlay(tmp_path / "unknown.png", image, mask, None, None)
    widths = [Image.open(path).size[0] for path in (low, high, unknown)]
    assert widths[1] > 1.3 * widths[0] and widths[2] > widths[0]
