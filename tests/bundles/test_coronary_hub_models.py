"""Pretrained models of transformers in the coronary bundle: text towers by one key, video models as overlays."""

from __future__ import annotations

import json
import shutil

import monai.bundle
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    SiglipTextConfig,
    SiglipTextModel,
    VideoMAEConfig,
    VideoMAEModel,
)

from medvlm.bundle.curriculum import evaluate
from medvlm.bundle.prediction import predict
from medvlm.bundle.search import search
from medvlm.data.datalists import load_datalist
from medvlm.data.tokenizers import load_tokenizer, train_wordpiece, vocabulary_of
from medvlm.networks.encoders.mvit import mvit_v2_s

TINY = {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def bert(cines, tmp_path_factory):
    """A tiny BERT with its own vocabulary, as its authors would publish it."""
    folder = tmp_path_factory.mktemp("text models") / "bert"
    reports = [case["report"] for case in load_datalist(cines / "datalist.json")]
    train_wordpiece([*reports, "words of another hospital"] * 2, folder, 500)
    size = len(load_tokenizer(folder))
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=size, max_position_embeddings=128, **TINY)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def siglip(cines, tmp_path_factory):
    """A tiny text tower of SigLIP: no token begins a text, and the one that ends it also fills up."""
    folder = tmp_path_factory.mktemp("text models") / "siglip"
    words = sorted({word for case in load_datalist(cines / "datalist.json") for word in case["report"].split()})
    vocabulary = {token: number for number, token in enumerate(["</s>", "<unk>", *words])}
    own = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    own.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=own, unk_token="<unk>", eos_token="</s>", pad_token="</s>", model_input_names=["input_ids"]
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = SiglipTextConfig(vocab_size=len(vocabulary), max_position_embeddings=64, projection_size=24, **TINY)
    SiglipTextModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def run(coronary, cines, tiny_cines, tmp_path):
    """``run([overlays], **overrides)`` of train.json, into a folder of the test's own."""

    def run(overlays=(), **overrides):
        files = [str(coronary / "configs" / f"{name}.json") for name in ("train", *overlays)]
        where = {"ckpt_dir": str(tmp_path / "models"), "log_dir": str(tmp_path / "logs")}
        settings = {**tiny_cines, **where, **overrides}
        monai.bundle.run(config_file=files, bundle_root=str(coronary), dataset_dir=str(cines), **settings)
        return tmp_path / "models"

    return run


def said(refused) -> str:
    cause, words = refused.value, ""
    while cause is not None:
        words, cause = f"{words} {cause}", cause.__cause__
    return words


ALL = ["contrastive", "captioning"]


def test_a_bert_is_one_key_from_training_to_prediction(run, bert, coronary, cines, tiny_cines, tmp_path):
    key = {"text_encoder::path": str(bert)}
    models_dir = run(**key, objectives=ALL)
    weights = torch.load(models_dir / "model.pt", weights_only=True)
    assert weights["text_encoder.model.embeddings.word_embeddings.weight"].shape == (len(load_tokenizer(bert)), 24)
    kept = ("frames", "image_size", "max_views", "max_tokens", "progress")
    sizes = {name: tiny_cines[name] for name in kept} | {"generate": {"mode": "greedy", "max_length": 12}}
    folder = tmp_path / "bundle" / "coronary_angiography_clip"
    shutil.copytree(coronary, folder, ignore=shutil.ignore_patterns("models", "eval", "logs"))
    shutil.copytree(models_dir, folder / "models")
    evaluate(
        str(folder), str(cines), output_dir=str(tmp_path / "eval"), batch_size=4, bootstrap_repeats=20, pictured=0,
        objectives=ALL, **key, **sizes,
    )  # fmt: skip
    assert json.loads((tmp_path / "eval" / "evaluation.json").read_text())["n"]["evaluated"] > 0
    report = predict(
        str(folder), str(cines / "datalist.json"), str(tmp_path / "out"), section="test", resamples=0, **key, **sizes
    )
    assert report.status == 0 and report.done, str(report)


