"""Every command that MONAI's tools and the model zoo run on a bundle, offline and from another folder."""

from __future__ import annotations

import json
import locale
import os
import shutil
import socket
import zipfile
from pathlib import Path

import huggingface_hub
import monai.bundle
import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigWorkflow

import medvlm
from medvlm.bundle.audit import audit
from medvlm.bundle.pack import pack
from medvlm.bundle.prediction import predict
from medvlm.bundle.publish import publish
from medvlm.bundle.verify import SCHEMA, verify
from medvlm.engines.strict import ConfigError
from medvlm.metrics.operating_point import threshold_for
from medvlm.networks.nets import MaskNet, SegClsNet

NAME = "brats_mri_multitask"


@pytest.fixture(autouse=True)
def elsewhere_and_offline(tmp_path, monkeypatch):
    """Work in an empty folder, on a machine without a network."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def refuse(*args, **kwargs):
        raise OSError("a test tried to reach the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert not list((tmp_path / "elsewhere").iterdir()), "a command left something in the working directory"


def config(bundle: Path, *names: str) -> list[str]:
    return [str(bundle / "configs" / f"{name}.json") for name in names]


def exported(trained: Path) -> dict[str, str]:
    """What every export command is given."""
    return {
        "net_id": "network_def",
        "ckpt_file": str(trained / "models" / "model.pt"),
        "meta_file": str(trained / "configs" / "metadata.json"),
        "config_file": str(trained / "configs" / "inference.json"),
    }


def version_of(trained: Path) -> str:
    return json.loads((trained / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]


def network_of(trained: Path) -> torch.nn.Module:
    return monai.bundle.load(
        NAME, bundle_dir=str(trained.parent), workflow_type="inference", source="github", device="cpu"
    ).eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_stock_command_line_evaluates_from_another_folder(trained, phantoms, tmp_path, monai_run):
    """The list of configs as the documentation writes it, typed into a shell."""
    settings = {"dataset_dir": phantoms, "output_dir": tmp_path / "eval", "bootstrap_repeats": 10, "progress": False}
    flags = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
    configs = str(config(trained, "train", "evaluate"))
    monai_run("run", "--config_file", configs, *flags, cwd=tmp_path / "elsewhere")
    assert {"evaluation.json", "cases.csv", "report.html"} <= {path.name for path in (tmp_path / "eval").iterdir()}


def test_run_workflow_infers(trained, phantoms, tmp_path):
    case = next((phantoms / "brats2021").rglob("*_flair.nii.gz")).parent
    monai.bundle.run_workflow(
        config_file=config(trained, "inference"),
        workflow_type="inference",
        dataset_dir=str(case),
        output_dir=str(tmp_path / "out"),
        mc_samples=0,
        progress=False,
    )
    assert (tmp_path / "out" / case.name / "labels.nii.gz").is_file()


def test_run_workflow_takes_the_strict_workflow(trained, phantoms):
    with pytest.raises(ConfigError, match="unknown key 'epochz'; did you mean 'epochs'"):
        monai.bundle.run_workflow(
            workflow_name="medvlm.engines.strict.StrictWorkflow",
            config_file=config(trained, "train"),
            dataset_dir=str(phantoms),
            epochz=2,
        )


def test_the_metadata_is_valid_offline_and_a_fault_is_found(trained, tmp_path):
    file = trained / "configs" / "metadata.json"
    monai.bundle.verify_metadata(meta_file=str(file), filepath=str(SCHEMA))
    content = json.loads(file.read_text(encoding="utf-8"))
    del content["network_data_format"]
    (tmp_path / "metadata.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="network_data_format"):
        monai.bundle.verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


@pytest.mark.parametrize("n", [1, 3])
def test_the_network_takes_and_gives_what_the_metadata_says(trained, n):
    arguments = exported(trained)
    del arguments["ckpt_file"]
    monai.bundle.verify_net_in_out(**arguments, device="cpu", n=n)
    with pytest.raises(ValueError, match="output channel number"):
        monai.bundle.verify_net_in_out(
            **arguments, device="cpu", **{"_meta_::network_data_format::outputs::pred::num_channels": 2}
        )


@pytest.mark.parametrize("use_trace", [False, True], ids=["script", "trace"])
def test_torchscript_gives_the_same_logits_and_holds_the_configs(trained, image, tmp_path, use_trace):
    file = tmp_path / "model.ts"
    monai.bundle.ckpt_export(filepath=str(file), use_trace=use_trace, bundle_root=str(trained), **exported(trained))
    network, metadata, extra = monai.data.load_net_with_metadata(str(file), more_extra_files=["inference.json"])
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image), network_of(trained)(image), atol=1e-4, rtol=1e-4)
    assert metadata["version"] == version_of(trained)
    assert json.loads(extra["inference.json"])["network_def"]["features"] == [8, 8, 16, 16, 16]


def test_onnx_gives_the_same_logits(trained, image, tmp_path):
    file = tmp_path / "model.onnx"
    monai.bundle.onnx_export(filepath=str(file), input_shape=list(image.shape), **exported(trained))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, network_of(trained)(image).numpy(), atol=1e-3)


@pytest.mark.parametrize(("workflow_type", "kind"), [("train", SegClsNet), ("inference", MaskNet)])
def test_monai_loads_the_trained_network(trained, workflow_type, kind):
    network = monai.bundle.load(
        NAME, bundle_dir=str(trained.parent), workflow_type=workflow_type, source="github", device="cpu"
    )
    assert type(network) is kind
    state = torch.load(trained / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_a_workflow_without_weights_or_data_can_be_looked_at(trained, tmp_path, kind):
    bare = tmp_path / NAME
    shutil.copytree(trained / "configs", bare / "configs")
    workflow = ConfigWorkflow(config(bare, kind), workflow_type=kind, logging_file=False)
    workflow.initialize()
    assert workflow.network_def is not None and Path(workflow.bundle_root) == bare
    workflow.finalize()


def test_a_training_network_goes_on_from_given_weights(trained):
    """``monai.bundle.load(..., model=...)`` puts the bundle's weights into a network of the caller's."""
    mine = SegClsNet(features=(8, 8, 16, 16, 16), stem_stride=2)
    loaded = monai.bundle.load(NAME, model=mine, bundle_dir=str(trained.parent), source="github", device="cpu")
    state = torch.load(trained / "models" / "model.pt", weights_only=True)
    assert loaded is mine and torch.equal(next(iter(mine.state_dict().values())), next(iter(state.values())))


@pytest.mark.parametrize(
    ("kind", "names"),
    [("train", ("train",)), ("train", ("train", "stage_1_segmentation")), ("infer", ("inference",))],
    ids=["train", "stage", "inference"],
)
def test_properties_are_complete(trained, phantoms, tiny, kind, names):
    settings = {} if kind == "infer" else {**tiny, "dataset_dir": str(phantoms)}
    workflow = ConfigWorkflow(config(trained, *names), workflow_type=kind, logging_file=False, **settings)
    workflow.initialize()
    assert workflow.check_properties() == []
    if kind == "train":
        assert workflow.max_epochs == 1 and len(workflow.train_dataset_data) == len(workflow.train_dataset) > 0
        assert workflow.val_key_metric and workflow.evaluator and workflow.val_inferer


def test_audit_finds_nothing_wrong(trained):
    report = audit(str(trained))
    assert report.status == 0, str(report)


def test_verify_checks_all_that_the_zoo_checks(trained, phantoms):
    report = verify(str(trained), dataset_dir=str(phantoms))
    rows = {row.check: row.verdict for row in report.rows}
    checks = ["weights", "version", "metadata", "properties of train.json", "properties of inference.json"]
    for check in [*checks, "network in and out", "TorchScript", "paths"]:
        assert rows[check] == "ok", str(report)
    assert report.status == 0, str(report)


@pytest.fixture
def released(trained, tmp_path) -> Path:
    """The zip of a release."""
    file = pack(str(trained), str(tmp_path / "release"))
    version = version_of(trained)
    assert file.name == f"{NAME}_v{version}.zip"
    return file


def arrived(folder: Path, trained: Path, monkeypatch) -> None:
    """What was downloaded is the whole bundle and runs."""
    for part in ("configs/inference.json", "models/model.pt", "models/operating_point.json", "LICENSE"):
        assert (folder / NAME / part).read_bytes() == (trained / part).read_bytes()
    monkeypatch.setenv("MEDVLM_BUNDLES", str(folder))
    assert medvlm.load(NAME, device="cpu").checkpoint == folder / NAME / "models" / "model.pt"


def test_a_release_downloads_from_a_url(trained, released, tmp_path, monkeypatch):
    monai.bundle.download(name=NAME, url=released.as_uri(), bundle_dir=str(tmp_path / "got"), progress=False)
    arrived(tmp_path / "got", trained, monkeypatch)


def test_a_release_downloads_from_github(trained, released, tmp_path, monkeypatch):
    asked = []

    def from_release(url, filepath, **kwargs):
        asked.append(url)
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(released, filepath)

    monkeypatch.setattr(monai.bundle.scripts, "download_url", from_release)
    monai.bundle.download(
        name=NAME,
        version=released.stem.rpartition("_v")[2],
        source="github",
        repo="owner/repo/tag",
        bundle_dir=str(tmp_path / "got"),
        progress=False,
    )
    assert asked == [f"https://github.com/owner/repo/releases/download/tag/{released.name}"]
    arrived(tmp_path / "got", trained, monkeypatch)


@pytest.mark.parametrize(
    ("source", "repo", "asked"),
    [("huggingface_hub", "owner/brats", "owner/brats"), ("monaihosting", None, f"MONAI/{NAME}")],
)
def test_a_release_downloads_from_the_hubs(trained, released, tmp_path, monkeypatch, source, repo, asked):
    seen = []

    def snapshot(repo_id, revision, local_dir):
        seen.append((repo_id, revision))
        zipfile.ZipFile(released).extractall(Path(local_dir).parent)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    version = version_of(trained)
    monai.bundle.download(name=NAME, version=version, source=source, repo=repo, bundle_dir=str(tmp_path / "got"))
    assert seen == [(asked, version)]
    arrived(tmp_path / "got", trained, monkeypatch)


def test_the_hub_would_get_what_a_release_holds(trained, tmp_path, monkeypatch, request):
    sent: dict[str, list] = {"files": [], "tags": []}

    class Hub:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **kwargs):
            sent["repo"] = repo_id

        def upload_folder(self, repo_id, folder_path, **kwargs):
            root = Path(folder_path)
            sent["files"] = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
            return f"https://example.org/{repo_id}"

        def create_tag(self, repo_id, tag, **kwargs):
            sent["tags"].append(tag)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")  # as the reader of an image may leave it
    request.addfinalizer(lambda: locale.setlocale(locale.LC_CTYPE, before))
    assert "would upload to owner/brats" in publish(str(trained), "owner/brats", dry_run=True)
    assert sent == {"files": [], "tags": []}
    assert "https://example.org/owner/brats" in publish(str(trained), "owner/brats")
    assert {"configs/train.json", "models/model.pt", "models/operating_point.json", "README.md"} <= set(sent["files"])
    assert not [name for name in sent["files"] if name.startswith(("logs", "eval")) or name.endswith("_state.pt")]
    assert sent["tags"] == [version_of(trained)]


def test_one_line_of_python_runs_an_image_as_the_command_does(trained, phantoms, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVLM_BUNDLES", str(trained.parent))
    file = next((phantoms / "brats2021").rglob("*_flair.nii.gz"))
    bundle = medvlm.load(NAME, device="cpu")
    result = bundle(file)
    assert result["pred"].shape == (1, 48, 48, 10) and set(result["pred"].unique().tolist()) <= {0.0, 1.0}
    assert 0 <= result["result"]["tumour_probability"] <= 1
    assert threshold_for(bundle.operating_point, "volume") == result["result"]["threshold"]
    assert result["result"]["calibrated"] is True
    (predicted,) = predict(str(trained), str(file), str(tmp_path), mc_samples=0, progress=False).done.values()
    assert predicted["tumour_probability"] == pytest.approx(result["result"]["tumour_probability"], abs=1e-5)
    assert predicted["voxels"]["WT"] == int(result["pred"].sum()), "predict and load answer differently"
    other = medvlm.load(NAME, device="cpu", overrides={"checkpoint": str(trained / "models" / "stage_1.pt")})(file)
    assert other["result"]["calibrated"] is False, "the threshold was chosen for other weights"


def test_a_bundle_that_cannot_be_written_loads_and_infers(trained, phantoms, tmp_path, monkeypatch):
    """Installed by somebody else: nothing is written into the bundle's folder."""
    locked = tmp_path / "locked" / NAME
    shutil.copytree(trained, locked, ignore=shutil.ignore_patterns("logs", "eval"))
    before = {path: path.stat().st_mtime_ns for path in locked.rglob("*")}
    folders = [path for path in (locked, *locked.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        source = next((phantoms / "brats2021").rglob("*_flair.nii.gz"))
        monai.bundle.run(
            config_file=config(locked, "inference"),
            dataset_dir=str(source),
            output_dir=str(tmp_path / "out"),
            mc_samples=0,
            tta=False,
            progress=False,
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert list((tmp_path / "out").glob("*/manifest.json"))
    assert {path: path.stat().st_mtime_ns for path in locked.rglob("*")} == before


def test_a_misspelt_override_of_inference_fails_under_the_stock_command(trained, tmp_path, monai_run):
    done = monai_run(
        "run", "--config_file", config(trained, "inference")[0], "--mc_sampels", "2", "--dataset_dir", os.devnull,
        cwd=tmp_path / "elsewhere", check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "did you mean 'mc_samples'" in done.stderr
    assert "Traceback" not in done.stderr
