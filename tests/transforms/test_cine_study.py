"""A study as tensors: views, masks, angles, sampling, normalisation, augmentation."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose

from transforms import (
    LoadCined,
    NormaliseCined,
    PickCined,
    RandCineAffined,
    RandCineIntensityd,
    RandDropViewd,
    SampleFramesd,
)

SIZE = 24


@pytest.fixture
def study(xa, cine_frames):
    """Write a study of so many cines, each a little brighter than the one before."""

    def write(views: int, frames: int = 12) -> dict:
        repeated = np.concatenate([cine_frames] * (-(-frames // 12)))[:frames]
        paths = [xa(repeated // 2 + 10 * v, name=f"{v}.dcm", PositionerPrimaryAngle=str(v)) for v in range(views)]
        return {"video": [str(p) for p in paths], "case_id": "a"}

    return write


def files(case: dict) -> list[str]:
    return [name.rsplit("/", 1)[-1] for name in json.loads(case["view_files"])]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_study_becomes_one_tensor_filled_up_with_absent_views(study, channels):
    d = LoadCined(size=SIZE, fps=15, frames=8, max_views=3, channels=channels)(study(2))
    assert d["video"].shape == (3, channels, 8, SIZE, SIZE) and d["video"].dtype == torch.float32
    assert d["view_mask"].tolist() == [True, True, False] and d["view_mask"].dtype == torch.bool
    assert (d["video"][2] == 0).all() and d["video"][0].min() == 0
    assert float(d["video"][0].max()) == pytest.approx(255)
    assert d["angles"].shape == (3, 6) and (d["angles"][2] == 0).all()
    assert d["angles"][1, :3].tolist() == pytest.approx([np.sin(np.pi / 180), np.cos(np.pi / 180), 1])
    assert files(d) == ["0.dcm", "1.dcm", ""] and json.loads(d["view_problems"]) == [""] * 3
    assert torch.equal(d["video"][:, 0], d["video"][:, -1])


def test_reading_twice_gives_the_same(study):
    case, load = study(2), LoadCined(size=SIZE, frames=4)
    assert torch.equal(load(case)["video"], load(case)["video"])


def test_frames_are_taken_by_time_not_by_stride(xa, cine_frames):
    slow = xa(cine_frames, name="slow.dcm", FrameTime="100")
    fast = xa(cine_frames.repeat(2, axis=0), name="fast.dcm", FrameTime="50")
    load = LoadCined(size=40, fps=10, frames=5, max_views=2)
    d = load({"video": [str(slow), str(fast)]})
    assert torch.equal(d["video"][0], d["video"][1])


@pytest.mark.parametrize(("short", "last"), [("loop", 3), ("hold", 11)])
def test_a_short_cine_is_looped_or_held(xa, cine_frames, short, last):
    d = LoadCined(size=(40, 48), fps=None, frames=16, max_views=1, short=short)({"video": str(xa(cine_frames))})
    assert torch.equal(d["video"][0, 0, 15], d["video"][0, 0, last])


def test_views_are_spread_over_a_long_study(study):
    d = LoadCined(size=SIZE, frames=2, max_views=3)(study(9))
    assert files(d) == ["1.dcm", "4.dcm", "7.dcm"]
    assert set(json.loads(d["view_skipped"]).values()) == {"not among the 3 views that are read"}


def test_an_unreadable_view_gives_way_and_is_remembered(study):
    case = study(4)
    with open(case["video"][0], "wb") as stream:
        stream.write(b"rubbish")
    d = LoadCined(size=SIZE, frames=2, max_views=3)(case)
    assert d["view_mask"].all() and files(d) == ["1.dcm", "2.dcm", "3.dcm"]
    assert "0.dcm: this is no DICOM file" in json.loads(d["view_skipped"])[case["video"][0]]
    d = LoadCined(size=SIZE, frames=2, max_views=4)(case)
    assert d["view_mask"].tolist() == [False, True, True, True]
    assert "0.dcm: this is no DICOM file" in json.loads(d["view_problems"])[0]
    assert (d["video"][0] == 0).all() and (d["angles"][0] == 0).all()


@pytest.mark.parametrize("frames", [4, None])
def test_a_study_of_unreadable_views_is_masked_all_the_way(tmp_path, frames):
    (tmp_path / "a.dcm").write_bytes(b"rubbish")
    case = {"video": [str(tmp_path / "a.dcm"), str(tmp_path / "gone.dcm")], "case_id": "a"}
    steps = [LoadCined(size=SIZE, frames=frames, max_views=3), SampleFramesd(frames=4)][: 1 if frames else 2]
    d = Compose([*steps, NormaliseCined(), RandCineAffined(prob=1), RandCineIntensityd(prob=1), RandDropViewd()])(case)
    assert not d["view_mask"].any() and d["video"].shape == (3, 1, 4, SIZE, SIZE)
    assert (d["video"] == 0).all() and (d["angles"] == 0).all()
    problems = json.loads(d["view_problems"])
    assert "no DICOM file" in problems[0] and "there is no such file" in problems[1] and problems[2] == ""


def test_a_study_without_views_is_masked():
    d = LoadCined(size=SIZE, frames=2, max_views=2)({"video": []})
    assert not d["view_mask"].any() and d["video"].shape == (2, 1, 2, SIZE, SIZE)
    assert json.loads(d["view_problems"]) == ["the study has no cine", ""]
    with pytest.raises(KeyError, match=r"the case must have 'video', it has \['image'\]; prepare it again"):
        LoadCined()({"image": "a.png"})


def test_a_cine_that_shows_nothing_is_a_problem(xa):
    d = LoadCined(size=SIZE, frames=2, max_views=1)({"video": str(xa(np.full((3, 40, 50), 7, np.uint8)))})
    assert "the cine is constant" in json.loads(d["view_problems"])[0]


def test_a_missing_decoder_is_not_taken_for_a_bad_view(study, monkeypatch):
    def refuse(*_, **__):
        raise ImportError("pip install it")

    monkeypatch.setattr("transforms.cine_study.open_cine", refuse)
    with pytest.raises(ImportError, match="pip install it"):
        LoadCined(size=SIZE, frames=2)(study(1))


def test_notes_reach_the_case(xa, cine_frames):
    d = LoadCined(size=SIZE, frames=2, max_views=1)({"video": str(xa(cine_frames, FrameTime=None))})
    assert "15 frames a second assumed" in json.loads(d["view_notes"])[0]


def test_the_datalist_stands_in_for_what_files_do_not_say(tmp_path, cine_frames):
    np.save(tmp_path / "a.npy", cine_frames)
    case = {"video": [str(tmp_path / "a.npy")], "view_angles": [[90, None]], "view_fps": [30.0]}
    d = LoadCined(size=40, fps=15, frames=6, max_views=1)(case)
    assert d["angles"][0].tolist() == pytest.approx([1, 0, 1, 0, 0, 0], abs=1e-6)
    every_second = LoadCined(size=40, fps=None, frames=12, max_views=1)(case)["video"][0, :, ::2]
    assert torch.allclose(d["video"][0], every_second, atol=2.0)


def test_cached_cines_give_the_frames_that_direct_reading_gives(study):
    case = study(2, frames=36)
    direct = LoadCined(size=SIZE, fps=7.5, frames=8, max_views=3)(case)
    cached = LoadCined(size=SIZE, fps=7.5, max_views=3)(case)
    assert [tuple(v.shape) for v in cached["video"]] == [(1, 18, SIZE, SIZE)] * 2 + [(1, 0, SIZE, SIZE)]
    assert all(v.dtype == torch.uint8 for v in cached["video"])
    sampled = SampleFramesd(frames=8, random=False)(cached)
    assert (sampled["video"] - direct["video"]).abs().max() < 3.0
    assert torch.equal(sampled["view_mask"], direct["view_mask"])
    coarse = SampleFramesd(frames=8, random=False, fps=7.5)(LoadCined(size=SIZE, fps=15, max_views=3)(case))
    assert torch.equal(coarse["video"], sampled["video"])


def test_random_phase_visits_all_begins_and_follows_the_seed(study):
    case = LoadCined(size=SIZE, fps=15, max_views=1)(study(1, frames=12))
    sample = SampleFramesd(frames=8).set_random_state(0)
    seen = set()
    for _ in range(60):
        clip = sample(case)["video"][0, 0]
        difference = (case["video"][0][0].float() - clip[0]).abs().sum((1, 2))
        seen.add(int(difference.argmin()))
    assert seen == {0, 1, 2, 3, 4}
    one, two = (SampleFramesd(frames=8).set_random_state(7)(case)["video"] for _ in range(2))
    assert torch.equal(one, two)


def test_views_are_drawn_anew_each_time(study):
    case = LoadCined(size=SIZE, max_views=2, random_views=True)(study(5))
    assert len(case["video"]) == 5
    sample = SampleFramesd(frames=2).set_random_state(0)
    drawn = [sample(case) for _ in range(20)]
    assert all(d["video"].shape[0] == 2 and d["view_mask"].all() and d["angles"].shape == (2, 6) for d in drawn)
    assert {name for d in drawn for name in files(d)} == {f"{v}.dcm" for v in range(5)}
    for d in drawn[:3]:
        expected = [int(name[0]) for name in files(d)]
        assert torch.rad2deg(torch.asin(d["angles"][:, 0])).round().tolist() == expected
    fixed = SampleFramesd(frames=2, random=False)(case)
    assert files(fixed) == ["1.dcm", "3.dcm"]
    few = SampleFramesd(frames=2)(LoadCined(size=SIZE, max_views=4, random_views=True)(study(3)))
    assert few["video"].shape[0] == 4 and few["view_mask"].tolist() == [True, True, True, False]


def test_what_is_said_of_drawn_views_is_drawn_with_them(study):
    case = LoadCined(size=SIZE, max_views=2, random_views=True)(study(5))
    files, ticks = json.loads(case["view_files"]), json.loads(case["view_ticks"])
    case["view_places"] = json.dumps([[number] for number in range(5)])
    case["view_ticks"] = json.dumps([[(frame, number) for frame, _ in row] for number, row in enumerate(ticks)])
    sampler = SampleFramesd(frames=3).set_random_state(3)
    drawn = [sampler(dict(case)) for _ in range(4)]
    for d in drawn:
        numbers = [files.index(file) for file in json.loads(d["view_files"])]
        assert [place for (place,) in json.loads(d["view_places"])] == numbers
        assert [[number for _, number in row] for row in json.loads(d["view_ticks"])] == [[n] * 3 for n in numbers]
    assert len({d["view_files"] for d in drawn}) > 1, "the draws were all the same"
    few = SampleFramesd(frames=2)(LoadCined(size=SIZE, max_views=4, random_views=True)(study(3)))
    assert len(json.loads(few["view_ticks"])) == len(json.loads(few["view_places"])) == 4


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"frames": 0}, "frames must be positive, got 0"),
        ({"fps": -1}, "fps must be positive, got -1"),
        ({"channels": 2}, "channels must be 1 or 3, got 2; angiograms are grey"),
        ({"truncated": "kept"}, r"truncated must be one of \('refuse', 'keep'\), got 'kept'"),
        ({"short": "pad"}, r"short must be one of \('loop', 'hold'\), got 'pad'"),
        ({"frames": 4, "random_views": True}, "random_views needs frames=None, got frames=4"),
        ({"keys": ["a", "b"]}, r"keys must name one key, that of the cines, got \('a', 'b'\)"),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        LoadCined(**options)


def test_a_coarser_clock_needs_a_clock():
    clip = [torch.zeros(1, 4, 8, 8, dtype=torch.uint8)]
    with pytest.raises(ValueError, match="fps of SampleFramesd needs fps of LoadCined, which is None"):
        SampleFramesd(frames=2, fps=5)({"video": clip, "view_mask": torch.ones(1, dtype=torch.bool), "clock_fps": 0.0})


def test_normalisation_is_robust_and_leaves_absent_views_alone(study):
    d = LoadCined(size=SIZE, frames=8, max_views=3)(study(2))
    bright = d["video"].clone()
    bright[0, 0, 0, 0, 0] = 1e5  # one hot pixel
    out = NormaliseCined()(dict(d))["video"]
    assert out[:2].flatten(1).mean(1).abs().max() < 1e-4
    assert out[:2].flatten(1).std(1).tolist() == pytest.approx([1, 1], abs=1e-3)
    assert (out[2] == 0).all()
    assert (NormaliseCined()({**d, "video": bright})["video"] - out).abs().median() < 0.01
    assert torch.allclose(NormaliseCined()({**d, "video": d["video"] * 0.3 + 7})["video"][:2], out[:2], atol=1e-3)
    with pytest.raises(ValueError, match="0 <= low < high <= 100, got 60 and 40"):
        NormaliseCined(low=60, high=40)


def normalised(views: int = 2) -> dict:
    rng = np.random.default_rng(0)
    video = torch.from_numpy(rng.normal(size=(3, 1, 4, 16, 16)).astype(np.float32))
    mask = torch.tensor([True, True, False])
    video[2] = 0
    return {"video": video, "view_mask": mask, "angles": torch.ones(3, 6) * mask[:, None]}


@pytest.mark.parametrize("augment", [RandCineAffined(prob=1.0), RandCineIntensityd(prob=1.0)], ids=["place", "grey"])
def test_augmentations_change_readable_views_only_and_follow_the_seed(augment):
    d = normalised()
    before = d["video"].clone()
    one = augment.set_random_state(3)(d)["video"]
    two = augment.set_random_state(3)(d)["video"]
    assert torch.equal(one, two) and torch.equal(d["video"], before)
    assert one.shape == before.shape and one.dtype == torch.float32 and (one[2] == 0).all()
    assert (one[0] - before[0]).abs().mean() > 0.01 and not torch.allclose(one[0] - before[0], one[1] - before[1])
    assert torch.equal(type(augment)(prob=0.0)(d)["video"], before)


def test_all_frames_of_a_view_move_alike():
    frame = torch.rand(1, 1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(1, 1, 5, 16, 16)
    out = RandCineAffined(prob=1.0).set_random_state(1)({"video": frame})["video"][0, 0]
    assert torch.allclose(out, out[:1].expand_as(out), atol=1e-6)


def test_a_small_shift_is_a_shift():
    image = torch.zeros(1, 1, 1, 20, 30)
    image[..., 8:12, 10:14] = 1
    out = RandCineAffined(prob=1, degrees=0, scale=0, shift=0.2).set_random_state(2)({"video": image})["video"]
    assert out.sum() == pytest.approx(16, abs=0.1)
    assert not torch.allclose(out, image)
    turned = RandCineAffined(prob=1, degrees=45, scale=0, shift=0).set_random_state(2)({"video": image})["video"]
    assert turned.sum() == pytest.approx(16, abs=1.5)  # no shear on frames that are not square


def test_contrast_keeps_the_order_of_greys():
    ramp = torch.linspace(-2, 2, 256).reshape(1, 1, 1, 16, 16)
    out = RandCineIntensityd(prob=1, noise=0).set_random_state(0)({"video": ramp})["video"].flatten()
    assert (out.diff() > 0).all()


def test_dropping_views_leaves_one():
    d = normalised()
    drop = RandDropViewd(prob=0.5).set_random_state(0)
    counts = []
    for _ in range(30):
        out = drop(d)
        counts.append(int(out["view_mask"].sum()))
        assert (out["video"][~out["view_mask"]] == 0).all() and (out["angles"][~out["view_mask"]] == 0).all()
    assert set(counts) == {1, 2} and d["view_mask"].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: RandCineAffined(prob=2), r"prob must lie in 0\.\.1, got 2"),
        (lambda: RandCineAffined(degrees=90), r"degrees must lie in 0\.\.45"),
        (lambda: RandCineIntensityd(gamma=1.5), r"gamma must lie in 0\.\.1, got 1\.5"),
        (lambda: RandCineIntensityd(noise=-1), "brightness and noise must not be negative"),
        (lambda: RandDropViewd(prob=1), r"prob must lie in 0\.\.1, below 1, got 1"),
        (lambda: SampleFramesd(frames=0), "frames and fps must be positive, got 0"),
    ],
)
def test_ranges_are_checked(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_cases_of_all_kinds_collate_from_a_cache(study, tmp_path):
    bad = {"video": str(tmp_path / "gone.dcm"), "case_id": "b", "report": None}
    steps = [
        LoadCined(size=SIZE, max_views=2),
        SampleFramesd(frames=4),
        NormaliseCined(),
        RandCineAffined(),
        PickCined(),
    ]
    data = CacheDataset([study(3), bad], Compose([*steps, PickCined()]), progress=False, num_workers=None)
    batch = next(iter(DataLoader(data, batch_size=2)))
    assert batch["video"].shape == (2, 2, 1, 4, SIZE, SIZE) and batch["video"].dtype == torch.float32
    assert batch["view_mask"].tolist() == [[True, True], [False, False]]
    assert batch["case_id"] == ["a", "b"] and "there is no such file" in json.loads(batch["view_problems"][1])[0]
    assert isinstance(data._cache[0]["video"], list) and data._cache[0]["video"][0].dtype == torch.uint8


def test_picking_needs_its_keys():
    with pytest.raises(KeyError, match=r"the case must have \['view_mask', 'angles'\], it has \['video'\]"):
        PickCined()({"video": 1})


def test_subtraction_leaves_what_was_not_in_the_first_frame(xa):
    bone = np.tile(np.linspace(40, 200, SIZE), (SIZE, 1))
    frames = np.stack([bone] * 6).astype(np.uint8)
    frames[3:, 10:14, 10:14] -= 30  # contrast arrives
    case = {"video": [str(xa(frames, name="bone.dcm"))], "case_id": "a"}
    plain = LoadCined(size=SIZE, fps=None, frames=2, max_views=1)(case)["video"][0, 0, 1]
    less = LoadCined(size=SIZE, fps=None, frames=2, max_views=1, subtract="first")(case)["video"][0, 0, 1]
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[8:16, 8:16] = False
    assert plain[outside].std() > 40 and less[outside].std() < 10
    assert less[11:13, 11:13].mean() < less[outside].mean() - 150


def test_a_still_picture_is_not_subtracted_from_itself(xa, cine_frames):
    case = {"video": [str(xa(cine_frames[:1], name="still.dcm"))], "case_id": "a"}
    assert LoadCined(size=SIZE, frames=2, max_views=1, subtract="first")(case)["view_mask"].tolist() == [True]


def test_an_unknown_subtraction_is_refused():
    with pytest.raises(ValueError, match="subtract must be one of"):
        LoadCined(subtract="last")