def test_a_siglip_tower_is_read_as_it_was_trained_and_captions_begin_with_a_token_of_their_own(
    run, siglip, coronary, cines, tiny_cines, tmp_path
):
    vocabulary = vocabulary_of(load_tokenizer(siglip), 0)
    assert vocabulary.bos_id == vocabulary.added_bos == 1 and vocabulary.eos_id == vocabulary.pad_id == 0
    key = {"text_encoder::path": str(siglip), "text_encoder::pooling": "model", "max_tokens": 64}
    models_dir = run(**key, objectives=ALL)
    small = {name: tiny_cines[name] for name in ("frames", "image_size", "max_views", "progress")}
    found = search(
        str(coronary), build=True, dataset_dir=str(cines), index=str(tmp_path / "index"), text="severe stenosis",
        models_dir=str(models_dir), **key, **small,
    )  # fmt: skip
    assert found.matches
    weights = torch.load(models_dir / "model.pt", weights_only=True)
    assert any(name.startswith("text_encoder.model.head.") for name in weights)


def test_the_overlay_takes_the_model_from_the_bundle(run, bert, coronary):
    shutil.copytree(bert, coronary / "models" / "text_model", dirs_exist_ok=True)
    try:
        before = torch.load(run(["contrastive", "text_model"]) / "model.pt", weights_only=True)
    finally:
        shutil.rmtree(coronary / "models" / "text_model")
    own = BertModel.from_pretrained(bert).state_dict()
    name = "encoder.layer.0.output.dense.weight"  # the lower half is frozen
    assert torch.equal(before[f"text_encoder.model.{name}"], own[name])


def test_a_tokenizer_of_another_model_and_a_model_that_is_not_there_are_refused(run, bert, siglip, tmp_path):
    shutil.copytree(siglip, tmp_path / "models" / "tokenizer")
    with pytest.raises(RuntimeError) as refused:
        run(**{"text_encoder::path": str(bert)})
    assert "is not that of the text model" in said(refused) and "--tokenizer_dir" in said(refused)
    with pytest.raises(RuntimeError) as refused:
        run(**{"text_encoder::path": str(tmp_path / "gone")})
    assert "does not exist; nothing is downloaded" in said(refused)


MAE = {"image_size": 32, "num_frames": 4, "num_channels": 3, **TINY}


def test_a_videomae_trains_with_every_objective_and_from_a_folder(run, tmp_path):
    torch.manual_seed(0)
    VideoMAEModel(VideoMAEConfig(**MAE)).save_pretrained(tmp_path / "videomae")
    models_dir = run(["videomae"], video_model=str(tmp_path / "videomae"), video_dim=24, image_size=32)
    weights = torch.load(models_dir / "model.pt", weights_only=True)
    assert weights["masked_video.decoder.output.weight"].shape[0] == 512


@pytest.mark.parametrize("also", [(), ("masked_video",)], ids=["all", "masked video alone"])
def test_a_plain_video_transformer_sees_visible_tokens_only(run, also):
    small = {"video_encoder::dim": 24, "video_encoder::depth": 2, "video_encoder::heads": 2, "video_dim": 24}
    assert list(run(["video_vit", *also], **small).glob("*.pt"))


def test_a_model_that_cannot_hide_patches_is_refused_at_once(run):
    jepa = {"model_type": "vjepa2", "crop_size": 32, "frames_per_clip": 4, **TINY}
    jepa |= {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    given = {"video_encoder::config": jepa, "video_encoder::checkpointing": False, "video_dim": 24, "image_size": 32}
    with pytest.raises(RuntimeError) as refused:
        run(["videomae"], **given)
    assert "vjepa2 cannot leave them out" in said(refused) and "out of objectives" in said(refused)
    loss = {"objectives": ALL, "loss_weights": {"contrastive": 1.0, "captioning": 1.0}}
    assert (run(["videomae"], **given, **loss) / "model.pt").is_file()


def test_weights_of_torchvision_are_one_key_of_the_mvit(coronary, tmp_path):
    torch.manual_seed(0)
    published = mvit_v2_s(in_channels=3, num_classes=400).state_dict()
    torch.save(published, tmp_path / "kinetics.pth")
    parser = monai.bundle.ConfigParser()
    parser.read_config([str(coronary / "configs" / f"{name}.json") for name in ("train", "mvit")])
    parser["kinetics_weights"] = str(tmp_path / "kinetics.pth")
    encoder = parser.get_parsed_content("video_encoder")
    own = encoder.state_dict()
    assert torch.equal(own["blocks.3.mlp.0.weight"], published["blocks.3.mlp.0.weight"])
    torch.testing.assert_close(own["conv_proj.weight"][:, 0], published["conv_proj.weight"].sum(1))
    assert encoder.hides == "mask"
